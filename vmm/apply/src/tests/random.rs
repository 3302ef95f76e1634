//! Random trees with random work on both sides.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use proptest::prelude::*;

use super::oracle::{self, above};
use super::*;

/// Numbers that look random and follow from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// A text of lines that no other text has; some with CRLF, some without an end.
    fn text(&mut self) -> Vec<u8> {
        let (lines, end) = (1 + self.below(12), self.pick(&["\n", "\n", "\r\n"]));
        let text: String =
            (0..lines).map(|_| format!("line {}{end}", self.below(1 << 30))).collect();
        let len = if self.below(5) == 0 { text.trim_end().len() } else { text.len() };
        text.as_bytes()[..len].to_vec()
    }

    fn item(&mut self) -> Item {
        match self.below(8) {
            0 => Item::Link(self.pick(&["a", "../x", "/etc/passwd", "b"]).into()),
            1 => Item::File(0o600, vec![0, self.below(256) as u8, 2]),
            2 => Item::Dir(self.pick(&[0o755, 0o700, 0o555])),
            _ => {
                let mode = self.pick(&[0o644, 0o755]);
                Item::File(mode, self.text())
            }
        }
    }

    fn edit(&mut self, item: &Item) -> Item {
        match item {
            Item::Dir(_) => Item::Dir(self.pick(&[0o755, 0o711, 0o500])),
            Item::File(mode, content) if self.below(4) == 0 => {
                Item::File(self.pick(&[0o644, 0o755, 0o640, *mode]), content.clone())
            }
            Item::File(mode, content) if !content.contains(&0) => {
                let mut lines: Vec<&[u8]> = content.split_inclusive(|b| *b == b'\n').collect();
                let (line, at) = (self.text(), self.below(lines.len().max(1)));
                match self.below(3) {
                    0 if at < lines.len() => drop(lines.remove(at)),
                    1 if at < lines.len() => lines[at] = &line,
                    _ => lines.insert(at.min(lines.len()), &line),
                }
                Item::File(*mode, lines.concat())
            }
            _ => self.item(),
        }
    }

    fn path(&mut self) -> Vec<u8> {
        let names = ["a", "b", "c", "d\u{e9}", "e e"];
        let depth = 1 + self.below(3);
        let path: Vec<&str> = (0..depth).map(|_| self.pick(&names)).collect();
        path.join("/").into_bytes()
    }

    fn work(&mut self, tree: &mut Tree, edits: usize) {
        for _ in 0..edits {
            let known: Vec<Vec<u8>> = tree.keys().cloned().collect();
            let path = match known.len() {
                0 => self.path(),
                n if self.below(3) > 0 => known[self.below(n)].clone(),
                _ => self.path(),
            };
            match (tree.get(&path).cloned(), self.below(5)) {
                (Some(_), 0) => remove(tree, &path),
                (Some(Item::Dir(_)), 1) | (None, _) => {
                    let item = self.item();
                    put(tree, &path, item);
                }
                (Some(item), _) => {
                    let item = self.edit(&item);
                    put(tree, &path, item);
                }
            }
        }
    }
}

fn remove(tree: &mut Tree, path: &[u8]) {
    tree.retain(|other, _| other != path && above(other).all(|at| at != path));
}

/// Puts something at a path; what is in the way goes.
fn put(tree: &mut Tree, path: &[u8], item: Item) {
    for at in above(path) {
        if !matches!(tree.get(&at), Some(Item::Dir(_))) {
            tree.insert(at, Item::Dir(0o755));
        }
    }
    if !matches!((&item, tree.get(path)), (Item::Dir(_), Some(Item::Dir(_)))) {
        remove(tree, path);
    }
    tree.insert(path.to_vec(), item);
}

/// A base and what became of it on both sides.
fn three(seed: u64, edits: usize) -> (Tree, Tree, Tree) {
    let mut dice = Dice(seed);
    let mut base = Tree::new();
    dice.work(&mut base, 12);
    let (mut theirs, mut ours) = (base.clone(), base.clone());
    dice.work(&mut theirs, edits);
    dice.work(&mut ours, edits);
    (base, theirs, ours)
}

fn conflicts(plan: &Plan) -> Vec<Vec<u8>> {
    let conflicts = plan.entries.iter().filter(|entry| entry.action == Action::Conflict);
    conflicts.map(|entry| entry.path.as_bytes().to_vec()).collect()
}

fn is_beside(path: &[u8]) -> bool {
    String::from_utf8_lossy(path).contains(".pyro-theirs")
}

/// Does `work`, which is killed before its `at`-th change; whether it came that far.
fn killed(at: usize, work: impl FnOnce(Box<dyn Fn()>)) -> bool {
    let left = Rc::new(Cell::new(at));
    let before = Box::new(move || match left.get() {
        0 => std::panic::resume_unwind(Box::new("killed")),
        n => left.set(n - 1),
    });
    match catch_unwind(AssertUnwindSafe(|| work(before))) {
        Ok(()) => false,
        Err(panic) if panic.is::<&str>() => true,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn session_with<R>(world: &World, before: Box<dyn Fn()>, work: impl FnOnce(Session<'_>) -> R) -> R {
    let journals = world.journals();
    let mut host = Host::open(&world.host()).unwrap();
    host.before = before;
    work(journals.open(host).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 0, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn what_is_applied_is_the_three_way_merge_and_can_be_taken_back(seed: u64) {
        let (base, theirs, ours) = three(seed, 6);
        let expected = oracle::merge(&base, &theirs, &ours);
        let world = World::new(&base, &theirs, &ours);
        let plan = world.apply();
        prop_assert_eq!(conflicts(&plan), Vec::from_iter(expected.conflicts));
        prop_assert_eq!(&read(&world.host()), &expected.tree);
        if !plan.is_empty() {
            prop_assert_eq!(world.undo().left, []);
        }
        prop_assert_eq!(&read(&world.host()), &ours);
    }

    #[test]
    fn every_byte_of_both_sides_of_a_conflict_is_found(seed: u64) {
        let (base, theirs, ours) = three(seed, 10);
        let expected = oracle::merge(&base, &theirs, &ours);
        let world = World::new(&base, &theirs, &ours);
        let plan = world.apply_with(Options { beside: true }, || {}).unwrap();
        let found = read(&world.host());
        for (path, item) in &expected.tree {
            prop_assert_eq!(found.get(path), Some(item));
        }
        for (path, item) in &found {
            let needed = || found.keys().any(|other| is_beside(other) && above(other).any(|at| at == *path));
            let extra = is_beside(path) || matches!(item, Item::Dir(_)) && needed();
            prop_assert!(expected.tree.contains_key(path) || extra, "{:?}", path);
        }
        for path in conflicts(&plan) {
            let Some(Item::File(_, content)) = theirs.get(&path) else { continue };
            let entry = plan.entries.iter().find(|entry| entry.path.as_bytes() == path).unwrap();
            let here = entry.beside.as_ref().map_or(&path[..], |beside| beside.as_bytes());
            let Some(Item::File(_, here)) = found.get(here) else { panic!("{path:?} is lost") };
            // A conflict of modes alone has its content merged.
            let merged = entry.beside.is_none() && matches!(ours.get(&path), Some(Item::File(..)));
            prop_assert!(here == content || merged, "{:?}", path);
        }
        world.apply_with(Options { beside: true }, || {}).unwrap();
        prop_assert_eq!(read(&world.host()).len() >= found.len(), true);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 0, ..ProptestConfig::with_cases(16) })]

    #[test]
    fn killed_at_any_change_and_started_again_it_ends_the_same(seed: u64) {
        let (base, theirs, ours) = three(seed, 6);
        let expected = oracle::merge(&base, &theirs, &ours);
        let world = World::new(&base, &theirs, &ours);
        let mut at = 0;
        while killed(at, |before| session_with(&world, before, |session| {
            let plan = session.plan(&world.store, &world.changes, &world.theirs, Options::default());
            session.apply(&world.store, &plan.unwrap(), world.about(), &()).unwrap();
        })) {
            // The one that takes it back is killed, too.
            killed(at % 5, |before| session_with(&world, before, |_| {}));
            let last = session_with(&world, Box::new(|| {}), |session| session.last().ok());
            prop_assert_eq!(&read(&world.host()), &ours, "killed at {}", at);
            prop_assert_eq!(last, None, "nothing is left to take back");
            at += 1;
        }
        prop_assert_eq!(&read(&world.host()), &expected.tree);
        let mut at = 0;
        while killed(at, |before| session_with(&world, before, |session| {
            let _ = session.undo();
        })) {
            session_with(&world, Box::new(|| {}), |_| {});
            // Before its first change it was not begun.
            let begun = if at == 0 { &expected.tree } else { &ours };
            prop_assert_eq!(&read(&world.host()), begun, "killed at {}", at);
            world.apply();
            prop_assert_eq!(&read(&world.host()), &expected.tree);
            at += 1;
        }
    }
}
