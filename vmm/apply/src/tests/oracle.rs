//! The three-way merge again, on trees in memory, written from its definition and not from the code;
//! texts are merged by `git merge-file`.

use std::collections::BTreeSet;
use std::process::Command;

use super::*;

/// What the host directory is to hold, and where there are conflicts.
pub struct Merged {
    pub tree: Tree,
    pub conflicts: BTreeSet<Vec<u8>>,
}

pub fn merge(base: &Tree, theirs: &Tree, ours: &Tree) -> Merged {
    let (mut tree, mut conflicts) = (ours.clone(), BTreeSet::new());
    let paths: BTreeSet<&Vec<u8>> = base.keys().chain(theirs.keys()).collect();
    for path in paths {
        let (b, t, o) = (base.get(path), theirs.get(path), ours.get(path));
        if b == t {
            continue;
        }
        let no_dir = |tree: &Tree, at: &Vec<u8>| !matches!(tree.get(at), None | Some(Item::Dir(_)));
        let in_the_way = above(path).any(|at| no_dir(ours, &at) && no_dir(&tree, &at));
        let (chosen, clean) = match (in_the_way, t) {
            (true, t) => (None, t.is_none()),
            (false, _) => choose(b, t, o),
        };
        if !clean {
            conflicts.insert(path.clone());
        }
        if !in_the_way {
            match chosen {
                Some(item) => tree.insert(path.clone(), item),
                None => tree.remove(path),
            };
        }
    }
    // A directory stays while it holds something.
    for (path, item) in ours.iter().rev() {
        let gone = !matches!(tree.get(path), Some(Item::Dir(_)));
        let holds = tree.keys().any(|other| above(other).any(|at| at == *path));
        if matches!(item, Item::Dir(_)) && gone && holds {
            tree.insert(path.clone(), item.clone());
            if theirs.contains_key(path) {
                conflicts.insert(path.clone());
            }
        }
    }
    // What is somewhere has directories above it.
    for path in tree.keys().cloned().collect::<Vec<_>>() {
        for at in above(&path) {
            if !tree.contains_key(&at) {
                tree.insert(at.clone(), theirs[&at].clone());
                conflicts.remove(&at);
            }
        }
    }
    Merged { tree, conflicts }
}

/// The directories above a path.
pub fn above(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/');
    ends.map(|(end, _)| path[..end].to_vec())
}

fn choose(b: Option<&Item>, t: Option<&Item>, o: Option<&Item>) -> (Option<Item>, bool) {
    if t == o || b == o {
        return (t.cloned(), true);
    }
    if let (Some(Item::File(bm, bc)), Some(Item::File(tm, tc)), Some(Item::File(om, oc))) =
        (b, t, o)
    {
        let one = |b: u32, t: u32, o: u32| match () {
            () if t == o || o == b => Some(t),
            () if t == b => Some(o),
            () => None,
        };
        let content = match () {
            () if tc == oc || oc == bc => Some(tc.clone()),
            () if tc == bc => Some(oc.clone()),
            () => merge_texts(bc, tc, oc),
        };
        let Some(content) = content else { return (o.cloned(), false) };
        let mode = one(*bm, *tm, *om);
        return (Some(Item::File(mode.unwrap_or(*om), content)), mode.is_some());
    }
    (o.cloned(), false)
}

fn merge_texts(base: &[u8], theirs: &[u8], ours: &[u8]) -> Option<Vec<u8>> {
    if [base, theirs, ours].into_iter().any(|bytes| bytes.contains(&0)) {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let paths = ["ours", "base", "theirs"].map(|name| dir.path().join(name));
    for (path, bytes) in paths.iter().zip([ours, base, theirs]) {
        fs::write(path, bytes).unwrap();
    }
    let output =
        Command::new("git").args(["merge-file", "-p", "-q"]).args(&paths).output().unwrap();
    output.status.success().then_some(output.stdout)
}
