//! One file's part of the patch as rows, which the style sheet shows side by side or unified.
//!
//! A row of context has its text twice, for both sides. Rows that go and rows that come stand in one
//! block, the old ones first: unified that is their order, side by side the style sheet packs them into
//! two columns, so that lines that replace each other are level.

use std::ops::Range;

use super::text;
use crate::patch::{Kind, Reader};

/// Longest line that is shown whole, in bytes.
const LINE: usize = 2000;
/// A pair of lines with less in common, in hundredths of the longer one, is not marked.
const ALIKE: usize = 30;

/// A line with its number.
type Numbered<'p> = (u64, &'p [u8]);

/// The rows of at most `most` lines of a patch, and how many lines more there are.
pub fn rows(patch: &[u8], most: usize) -> (String, usize) {
    let mut rows = Rows::default();
    let mut reader = Reader::default();
    let (mut shown, mut more) = (0, 0);
    for line in patch.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let kind = reader.line(line);
        if kind == Kind::Header {
            continue;
        }
        if shown == most {
            more += 1;
            continue;
        }
        shown += 1;
        rows.row(kind, line.get(1..).unwrap_or_default(), line);
    }
    rows.end_block();
    (rows.out, more)
}

#[derive(Default)]
struct Rows<'p> {
    out: String,
    old: u64,
    new: u64,
    removed: Vec<Numbered<'p>>,
    added: Vec<Numbered<'p>>,
    /// Remarks that stand behind the last removed and the last added line.
    bare: (bool, bool),
}

impl<'p> Rows<'p> {
    fn row(&mut self, kind: Kind, content: &'p [u8], whole: &'p [u8]) {
        match kind {
            Kind::Header => {}
            Kind::Hunk(old, new) => {
                self.end_block();
                (self.old, self.new) = (old, new);
                self.out += &format!("<p class=\"at\">{}</p>\n", text::line(whole));
            }
            Kind::Context => {
                self.end_block();
                let (text, old, new) = (shown(content, 0..0), self.old, self.new);
                self.out += &format!(
                    "<div class=\"c\"><i>{old}</i><code>{text}</code><i>{new}</i>\
                     <code>{text}</code></div>\n"
                );
                self.old = self.old.saturating_add(1);
                self.new = self.new.saturating_add(1);
            }
            Kind::Removed => {
                if !self.added.is_empty() {
                    self.end_block();
                }
                self.removed.push((self.old, content));
                self.old = self.old.saturating_add(1);
            }
            Kind::Added => {
                self.added.push((self.new, content));
                self.new = self.new.saturating_add(1);
            }
            Kind::Remark => match (self.removed.is_empty(), self.added.is_empty()) {
                (_, false) => self.bare.1 = true,
                (false, true) => self.bare.0 = true,
                (true, true) => self.out += "<p class=\"bare\">No newline at the end</p>\n",
            },
        }
    }

    fn end_block(&mut self) {
        let removed = std::mem::take(&mut self.removed);
        let added = std::mem::take(&mut self.added);
        let bare = std::mem::take(&mut self.bare);
        if removed.is_empty() && added.is_empty() {
            return;
        }
        let paired = removed.len() == added.len();
        let pair = |at: usize| match (paired, removed.get(at), added.get(at)) {
            (true, Some((_, old)), Some((_, new))) => differing(old, new),
            _ => (0..0, 0..0),
        };
        self.out += "<div class=\"b\">";
        for (at, (number, line)) in removed.iter().enumerate() {
            let end = bare.0 && at + 1 == removed.len();
            self.out += &side("d", *number, line, pair(at).0, end);
        }
        for (at, (number, line)) in added.iter().enumerate() {
            let end = bare.1 && at + 1 == added.len();
            self.out += &side("a", *number, line, pair(at).1, end);
        }
        self.out += "</div>\n";
    }
}

fn side(class: &str, number: u64, line: &[u8], mark: Range<usize>, bare: bool) -> String {
    let bare = if bare { "<em>no newline at the end</em>" } else { "" };
    let text = shown(line, mark);
    format!("<div class=\"{class}\"><i>{number}</i><code>{text}{bare}</code></div>\n")
}

fn shown(line: &[u8], mark: Range<usize>) -> String {
    if line.len() <= LINE {
        return text::content(line, mark);
    }
    let mut end = LINE;
    while end > LINE - 4 && line[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    format!("{}<em>{} more bytes</em>", text::content(&line[..end], mark), line.len() - end)
}

/// The parts of two lines that replace each other that differ; empty where all of it does.
fn differing(old: &[u8], new: &[u8]) -> (Range<usize>, Range<usize>) {
    let (Ok(old), Ok(new)) = (std::str::from_utf8(old), std::str::from_utf8(new)) else {
        return (0..0, 0..0);
    };
    let same = |(a, b): &(char, char)| a == b;
    let lead: usize =
        old.chars().zip(new.chars()).take_while(same).map(|(c, _)| c.len_utf8()).sum();
    let (old_rest, new_rest) = (&old[lead..], &new[lead..]);
    let pairs = old_rest.chars().rev().zip(new_rest.chars().rev());
    let trail: usize = pairs.take_while(same).map(|(c, _)| c.len_utf8()).sum();
    if (lead + trail) * 100 < old.len().max(new.len()) * ALIKE {
        return (0..0, 0..0);
    }
    (lead..old.len() - trail, lead..new.len() - trail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hunk_is_context_and_blocks_with_what_differs_marked() {
        let patch = b"--- a/f\n+++ b/f\n@@ -4,3 +4,3 @@\n same\n-let a = 1;\n+let a = <2>;\n\
                      \\ No newline at end of file\n";
        let (html, more) = rows(patch, 100);
        insta::assert_snapshot!(html, @r#"
        <p class="at">@@ -4,3 +4,3 @@</p>
        <div class="c"><i>4</i><code>same</code><i>4</i><code>same</code></div>
        <div class="b"><div class="d"><i>5</i><code>let a = <mark>1</mark>;</code></div>
        <div class="a"><i>5</i><code>let a = <mark>&lt;2&gt;</mark>;<em>no newline at the end</em></code></div>
        </div>
        "#);
        assert_eq!(more, 0);
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let patch = format!("@@ -0,0 +1,50 @@\n{}", "+x\n".repeat(50));
        let (html, more) = rows(patch.as_bytes(), 11);
        assert_eq!((html.matches("<code>").count(), more), (10, 40));
        let (html, _) = rows(format!("@@ -1 +1 @@\n+{}", "é".repeat(5000)).as_bytes(), 9);
        assert!(html.len() < 3000 && html.contains("more bytes"), "{}", html.len());
    }

    #[test]
    fn marks_stand_on_characters_and_not_on_lines_that_share_little() {
        assert_eq!(differing("aéb".as_bytes(), "aèb".as_bytes()), (1..3, 1..3));
        assert_eq!(differing(b"aa", b"aaa"), (2..2, 2..3));
        assert_eq!(differing(b"completely", b"different"), (0..0, 0..0));
        assert_eq!(differing(b"\xff same", b"\xfe same"), (0..0, 0..0));
    }
}
