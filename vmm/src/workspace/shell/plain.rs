//! What a terminal shows, as lines of text.
//!
//! Within a line the cursor moves as programs that redraw it (prompts, progress bars) expect:
//! carriage return, backspace, erasing. Everything else that is no text is dropped. A piece is
//! rendered by itself: pieces that are cut at line ends give the text of the whole.

use vte::{Params, Parser, Perform};

use super::text::incomplete_utf8;

/// Longest beginning of an escape sequence that waits for its rest. Titles and hyperlinks are
/// shorter; what is longer is rather a sequence that never ends.
const LONGEST_SEQUENCE: usize = 4096;

/// Rendered text.
#[derive(Debug, PartialEq, Eq)]
pub struct Plain {
    /// At most as many characters as asked for; no control characters but line feeds and tabs.
    pub text: String,
    /// Bytes of the input that it shows.
    pub consumed: usize,
    /// Bytes behind them that mean something only together with what is still to come.
    pub held_back: usize,
}

/// Renders `data`, printed on a terminal of `cols` columns, up to `max` characters. When more is
/// `to_come`, sequences that are not complete yet are held back.
pub fn render(data: &[u8], cols: usize, max: usize, to_come: bool) -> Plain {
    let usable = if to_come { complete(data) } else { data };
    let mut parser = Parser::new();
    let mut page = Page { cols: cols.max(1), ..Page::default() };
    let mut consumed = 0;
    let mut buffer = [0; 4];
    // One character at a time: the page must not become longer than asked for.
    'all: for chunk in usable.utf8_chunks() {
        let replaced = (!chunk.invalid().is_empty())
            .then_some((char::REPLACEMENT_CHARACTER, chunk.invalid().len()));
        for (c, len) in chunk.valid().chars().map(|c| (c, c.len_utf8())).chain(replaced) {
            if page.chars() >= max {
                break 'all;
            }
            parser.advance(&mut page, c.encode_utf8(&mut buffer).as_bytes());
            consumed += len;
        }
    }
    let held_back = if consumed == usable.len() { data.len() - usable.len() } else { 0 };
    Plain { text: page.finish(max), consumed, held_back }
}

/// `data` without what is still incomplete at its end: a character, an escape sequence, or a
/// carriage return whose line feed may follow.
fn complete(data: &[u8]) -> &[u8] {
    let data = &data[..data.len() - incomplete_utf8(data)];
    let data = &data[..data.len() - incomplete_sequence(data)];
    data.strip_suffix(b"\r").unwrap_or(data)
}

/// Bytes of an escape sequence at the end of `data` that is not complete.
fn incomplete_sequence(data: &[u8]) -> usize {
    // Whatever goes on before it, an escape character begins anew.
    let Some(at) = data.iter().rposition(|byte| *byte == 0x1b) else { return 0 };
    let sequence = &data[at..];
    if sequence.len() > LONGEST_SEQUENCE {
        return 0;
    }
    let (mut parser, mut probe) = (Parser::new(), Probe(false));
    parser.advance(&mut probe, sequence);
    probe.0 = false;
    // Text is printed only where no sequence is open.
    parser.advance(&mut probe, b"x");
    if probe.0 { 0 } else { sequence.len() }
}

/// Tells whether something was printed.
struct Probe(bool);

impl Perform for Probe {
    fn print(&mut self, _: char) {
        self.0 = true;
    }
}

/// Finished lines, and the one that the cursor is in.
#[derive(Default)]
struct Page {
    text: String,
    /// Characters in `text`.
    finished: usize,
    line: Vec<char>,
    /// Where the cursor is in the line.
    at: usize,
    /// Where the cursor's row begins: a line that is longer than the terminal is wide has several.
    row: usize,
    cols: usize,
}

impl Page {
    fn chars(&self) -> usize {
        self.finished + self.line.len()
    }

    fn put(&mut self, c: char) {
        if self.at - self.row >= self.cols {
            self.row = self.at;
        }
        if self.line.len() < self.at {
            self.line.resize(self.at, ' ');
        }
        match self.line.get_mut(self.at) {
            Some(there) => *there = c,
            None => self.line.push(c),
        }
        self.at += 1;
    }

    fn end_line(&mut self) {
        self.finished += self.line.len() + 1;
        self.text.extend(self.line.drain(..));
        self.text.push('\n');
        (self.at, self.row) = (0, 0);
    }

    fn erase(&mut self, how: u16) {
        let from = if how == 0 { self.at } else { self.row };
        match how {
            0 | 2 => self.line.truncate(from),
            1 => {
                let to = self.at.min(self.line.len());
                self.line[from.min(to)..to].fill(' ');
            }
            _ => {}
        }
    }

    fn finish(mut self, max: usize) -> String {
        let room = max.saturating_sub(self.finished);
        self.text.extend(self.line.iter().take(room));
        self.text
    }
}

impl Perform for Page {
    fn print(&mut self, c: char) {
        if !c.is_control() {
            self.put(c);
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' => self.end_line(),
            b'\t' => self.put('\t'),
            b'\r' => self.at = self.row,
            0x08 => self.at = self.at.saturating_sub(1).max(self.row),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], _: bool, action: char) {
        if !intermediates.is_empty() {
            return;
        }
        let given = params.iter().next().and_then(|param| param.first().copied()).unwrap_or(0);
        let count = usize::from(given.max(1));
        let end = self.line.len().max(self.at);
        match action {
            'K' => self.erase(given),
            'D' => self.at = self.at.saturating_sub(count).max(self.row),
            // Only as far as there is text: nobody wants a screenful of spaces.
            'C' => self.at = (self.at + count).min(end),
            'G' => self.at = (self.row + count - 1).min(end),
            'P' => {
                let from = self.at.min(self.line.len());
                let to = (from + count).min(self.line.len());
                self.line.drain(from..to);
            }
            '@' if self.at < self.line.len() => {
                let spaces = std::iter::repeat_n(' ', count.min(self.cols));
                self.line.splice(self.at..self.at, spaces);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(data: &str) -> String {
        let plain = render(data.as_bytes(), 80, usize::MAX, false);
        assert_eq!(plain.consumed, data.len());
        plain.text
    }

    #[test]
    fn escape_sequences_and_control_characters_are_dropped() {
        for (printed, text) in [
            ("\x1b[1;32mgreen\x1b[0m\r\n", "green\n"),
            ("\x1b[?2004h$ ls\r\n", "$ ls\n"),
            ("\x1b]0;title\x07a\x1b]8;;x://y\x1b\\link\x1b]8;;\x1b\\", "alink"),
            ("\x1bP1$r0m\x1b\\a\x1b_apc\x1b\\b\x1b(Bc", "abc"),
            ("a\x07b\x00c\x7fd\u{9b}e", "abcde"),
            ("é\t漢\u{202e}\n", "é\t漢\u{202e}\n"),
        ] {
            assert_eq!(plain(printed), text, "{printed:?}");
        }
    }

    #[test]
    fn lines_that_are_redrawn_are_shown_as_they_ended() {
        for (printed, text) in [
            ("10%\r20%\r100%\r\n", "100%\n"),
            ("longer text\rshort\r\n", "shortr text\n"),
            ("longer text\r\x1b[Kshort\r\n", "short\n"),
            ("longer text\x1b[2K\rshort\r\n", "short\n"),
            ("lz\x08s -l\x08 \x08\r\n", "ls - \n"),
            ("abc\x1b[2D\x1b[Px\r\n", "ax\n"),
            ("ac\x08\x1b[@b\r\n", "abc\n"),
            ("\x08\x08\x1b[9Da\x1b[9999Cb\r\n", "ab\n"),
            ("abc\x1b[1K\x1b[2Gx\n", " x \n"),
        ] {
            assert_eq!(plain(printed), text, "{printed:?}");
        }
    }

    #[test]
    fn a_line_longer_than_the_terminal_is_wide_stays_one_line() {
        // What a shell's line editor prints when the input reaches the margin.
        let printed = format!("{} \r{}\r\n", "a".repeat(80), "b".repeat(10));
        assert_eq!(plain(&printed), format!("{}{}\n", "a".repeat(80), "b".repeat(10)));
    }

    #[test]
    fn what_is_not_complete_waits_for_its_rest() {
        for (printed, text, held_back) in [
            ("a\x1b", "a", 1),
            ("a\x1b[31", "a", 4),
            ("a\x1b]0;title", "a", 9),
            ("a\r", "a", 1),
            ("a\x1b[31m", "a", 0),
            ("a\x1b]0;t\x1b\\", "a", 0),
        ] {
            let plain = render(printed.as_bytes(), 80, 99, true);
            assert_eq!((plain.text.as_str(), plain.held_back), (text, held_back), "{printed:?}");
            assert_eq!(plain.consumed + plain.held_back, printed.len());
            assert_eq!(render(printed.as_bytes(), 80, 99, false).held_back, 0, "nothing comes");
        }
        assert_eq!(render(b"a\xc3", 80, 99, true).held_back, 1);
        let endless = format!("\x1b]0;{}", "x".repeat(5000));
        assert_eq!(render(endless.as_bytes(), 80, 99, true).held_back, 0);
    }

    #[test]
    fn a_bounded_piece_tells_where_to_go_on() {
        let printed = "\x1b[1mab\x1b[0mcd\r\nef";
        let (mut text, mut at) = (String::new(), 0);
        while at < printed.len() {
            let piece = render(&printed.as_bytes()[at..], 80, 2, true);
            assert!(piece.consumed > 0 && piece.text.chars().count() <= 2);
            text += &piece.text;
            at += piece.consumed;
        }
        assert_eq!(text, "abcd\nef");
    }

    fn token() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[ -~é漢]{0,20}",
            2 => Just("\r\n".to_owned()),
            1 => Just("\r".to_owned()),
            1 => Just("\x08".to_owned()),
            1 => "\x1b\\[[0-9;?]{0,5}[A-Za-z@]",
            1 => "\x1b\\][0-9];[a-z]{0,9}\x07",
            1 => Just("\x1b(B".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_give_clean_text(
            data in proptest::collection::vec(any::<u8>(), 0..300),
            cols in 0..100usize,
            max in 1..100usize,
            to_come: bool,
        ) {
            let plain = render(&data, cols, max, to_come);
            prop_assert!(plain.consumed + plain.held_back <= data.len());
            prop_assert!(plain.text.chars().count() <= max);
            let clean = |c: char| !c.is_control() || c == '\n' || c == '\t';
            prop_assert!(plain.text.chars().all(clean), "{:?}", plain.text);
            if plain.held_back == 0 && !data.is_empty() {
                prop_assert!(plain.consumed > 0, "no progress");
            }
        }

        #[test]
        fn pieces_cut_at_line_ends_give_the_text_of_the_whole(
            tokens in proptest::collection::vec(token(), 0..40),
            cols in 1..100usize,
        ) {
            let data = tokens.concat();
            let whole = render(data.as_bytes(), cols, usize::MAX, false).text;
            let piece = |line: &str| render(line.as_bytes(), cols, usize::MAX, false).text;
            prop_assert_eq!(data.split_inclusive('\n').map(piece).collect::<String>(), whole);
        }

        #[test]
        fn nothing_is_lost_or_shown_twice_when_output_comes_in_pieces(
            lines in proptest::collection::vec("[ -~é漢]{0,30}", 1..8),
            cuts in proptest::collection::vec(0..400usize, 0..8),
        ) {
            // Without redrawing, any cut will do.
            let data: String = lines.iter().map(|line| format!("\x1b[1m{line}\x1b[0m\r\n")).collect();
            let data = data.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(data.len())).collect();
            cuts.push(data.len());
            cuts.sort_unstable();
            let (mut text, mut from) = (String::new(), 0);
            for cut in cuts {
                let piece = render(&data[from..cut], 1000, usize::MAX, true);
                text += &piece.text;
                from += piece.consumed;
            }
            prop_assert_eq!(text, lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        }
    }
}
