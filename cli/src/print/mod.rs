//! Replies as people read them. Pure: values in, text out.

pub mod apply;
pub mod diff;
pub mod environment;
pub mod exec;
pub mod kernel;
pub mod machine;
pub mod paint;
pub mod shell;
pub mod snapshot;
pub mod store;
pub mod vm;
pub mod workspace;

use std::fmt::Display;

use base64::{Engine, engine::general_purpose::STANDARD};

/// Text from a guest or a host name, made safe to show.
pub fn shown(text: &str) -> String {
    pyro_format::escape(text.as_bytes())
}

/// A path made safe to show, exact where its text had to replace bytes.
pub fn shown_path(text: &str, b64: Option<&str>) -> String {
    match b64.map(|b64| STANDARD.decode(b64)) {
        Some(Ok(bytes)) => pyro_format::escape(&bytes),
        _ => shown(text),
    }
}

/// A command's output made safe to show, line by line; tabs stay.
pub fn shown_lines(text: &str) -> String {
    let line = |line: &str| line.split('\t').map(shown).collect::<Vec<_>>().join("\t");
    let mut lines = text.split('\n').map(line).collect::<Vec<_>>().join("\n");
    if !lines.is_empty() && !lines.ends_with('\n') {
        lines.push('\n');
    }
    lines
}

/// A line's bytes made safe to show; tabs stay, and so do backslashes, which files are full of.
pub fn shown_line(line: &[u8]) -> String {
    let plain = |part: &[u8]| pyro_format::escape(part);
    let tabs = line
        .split(|byte| *byte == b'\t')
        .map(|part| part.split(|byte| *byte == b'\\').map(plain).collect::<Vec<_>>().join("\\"));
    tabs.collect::<Vec<_>>().join("\t")
}

/// `1 file`, `2 files`.
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Bytes with three significant digits and a binary unit.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// `key  value` lines, the values in one column.
pub fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows = fields.into_iter().map(|(key, value)| vec![key.to_owned(), value]);
    table(rows.collect())
}

/// Rows of cells, in columns as wide as their widest cell; the last column is ragged.
pub fn table(rows: Vec<Vec<String>>) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(&row) {
            line += cell;
            line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// The value, or a dash.
pub fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// The first digits of an id: enough for people, and for commands that take a prefix.
pub fn short(id: &str) -> String {
    shown(id).chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let shown = [0, 1023, 1024, 1536, 10 << 10, 1023 << 10, 1 << 20, 2 << 30, u64::MAX];
        let shown = shown.map(size);
        let expected = [
            "0 B", "1023 B", "1.00 KiB", "1.50 KiB", "10.0 KiB", "1023 KiB", "1.00 MiB",
            "2.00 GiB", "16.0 EiB",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn columns_line_up_and_no_line_ends_with_spaces() {
        let rows = [["NAME", "STATE"], ["ä", ""], ["longer", "x"]];
        let text = table(rows.map(|row| row.map(String::from).to_vec()).to_vec());
        assert_eq!(text, "NAME    STATE\nä\nlonger  x\n");
    }

    #[test]
    fn a_path_that_is_not_utf8_is_shown_exactly() {
        assert_eq!(shown_path("\u{fffd}", Some("/w==")), r"\xff");
        assert_eq!(shown_path("a", None), "a");
    }

    #[test]
    fn output_cannot_move_the_cursor() {
        assert_eq!(shown_lines("a\tb\n\x1b[2Jc"), "a\tb\n\\u{1b}[2Jc\n");
        assert_eq!(shown_lines(""), "");
    }
}
