//! Diffs on a terminal: colours, and nothing in them that the terminal would obey.

use clap::builder::styling::{AnsiColor, Style};

use super::shown_line;
use crate::patch::{Kind, Reader};

const ADDED: Style = AnsiColor::Green.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();
const HUNK: Style = AnsiColor::Cyan.on_default();
const CHANGED: Style = AnsiColor::Yellow.on_default();
const KIND: Style = AnsiColor::Magenta.on_default();
const HEADER: Style = Style::new().bold();
const PLAIN: Style = Style::new();

/// A patch that comes in pieces, made safe to show.
pub struct Painter {
    colour: bool,
    reader: Reader,
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl Painter {
    /// With colours or without.
    pub fn new(colour: bool) -> Self {
        Self { colour, reader: Reader::default(), begun: Vec::new() }
    }

    /// What to show of the next piece: its whole lines.
    pub fn piece(&mut self, piece: &[u8]) -> String {
        let mut text = String::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if self.begun.pop_if(|byte| *byte == b'\n').is_some() {
                let line = std::mem::take(&mut self.begun);
                let style = match self.reader.line(&line) {
                    Kind::Header => HEADER,
                    Kind::Hunk(..) => HUNK,
                    Kind::Added => ADDED,
                    Kind::Removed => REMOVED,
                    Kind::Context | Kind::Remark => PLAIN,
                };
                text += &styled(&shown_line(&line), style, self.colour);
                text.push('\n');
            }
        }
        text
    }
}

fn styled(text: &str, style: Style, colour: bool) -> String {
    if colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// A list whose lines begin with a letter; other lines stay as they are.
pub fn list(text: &str) -> String {
    lines(text, |line| {
        let mut chars = line.chars();
        let (letter, next) = (chars.next()?, chars.next()?);
        let style = match letter {
            'A' => ADDED,
            'D' => REMOVED,
            'M' => CHANGED,
            'T' => KIND,
            'R' | 'C' => HUNK,
            _ => return None,
        };
        // `A  path`, `A<tab>path`, `R100<tab>from<tab>to`.
        (next.is_whitespace() || next == '1').then(|| {
            let end = line.find(char::is_whitespace).unwrap_or(line.len());
            styled(&line[..end], style, true) + &line[end..]
        })
    })
}

/// Counts of lines with a graph of `+` and `-`.
pub fn stat(text: &str) -> String {
    lines(text, |line| {
        let (name, change) = line.rsplit_once("| ")?;
        let (count, rest) = change.split_once(' ')?;
        let end = rest.find(|c| c != '+' && c != '-').unwrap_or(rest.len());
        let (graph, aside) = rest.split_at(end);
        if graph.is_empty() {
            return None;
        }
        let (plus, minus) = graph.split_at(graph.find('-').unwrap_or(graph.len()));
        let (plus, minus) = (styled(plus, ADDED, true), styled(minus, REMOVED, true));
        Some(format!("{name}| {count} {plus}{minus}{aside}"))
    })
}

fn lines(text: &str, paint: impl Fn(&str) -> Option<String>) -> String {
    text.lines().map(|line| paint(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_keeps_its_lines_but_loses_its_escape_sequences() {
        let patch = b"diff --git a/f b/f\n@@ -1 +1 @@\n-old\x1b[2J\r\n+n\xe9w\ttab \xe2\x80\xae\n";
        let whole = Painter::new(false).piece(patch);
        let expected = "diff --git a/f b/f\n@@ -1 +1 @@\n-old\\u{1b}[2J\\u{d}\n\
                        +n\\xe9w\ttab \\u{202e}\n";
        assert_eq!(whole, expected);
        let mut painter = Painter::new(false);
        let pieces: String = patch.chunks(3).map(|piece| painter.piece(piece)).collect();
        assert_eq!(pieces, expected);
    }

    #[test]
    fn lines_have_the_colours_of_what_they_are() {
        let painted = Painter::new(true).piece(b"--- a/f\n@@ -1,2 +1 @@\n--- x\n y\n");
        insta::assert_snapshot!(painted.replace('\x1b', "^"), @r"
        ^[1m--- a/f^[0m
        ^[36m@@ -1,2 +1 @@^[0m
        ^[31m--- x^[0m
         y
        ");
    }

    #[test]
    fn letters_and_graphs_are_painted_and_other_text_is_not() {
        let painted = list("A  new\nR100\ta\tb\n2 entries differ\nno changes\n");
        assert_eq!(
            painted.replace('\x1b', "^"),
            "^[32mA^[0m  new\n^[36mR100^[0m\ta\tb\n2 entries differ\nno changes\n"
        );
        let painted = stat(" notes | 3 ++-\n logo  | 1 B -> 2 B\n1 line added\n");
        assert_eq!(
            painted.replace('\x1b', "^"),
            " notes | 3 ^[32m++^[0m^[31m-^[0m\n logo  | 1 B -> 2 B\n1 line added\n"
        );
    }
}
