//! A patch read line by line: what each line is.
//!
//! Content may look like anything, so nothing but the counts of a hunk's header tells where the hunk
//! ends: a removed `-- x` is no header.

/// What a line of a patch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Names, modes, binary content.
    Header,
    /// Where a hunk is: the lines that it begins with on both sides, from 1.
    Hunk(u64, u64),
    /// On both sides.
    Context,
    /// On the new side.
    Added,
    /// On the old side.
    Removed,
    /// About the line before: it has no newline.
    Remark,
}

/// Reads one line after the other.
#[derive(Debug, Default)]
pub struct Reader {
    old_left: u64,
    new_left: u64,
    after_hunk: bool,
}

impl Reader {
    /// What the next line is.
    pub fn line(&mut self, line: &[u8]) -> Kind {
        let first = line.first().copied().unwrap_or(b' ');
        if first == b'\\' && self.after_hunk {
            return Kind::Remark;
        }
        if self.old_left + self.new_left > 0 {
            let (kind, old, new) = match first {
                b'+' => (Kind::Added, 0, 1),
                b'-' => (Kind::Removed, 1, 0),
                _ => (Kind::Context, 1, 1),
            };
            self.old_left = self.old_left.saturating_sub(old);
            self.new_left = self.new_left.saturating_sub(new);
            return kind;
        }
        match hunk(line) {
            Some(((old, old_len), (new, new_len))) => {
                (self.old_left, self.new_left, self.after_hunk) = (old_len, new_len, true);
                Kind::Hunk(old, new)
            }
            None => {
                self.after_hunk = false;
                Kind::Header
            }
        }
    }
}

type Range = (u64, u64);

/// The ranges of `@@ -1,2 +3,4 @@`.
fn hunk(line: &[u8]) -> Option<(Range, Range)> {
    let text = std::str::from_utf8(line.strip_prefix(b"@@ -")?).ok()?;
    let (old, rest) = text.split_once(" +")?;
    let (new, _) = rest.split_once(" @@")?;
    let range = |text: &str| match text.split_once(',') {
        Some((at, len)) => Some((at.parse().ok()?, len.parse().ok()?)),
        None => Some((text.parse().ok()?, 1)),
    };
    // Sums of both lengths must not overflow, whatever a patch claims.
    let bounded = |range: &Range| range.1 < u64::from(u32::MAX);
    Some((range(old).filter(bounded)?, range(new).filter(bounded)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_that_looks_like_a_header_is_content() {
        let patch = "--- a/f\n+++ b/f\n@@ -1,2 +7,2 @@\n--- x\n+++ y\n @@ -1 +1 @@\n\
                     \\ No newline at end of file\n--- a/g";
        let mut reader = Reader::default();
        let kinds: Vec<_> = patch.lines().map(|line| reader.line(line.as_bytes())).collect();
        let expected = [
            Kind::Header,
            Kind::Header,
            Kind::Hunk(1, 7),
            Kind::Removed,
            Kind::Added,
            Kind::Context,
            Kind::Remark,
            Kind::Header,
        ];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn no_header_of_a_hunk_overflows() {
        let mut reader = Reader::default();
        let huge = format!("@@ -1,{0} +1,{0} @@", u64::MAX);
        assert_eq!(reader.line(huge.as_bytes()), Kind::Header);
        assert_eq!(reader.line(b"@@ -5 +6 @@"), Kind::Hunk(5, 6));
    }
}
