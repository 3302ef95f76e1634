//! Foreign bytes as HTML: no markup, nothing that controls, reorders or hides.

use std::ops::Range;

/// A name, or any text of one line: tabs and newlines are made visible, too.
pub fn line(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 16);
    for part in bytes.split_inclusive(|byte| *byte == b'\t') {
        let tab = part.ends_with(b"\t");
        push(&mut out, &part[..part.len() - usize::from(tab)]);
        if tab {
            out.push_str("<u>\\t</u>");
        }
    }
    out
}

/// A line of a file, with the part in `mark` marked. Tabs stay; the range is on characters' bounds.
pub fn content(bytes: &[u8], mark: Range<usize>) -> String {
    let mut out = String::with_capacity(bytes.len() + 16);
    let mark = mark.start.min(bytes.len())..mark.end.min(bytes.len());
    if mark.is_empty() {
        push(&mut out, bytes);
        return out;
    }
    push(&mut out, &bytes[..mark.start]);
    out.push_str("<mark>");
    push(&mut out, &bytes[mark.clone()]);
    out.push_str("</mark>");
    push(&mut out, &bytes[mark.end..]);
    out
}

fn push(out: &mut String, bytes: &[u8]) {
    for part in bytes.utf8_chunks() {
        for c in part.valid().chars() {
            match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '"' => out.push_str("&quot;"),
                '\'' => out.push_str("&#39;"),
                '\t' => out.push('\t'),
                '\n' => out.push_str("<u>\\n</u>"),
                '\r' => out.push_str("<u>\\r</u>"),
                c if is_unseen(c) => out.push_str(&format!("<u>\\u{{{:x}}}</u>", c as u32)),
                c => out.push(c),
            }
        }
        for byte in part.invalid() {
            out.push_str(&format!("<u>\\x{byte:02x}</u>"));
        }
    }
}

/// Controls, and what has no width or changes the order of what is read (Unicode TR 36 and 39).
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_text_and_what_hides_is_seen() {
        assert_eq!(
            line(b"\"><img src=x onerror='a&b'>"),
            "&quot;&gt;&lt;img src=x onerror=&#39;a&amp;b&#39;&gt;"
        );
        assert_eq!(
            line("a\u{202e}b\x1b\0".as_bytes()),
            "a<u>\\u{202e}</u>b<u>\\u{1b}</u><u>\\u{0}</u>"
        );
        assert_eq!(line(b"caf\xe9\t\n\r"), "caf<u>\\xe9</u><u>\\t</u><u>\\n</u><u>\\r</u>");
        assert_eq!(line("\u{200b}\u{feff}\u{e0041}".as_bytes()).matches("<u>").count(), 3);
    }

    #[test]
    fn marks_are_where_they_are_wanted_and_never_beyond() {
        assert_eq!(content(b"a<b>\tc", 1..3), "a<mark>&lt;b</mark>&gt;\tc");
        assert_eq!(content(b"abc", 7..9), "abc");
        assert_eq!(content(b"abc", 1..9), "a<mark>bc</mark>");
    }
}
