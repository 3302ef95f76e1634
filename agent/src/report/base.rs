//! What a directory of the upper layer shows of the lower one: overlayfs' rules for opaque and
//! redirected directories (Documentation/filesystems/overlayfs.rst, "renaming directories").

use std::os::fd::BorrowedFd;

use pyro_format::{EntryName, TreePath};
use pyro_proto::Base;

use crate::error::{Doing, Result};
use crate::sys;
use crate::workspace::{Marking, TOP};

/// The marks overlayfs left on a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// None.
    Plain,
    /// Nothing below shows through.
    Opaque,
    /// Was renamed: its lower directory is elsewhere.
    Redirect(Vec<u8>),
}

/// Reads the marks of a directory in the upper layer.
pub fn mark(dir: BorrowedFd<'_>, marking: Marking) -> Result<Mark> {
    let (opaque, redirect) = match marking {
        Marking::Trusted => (c"trusted.overlay.opaque", c"trusted.overlay.redirect"),
        Marking::User => (c"user.overlay.opaque", c"user.overlay.redirect"),
    };
    let xattr = |name| sys::xattr(dir, name).doing(|| "read a mark of the upper layer".into());
    // Overlayfs looks for the redirect only where the directory is not opaque.
    if xattr(opaque)?.as_deref() == Some(b"y") {
        return Ok(Mark::Opaque);
    }
    Ok(xattr(redirect)?.map_or(Mark::Plain, Mark::Redirect))
}

/// What the directory `name` shows, given the lower directory (if any) that the directory around it
/// shows: what to report, and its own lower directory.
pub fn resolve(
    mark: Mark,
    around: Option<&TreePath>,
    name: &EntryName,
) -> (Base, Option<TreePath>) {
    let moved = |from: Option<TreePath>| match from {
        Some(from) => (Base::Moved { from: from.clone() }, Some(from)),
        None => (Base::Empty, None),
    };
    match mark {
        Mark::Opaque => (Base::Empty, None),
        Mark::Plain => match around {
            Some(around) => (Base::Same, Some(around.join(name))),
            None => (Base::Empty, None),
        },
        Mark::Redirect(target) => match target.strip_prefix(b"/") {
            Some(absolute) => moved(inside_top(absolute)),
            None => moved(around.and_then(|around| {
                EntryName::parse(&target).ok().map(|target| around.join(&target))
            })),
        },
    }
}

/// The path below the top directory; a redirect to anywhere else shows nothing of the workspace.
fn inside_top(absolute: &[u8]) -> Option<TreePath> {
    let path = absolute.strip_prefix(TOP)?.strip_prefix(b"/")?;
    TreePath::parse(path).ok().filter(|path| !path.is_root())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text.as_bytes()).unwrap()
    }

    fn resolved(mark: Mark, around: Option<&str>) -> Option<String> {
        let name = EntryName::parse(b"name").unwrap();
        let (base, lower) = resolve(mark, around.map(path).as_ref(), &name);
        match base {
            Base::Empty => assert_eq!(lower, None),
            Base::Same => assert_eq!(lower.as_ref(), around.map(|a| path(a).join(&name)).as_ref()),
            Base::Moved { from } => assert_eq!(lower.as_ref(), Some(&from)),
        }
        lower.map(|lower| lower.to_string())
    }

    fn redirect(to: &str) -> Mark {
        Mark::Redirect(to.as_bytes().to_vec())
    }

    #[test]
    fn a_bare_redirect_is_a_sibling_in_the_lower_layer() {
        // The directory around was moved itself: its lower directory counts, not its name.
        assert_eq!(resolved(redirect("old"), Some("was/here")).as_deref(), Some("was/here/old"));
        assert_eq!(resolved(redirect("old"), Some("")).as_deref(), Some("old"));
        assert_eq!(resolved(redirect("old"), None), None);
    }

    #[test]
    fn an_absolute_redirect_counts_from_the_overlay_root() {
        assert_eq!(resolved(redirect("/ws/a/b"), None).as_deref(), Some("a/b"));
        assert_eq!(resolved(redirect("/ws/a"), Some("x")).as_deref(), Some("a"));
        for outside in ["/stage/x", "/ws", "/ws/", "/wsx/a", "/", "/ws/../x"] {
            assert_eq!(resolved(redirect(outside), Some("x")), None, "{outside}");
        }
    }

    #[test]
    fn opaque_directories_and_those_inside_them_show_nothing() {
        assert_eq!(resolved(Mark::Opaque, Some("x")), None);
        assert_eq!(resolved(Mark::Plain, None), None);
        assert_eq!(resolved(Mark::Plain, Some("x")).as_deref(), Some("x/name"));
    }
}
