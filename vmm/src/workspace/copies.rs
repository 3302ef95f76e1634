//! Copies: added files that hold what a file of the older tree held.
//!
//! Only files that differ themselves are looked at as sources, as git does when it is not told to find
//! copies harder: the cost follows the changes, whatever the size of the older tree.

use std::collections::{BTreeMap, HashMap};

use pyro_format::{Delta, FileId, Node, TreePath};

/// For each added file of known content, that was not `moved`, where the older tree had it. One of
/// the same name goes before others. Empty files prove nothing.
pub fn find(
    deltas: &[Delta],
    moved: &BTreeMap<TreePath, TreePath>,
) -> BTreeMap<TreePath, TreePath> {
    let mut sources: HashMap<FileId, Vec<&TreePath>> = HashMap::new();
    for delta in deltas {
        if let Some(Node::File { size: 1.., content, .. }) = &delta.old {
            sources.entry(*content).or_default().push(&delta.path);
        }
    }
    let name = |path: &TreePath| path.split_last().map(|(_, name)| name);
    let source = |delta: &Delta| {
        let (None, Some(Node::File { content, .. })) = (&delta.old, &delta.new) else {
            return None;
        };
        let all = sources.get(content).filter(|_| !moved.contains_key(&delta.path))?;
        let same_name = all.iter().find(|path| name(path) == name(&delta.path));
        same_name.or(all.first()).map(|from| (*from).clone())
    };
    deltas.iter().filter_map(|delta| Some((delta.path.clone(), source(delta)?))).collect()
}

#[cfg(test)]
mod tests {
    use pyro_format::Mode;

    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text.as_bytes()).unwrap()
    }

    fn delta(at: &str, old: Option<&str>, new: Option<&str>) -> Delta {
        let file = |content: &str| Node::File {
            mode: Mode::new(0o644),
            size: content.len() as u64,
            content: FileId::of(content.as_bytes()),
        };
        Delta { path: path(at), old: old.map(file), new: new.map(file) }
    }

    #[test]
    fn a_copy_is_of_what_a_changed_file_held_and_prefers_its_name() {
        let deltas = [
            delta("a/x", Some("same"), Some("other")),
            delta("b/y", Some("same"), None),
            delta("c/y", None, Some("same")),
            delta("c/z", None, Some("same")),
            delta("d", None, Some("other")),
            delta("e", None, Some("")),
        ];
        let copies = find(&deltas, &BTreeMap::new());
        let expected = [(path("c/y"), path("b/y")), (path("c/z"), path("a/x"))];
        assert_eq!(copies, BTreeMap::from(expected));
    }

    #[test]
    fn what_was_moved_is_no_copy() {
        let deltas = [delta("a", Some("same"), None), delta("b", None, Some("same"))];
        let moved = BTreeMap::from([(path("b"), path("a"))]);
        assert!(find(&deltas, &moved).is_empty());
    }
}
