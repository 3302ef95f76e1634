//! Paths that callers write: below `/workspace`, absolute or relative to it.

use pyro_api::BytesText;
use pyro_format::{TreePath, escape};

use super::MOUNT;
use crate::error::{Error, Result};

/// The place in the tree that `text` names. `.` components and doubled or trailing slashes are
/// allowed, `..` and absolute paths elsewhere are not.
pub fn parse(text: &[u8]) -> Result<TreePath> {
    let outside = || Error::Outside(escape(text));
    let inside = match text.strip_prefix(MOUNT.as_bytes()) {
        Some([]) => &[][..],
        Some(rest @ [b'/', ..]) => rest,
        _ if text.first() == Some(&b'/') => return Err(outside()),
        _ => text,
    };
    let names: Vec<&[u8]> =
        inside.split(|b| *b == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    if text.is_empty() || names.contains(&&b".."[..]) {
        return Err(outside());
    }
    TreePath::parse(&names.join(&b'/')).map_err(|error| {
        let reason =
            std::error::Error::source(&error).map(|e| format!(": {e}")).unwrap_or_default();
        Error::Invalid(format!("{error}{reason}"))
    })
}

/// The path as the guest sees it.
pub fn absolute(path: &TreePath) -> Vec<u8> {
    let mut absolute = MOUNT.as_bytes().to_vec();
    if !path.is_root() {
        absolute.push(b'/');
        absolute.extend_from_slice(path.as_bytes());
    }
    absolute
}

/// Where a program starts: anywhere in the guest, or below `/workspace`; there when not said.
pub fn working_directory(cwd: Option<&BytesText>) -> Result<BytesText> {
    match cwd {
        Some(cwd) if cwd.0.first() == Some(&b'/') => Ok(cwd.clone()),
        Some(cwd) => Ok(BytesText(absolute(&parse(&cwd.0)?))),
        None => Ok(BytesText::from(MOUNT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_path_are_one() {
        for text in ["a/b", "./a//b/", "/workspace/a/b", "/workspace//a/./b"] {
            assert_eq!(parse(text.as_bytes()).unwrap().as_bytes(), b"a/b", "{text}");
        }
        for text in [".", "/workspace", "/workspace/", "./"] {
            assert!(parse(text.as_bytes()).unwrap().is_root(), "{text}");
        }
    }

    #[test]
    fn nothing_leaves_the_workspace() {
        for text in
            ["", "..", "../x", "a/../../x", "a/..", "/", "/etc", "/workspacex", "/workspace/../etc"]
        {
            assert!(matches!(parse(text.as_bytes()), Err(Error::Outside(_))), "{text}");
        }
        assert!(matches!(parse(b"a\0b"), Err(Error::Invalid(_))));
    }
}
