//! Unified patches as git writes them: what `git apply` and `patch -p1` read.
//!
//! A patch carries the content of text files, links and the executable bit; binary files in a form of
//! their own, which only `git apply` reads. Other modes, empty directories and what was or became a
//! directory are in the entries alone.

mod binary;

use imara_diff::sources::byte_lines;
use imara_diff::{Algorithm, Diff, Hunk, InternedInput};
use pyro_format::{Mode, TreePath};

/// Largest file that is patched, in bytes.
pub const LARGEST: u64 = 16 << 20;
/// Lines shown around a change unless the caller says.
pub const CONTEXT: u32 = 3;
/// A NUL byte among so many first bytes makes a file binary, as for git.
const SNIFFED: usize = 8000;

/// One side of a patched file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Side<'a> {
    /// Permission bits; none for a link.
    pub mode: Option<Mode>,
    /// The content, or the link's target.
    pub content: &'a [u8],
}

/// One path's part of a patch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// The bytes; empty if nothing that a patch can carry differs.
    pub text: Vec<u8>,
    /// Lines that come and lines that go; none where content is not told in lines.
    pub lines: Option<Lines>,
}

impl Part {
    /// This, and then the other.
    pub fn and(mut self, other: Self) -> Self {
        self.text.extend_from_slice(&other.text);
        let sum =
            |a: Lines, b: Lines| Lines { added: a.added + b.added, removed: a.removed + b.removed };
        self.lines = match (self.lines, other.lines) {
            (Some(a), Some(b)) => Some(sum(a, b)),
            (a, b) => a.or(b),
        };
        self
    }
}

/// Counts of lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lines {
    /// Lines that come.
    pub added: u64,
    /// Lines that go.
    pub removed: u64,
}

/// How content gets to a new path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The old path is gone.
    Rename,
    /// The old path, as it was before the patch, is read.
    Copy,
}

/// Whether git would call this content binary.
pub fn is_binary(content: &[u8]) -> bool {
    content[..content.len().min(SNIFFED)].contains(&0)
}

/// The patch of one path that is there on one or both sides. `context`: lines shown around a change.
pub fn file(path: &TreePath, old: Option<Side<'_>>, new: Option<Side<'_>>, context: u32) -> Part {
    let mut out = header(path, path);
    let start = out.len();
    modes(&mut out, old, new);
    let content = |side: Option<Side<'_>>| side.map_or(&b""[..], |side| side.content).to_vec();
    let (before, after) = (content(old), content(new));
    let mut lines = None;
    if before != after {
        if let (Some(Side { mode: None, .. }), Some(Side { mode: None, .. })) = (old, new) {
            // GNU patch patches a link only if this line says that it is one.
            let (old, new) = (binary::blob(Some(&before)), binary::blob(Some(&after)));
            line(&mut out, &format!("index {old}..{new} 120000"));
        }
        let name = |side: Option<Side<'_>>, prefix| match side {
            Some(_) => quoted(prefix, path),
            None => b"/dev/null".to_vec(),
        };
        for (sign, name) in [(&b"--- "[..], name(old, "a/")), (&b"+++ "[..], name(new, "b/"))] {
            out.extend_from_slice(&[sign, &name, b"\n"].concat());
        }
        lines = Some(hunks(&mut out, &before, &after, context));
    }
    if out.len() == start { Part::default() } else { Part { text: out, lines } }
}

/// The same for content that is not text, in git's own form.
pub fn binary_file(path: &TreePath, old: Option<Side<'_>>, new: Option<Side<'_>>) -> Part {
    let content = |side: Option<Side<'_>>| side.map(|side| side.content.to_vec());
    let (before, after) = (content(old), content(new));
    if before == after {
        return file(path, old, new, 0);
    }
    let mut text = header(path, path);
    modes(&mut text, old, new);
    binary::write(&mut text, before.as_deref(), after.as_deref());
    Part { text, lines: None }
}

/// The patch of a file whose content was at another path before.
pub fn same(
    way: Way,
    from: &TreePath,
    to: &TreePath,
    old: Option<Mode>,
    new: Option<Mode>,
) -> Part {
    let mut out = header(from, to);
    let side = |mode| Some(Side { mode, content: b"" });
    modes(&mut out, side(old), side(new));
    line(&mut out, "similarity index 100%");
    let word = match way {
        Way::Rename => "rename",
        Way::Copy => "copy",
    };
    for (end, path) in [("from", from), ("to", to)] {
        out.extend_from_slice(format!("{word} {end} ").as_bytes());
        out.extend_from_slice(&[&quoted("", path), &b"\n"[..]].concat());
    }
    Part { text: out, lines: None }
}

fn modes(out: &mut Vec<u8>, old: Option<Side<'_>>, new: Option<Side<'_>>) {
    match (old, new) {
        (None, Some(new)) => line(out, &format!("new file mode {}", git_mode(new))),
        (Some(old), None) => line(out, &format!("deleted file mode {}", git_mode(old))),
        (Some(old), Some(new)) if git_mode(old) != git_mode(new) => {
            line(out, &format!("old mode {}", git_mode(old)));
            line(out, &format!("new mode {}", git_mode(new)));
        }
        _ => {}
    }
}

fn header(from: &TreePath, to: &TreePath) -> Vec<u8> {
    [b"diff --git ", &quoted("a/", from)[..], b" ", &quoted("b/", to)[..], b"\n"].concat()
}

fn line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

/// Git knows three modes.
fn git_mode(side: Side<'_>) -> &'static str {
    match side.mode {
        None => "120000",
        Some(mode) if mode.bits() & 0o100 != 0 => "100755",
        Some(_) => "100644",
    }
}

/// A name as git quotes it (`core.quotePath` off): C style, only when it must be. A space, which git
/// leaves alone, is a reason here: GNU patch cannot tell where such a name ends in a bare header.
fn quoted(prefix: &str, path: &TreePath) -> Vec<u8> {
    let bytes = [prefix.as_bytes(), path.as_bytes()].concat();
    let special = |b: u8| b < 0x20 || b == 0x7f || b == b'"' || b == b'\\';
    let plain = |b: u8| b != b' ' && !special(b);
    if std::str::from_utf8(&bytes).is_ok() && bytes.iter().all(|b| plain(*b)) {
        return bytes;
    }
    let mut out = vec![b'"'];
    for byte in bytes {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b if special(b) || b >= 0x80 => out.extend_from_slice(format!("\\{b:03o}").as_bytes()),
            b => out.push(b),
        }
    }
    out.push(b'"');
    out
}

fn hunks(out: &mut Vec<u8>, before: &[u8], after: &[u8], context: u32) -> Lines {
    let input = InternedInput::new(byte_lines(before), byte_lines(after));
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    let changes: Vec<Hunk> = diff.hunks().collect();
    // Changes whose contexts touch stand in one hunk.
    for group in changes.chunk_by(|a, b| b.before.start - a.before.end <= context.saturating_mul(2))
    {
        let (first, last) = (&group[0], &group[group.len() - 1]);
        let lead = context.min(first.before.start);
        let trail = context.min(input.before.len() as u32 - last.before.end);
        let old = first.before.start - lead..last.before.end + trail;
        let new = first.after.start - lead..last.after.end + trail;
        // An empty range names the line before it.
        let place = |range: &std::ops::Range<u32>| {
            (range.start + u32::from(!range.is_empty()), range.end - range.start)
        };
        let ((old_at, old_len), (new_at, new_len)) = (place(&old), place(&new));
        line(out, &format!("@@ -{old_at},{old_len} +{new_at},{new_len} @@"));
        let mut at = old.start;
        for change in group {
            for token in &input.before[at as usize..change.before.start as usize] {
                body(out, b' ', input.interner[*token]);
            }
            for token in &input.before[change.before.start as usize..change.before.end as usize] {
                body(out, b'-', input.interner[*token]);
            }
            for token in &input.after[change.after.start as usize..change.after.end as usize] {
                body(out, b'+', input.interner[*token]);
            }
            at = change.before.end;
        }
        for token in &input.before[at as usize..old.end as usize] {
            body(out, b' ', input.interner[*token]);
        }
    }
    Lines { added: diff.count_additions().into(), removed: diff.count_removals().into() }
}

fn body(out: &mut Vec<u8>, sign: u8, text: &[u8]) {
    out.push(sign);
    out.extend_from_slice(text);
    if text.last() != Some(&b'\n') {
        out.extend_from_slice(b"\n\\ No newline at end of file\n");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn path(text: &[u8]) -> TreePath {
        TreePath::parse(text).unwrap()
    }

    fn side(content: &[u8]) -> Option<Side<'_>> {
        Some(Side { mode: Some(Mode::new(0o644)), content })
    }

    fn apply(program: &str, patch: &[u8], name: &str, old: Option<&[u8]>) -> Option<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        if let Some(old) = old {
            fs::write(&file, old).unwrap();
        }
        let patch_file = dir.path().join("the.patch");
        fs::write(&patch_file, patch).unwrap();
        let args: &[&str] = if program == "git" {
            &["apply", "--whitespace=nowarn", "the.patch"]
        } else {
            &["-p1", "--binary", "-s", "-i", "the.patch"]
        };
        let output = Command::new(program)
            .args(args)
            .env("GIT_CEILING_DIRECTORIES", dir.path().parent().unwrap())
            .current_dir(&dir)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{program}: {output:?}\n{}",
            String::from_utf8_lossy(patch)
        );
        fs::read(file).ok()
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let line = prop::sample::select(vec!["a", "b", "c", "x\r", "", " y ", "\u{e9}"]);
        (prop::collection::vec(line, 0..40), any::<bool>()).prop_map(|(lines, newline)| {
            let mut text = lines.join("\n").into_bytes();
            if newline && !text.is_empty() {
                text.push(b'\n');
            }
            text
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn git_and_patch_make_the_new_file_of_the_old(old in text(), new in text()) {
            prop_assume!(old != new);
            let patch = file(&path(b"f"), side(&old), side(&new), CONTEXT).text;
            prop_assert_eq!(apply("git", &patch, "f", Some(&old)), Some(new.clone()));
            // GNU patch removes a file that becomes empty.
            let patched = apply("patch", &patch, "f", Some(&old)).unwrap_or_default();
            prop_assert_eq!(patched, new);
        }
    }

    #[test]
    fn files_come_and_go_even_empty_ones_under_odd_names() {
        for name in ["f", "with space", "q\"uote", "tab\there", "line\nbreak", "\u{e9}"] {
            for content in [&b""[..], b"text\n", b"no newline"] {
                let at = path(name.as_bytes());
                let made = file(&at, None, side(content), CONTEXT).text;
                assert_eq!(apply("git", &made, name, None).as_deref(), Some(content), "{name}");
                assert_eq!(apply("patch", &made, name, None).as_deref(), Some(content), "{name}");
                let gone = file(&at, side(content), None, CONTEXT).text;
                assert_eq!(apply("git", &gone, name, Some(content)), None, "{name}");
            }
        }
    }

    #[test]
    fn only_the_executable_bit_is_a_mode_to_a_patch() {
        let with = |mode| Some(Side { mode: Some(Mode::new(mode)), content: b"x\n" });
        assert!(file(&path(b"f"), with(0o644), with(0o600), CONTEXT).text.is_empty());
        let patch = file(&path(b"f"), with(0o644), with(0o755), CONTEXT).text;
        assert_eq!(patch, b"diff --git a/f b/f\nold mode 100644\nnew mode 100755\n");
    }

    #[test]
    fn bytes_that_are_not_text_are_quoted_in_octal() {
        assert_eq!(quoted("a/", &path(b"\xff")), b"\"a/\\377\"");
    }
}
