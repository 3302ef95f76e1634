//! Moves: deleted paths that turn up again, with the same content, as added ones.

use std::collections::{BTreeMap, HashMap, HashSet};

use pyro_format::{Delta, FileId, Node, TreeId, TreePath};

use super::copies;

/// A directory that was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedDir {
    /// Where it was.
    pub from: TreePath,
    /// Where it is.
    pub to: TreePath,
    /// Files that moved along unchanged.
    pub files: u64,
}

/// All moves between two trees.
#[derive(Debug, Default)]
pub struct Moves {
    /// For each added path the deleted path that it was moved from; each of them once.
    pub from: BTreeMap<TreePath, TreePath>,
    /// Moved directories, outermost only.
    pub dirs: Vec<MovedDir>,
    /// For each copied file the path that had its content before.
    pub copies: BTreeMap<TreePath, TreePath>,
}

type Side<'d> = BTreeMap<&'d TreePath, &'d Node>;

/// Finds the moves among `deltas`.
///
/// Directories that are equal on both sides come first, outermost first, with all that is in them;
/// then files of equal content, one of the same name before others; then directories of which at
/// least half of the files were moved from the same place in one deleted directory. Empty files
/// and empty directories alone prove no move.
pub fn find(deltas: &[Delta]) -> Moves {
    let mut deleted = Side::new();
    let mut added = Side::new();
    for delta in deltas {
        match (&delta.old, &delta.new) {
            (Some(old), None) => deleted.insert(&delta.path, old),
            (None, Some(new)) => added.insert(&delta.path, new),
            _ => None,
        };
    }
    let mut moves = Moves::default();
    let mut used = HashSet::new();
    equal_dirs(&deleted, &added, &mut moves, &mut used);
    equal_files(&deleted, &added, &mut moves, &mut used);
    mostly_equal_dirs(&deleted, &added, &mut moves);
    moves.dirs.sort_by(|a, b| a.to.cmp(&b.to));
    moves.copies = copies::find(deltas, &moves.from);
    moves
}

fn equal_dirs<'d>(
    deleted: &Side<'d>,
    added: &Side<'d>,
    moves: &mut Moves,
    used: &mut HashSet<&'d TreePath>,
) {
    let empty = pyro_format::Tree::default().id();
    let mut sources: HashMap<TreeId, Vec<&'d TreePath>> = HashMap::new();
    // Reversed, so that `pop` takes the first path.
    for (path, node) in deleted.iter().rev() {
        if let Node::Dir { tree, .. } = node
            && *tree != empty
        {
            sources.entry(*tree).or_default().push(path);
        }
    }
    // A path sorts behind the directories that hold it: outer directories come first.
    for (to, node) in added {
        let Node::Dir { tree, .. } = node else { continue };
        if moves.from.contains_key(*to) {
            continue;
        }
        let candidates = sources.get_mut(tree);
        let Some(from) = candidates.and_then(|paths| {
            while let Some(path) = paths.pop() {
                if !used.contains(path) {
                    return Some(path);
                }
            }
            None
        }) else {
            continue;
        };
        let mut files = 0;
        for (below, node) in subtree(added, to) {
            let source = rebase(below, to, from);
            if let Some((source, _)) = deleted.get_key_value(&source) {
                files += u64::from(!matches!(node, Node::Dir { .. }));
                used.insert(source);
                moves.from.insert((*below).clone(), (*source).clone());
            }
        }
        moves.dirs.push(MovedDir { from: from.clone(), to: (*to).clone(), files });
    }
}

fn equal_files<'d>(
    deleted: &Side<'d>,
    added: &Side<'d>,
    moves: &mut Moves,
    used: &mut HashSet<&'d TreePath>,
) {
    let mut sources: HashMap<FileId, Vec<&'d TreePath>> = HashMap::new();
    for (path, node) in deleted {
        if let Node::File { size: 1.., content, .. } = node
            && !used.contains(path)
        {
            sources.entry(*content).or_default().push(path);
        }
    }
    // Same names first: of several equal files each finds its own.
    for same_name in [true, false] {
        for (to, node) in added {
            let Node::File { size: 1.., content, .. } = node else { continue };
            if moves.from.contains_key(*to) {
                continue;
            }
            let Some(paths) = sources.get_mut(content) else { continue };
            let name = |path: &TreePath| path.split_last().map(|(_, name)| name);
            let at = if same_name {
                let wanted = name(to);
                paths.iter().position(|path| name(path) == wanted)
            } else {
                (!paths.is_empty()).then_some(0)
            };
            if let Some(at) = at {
                let from = paths.remove(at);
                used.insert(from);
                moves.from.insert((*to).clone(), from.clone());
            }
        }
    }
}

fn mostly_equal_dirs(deleted: &Side<'_>, added: &Side<'_>, moves: &mut Moves) {
    for (to, node) in added {
        let settled = moves.dirs.iter().any(|dir| to.starts_with(&dir.to));
        if !matches!(node, Node::Dir { .. }) || settled {
            continue;
        }
        let mut all = 0u64;
        let mut votes: BTreeMap<TreePath, u64> = BTreeMap::new();
        for (below, _) in subtree(added, to).filter(|(_, n)| !matches!(n, Node::Dir { .. })) {
            all += 1;
            let Some(source) = moves.from.get(*below) else { continue };
            let rest = &below.as_bytes()[to.as_bytes().len()..];
            let dir = source.as_bytes().strip_suffix(rest).map(TreePath::parse);
            if let Some(Ok(dir)) = dir
                && matches!(deleted.get(&dir), Some(Node::Dir { .. }))
            {
                *votes.entry(dir).or_default() += 1;
            }
        }
        let winner = votes.into_iter().max_by_key(|(_, votes)| *votes);
        if let Some((from, files)) = winner.filter(|(_, votes)| votes * 2 >= all) {
            moves.dirs.push(MovedDir { from, to: (*to).clone(), files });
        }
    }
}

/// `top` and everything below it.
fn subtree<'s, 'd>(
    side: &'s Side<'d>,
    top: &'s TreePath,
) -> impl Iterator<Item = (&'s &'d TreePath, &'s &'d Node)> {
    // Names that continue `top` (`a-b` beside `a`) sort between it and what is below it.
    let continues = |path: &TreePath| path.as_bytes().starts_with(top.as_bytes());
    side.range::<TreePath, _>(top..)
        .take_while(move |(path, _)| continues(path))
        .filter(move |(path, _)| path.starts_with(top))
}

fn rebase(path: &TreePath, from: &TreePath, to: &TreePath) -> TreePath {
    let rest = &path.as_bytes()[from.as_bytes().len()..];
    let bytes = [to.as_bytes(), rest].concat();
    TreePath::parse(&bytes)
        .expect("both parts are paths, and the depth is that of a path in a tree")
}

#[cfg(test)]
mod tests {
    use pyro_format::Mode;

    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text.as_bytes()).unwrap()
    }

    fn file(content: &str) -> Node {
        let bytes = content.as_bytes();
        let (size, content) = (bytes.len() as u64, FileId::of(bytes));
        Node::File { mode: Mode::new(0o644), size, content }
    }

    fn dir(id: &str) -> Node {
        Node::Dir { mode: Mode::new(0o755), tree: TreeId::of(id.as_bytes()) }
    }

    fn gone(at: &str, node: Node) -> Delta {
        Delta { path: path(at), old: Some(node), new: None }
    }

    fn new(at: &str, node: Node) -> Delta {
        Delta { path: path(at), old: None, new: Some(node) }
    }

    #[test]
    fn a_moved_directory_is_one_move_and_brings_empty_files_along() {
        let moves = find(&[
            gone("a", dir("1")),
            gone("a/e", file("")),
            gone("a/x", file("x")),
            new("b", dir("1")),
            new("b-c", file("other")),
            new("b/e", file("")),
            new("b/x", file("x")),
        ]);
        assert_eq!(moves.dirs, [MovedDir { from: path("a"), to: path("b"), files: 2 }]);
        assert_eq!(moves.from[&path("b/e")], path("a/e"));
        assert!(!moves.from.contains_key(&path("b-c")));
    }

    #[test]
    fn a_moved_directory_with_an_edit_inside_is_still_a_move() {
        let moves = find(&[
            gone("a", dir("1")),
            gone("a/x", file("x")),
            gone("a/y", file("y")),
            new("b", dir("2")),
            new("b/x", file("x")),
            new("b/y", file("edited")),
        ]);
        assert_eq!(moves.dirs, [MovedDir { from: path("a"), to: path("b"), files: 1 }]);
        assert!(!moves.from.contains_key(&path("b/y")));
    }

    #[test]
    fn equal_files_find_the_source_of_their_name() {
        let moves = find(&[
            gone("d/one", file("same")),
            gone("d/two", file("same")),
            new("n/two", file("same")),
            new("n/three", file("same")),
        ]);
        assert_eq!(moves.from[&path("n/two")], path("d/two"));
        assert_eq!(moves.from[&path("n/three")], path("d/one"));
    }

    #[test]
    fn empty_files_alone_prove_nothing() {
        assert!(find(&[gone("a", file("")), new("b", file(""))]).from.is_empty());
    }
}
