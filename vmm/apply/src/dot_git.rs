//! Names that git, on some file system, takes for `.git`.
//!
//! After git's own protection (git-config(1), `core.protectHFS` and `core.protectNTFS`): HFS+ folds
//! case and ignores some code points; NTFS folds case, drops dots and spaces at the end, takes what
//! follows a colon for a stream's name and a backslash for a separator, and calls `.git` also `git~1`.

use pyro_format::TreePath;

/// The outermost part of `path` that git may take for a repository's directory.
pub fn repository(path: &TreePath) -> Option<TreePath> {
    let mut at = TreePath::root();
    path.names().find_map(|name| {
        at.push(&name);
        is_dot_git(name.as_bytes()).then(|| at.clone())
    })
}

fn is_dot_git(name: &[u8]) -> bool {
    name.split(|b| *b == b'\\').any(|part| on_ntfs(part) || on_hfs(part))
}

fn on_ntfs(name: &[u8]) -> bool {
    let name = name.split(|b| *b == b':').next().unwrap_or_default();
    let end = name.iter().rposition(|b| !matches!(b, b'.' | b' ')).map_or(0, |last| last + 1);
    name[..end].eq_ignore_ascii_case(b".git") || name[..end].eq_ignore_ascii_case(b"git~1")
}

fn on_hfs(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let seen = name.chars().filter(|c| {
        !matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
    });
    seen.flat_map(char::to_lowercase).eq(".git".chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_part_is_told() {
        let path = |text: &str| TreePath::parse(text.as_bytes()).unwrap();
        assert_eq!(repository(&path("a/.GIT/modules/.git/config")), Some(path("a/.GIT")));
    }

    #[test]
    fn every_spelling_is_known_and_no_other_name() {
        let refused = |name: &[u8]| repository(&TreePath::parse(name).unwrap()).is_some();
        for name in [
            &b".git"[..],
            b".GIT",
            b"sub/.gIt/config",
            b".git.",
            b".git . ",
            b"GIT~1",
            b".git::$INDEX_ALLOCATION",
            b".git:x",
            b"a\\.git\\config",
            ".g\u{200c}it".as_bytes(),
            "\u{feff}.Git".as_bytes(),
            ".gıt".replace('ı', "\u{0049}").as_bytes(),
        ] {
            assert!(refused(name), "{}", String::from_utf8_lossy(name));
        }
        for name in [
            &b".gitignore"[..],
            b".gitmodules",
            b"git",
            b".github/workflows",
            b"x.git",
            b"git~2",
            b". git",
            b".git\xff",
        ] {
            assert!(!refused(name), "{}", String::from_utf8_lossy(name));
        }
    }
}
