//! The tree built from a change report is the tree that a full scan sees.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use pyro_proto::{Base, Change};

use crate::host::{Item, parse};
use crate::model::Shape;
use crate::sys::Mapping;
use crate::world::{World, with_world};

/// One random operation; the numbers pick paths and sizes.
#[derive(Debug, Clone)]
enum Op {
    Write(usize, usize),
    Append(usize),
    Truncate(usize, usize),
    Rename(usize, usize),
    Delete(usize),
    Mkdir(usize),
    Chmod(usize, u32),
    Link(usize, usize),
    Symlink(usize, usize),
    FileOverDir(usize),
    DirOverFile(usize),
    Fifo(usize),
    Map(usize),
    Poke(u8),
    Touch(usize),
    /// Lets times settle, so that hashes are remembered, and reports.
    Settle,
    Report,
}

fn op() -> impl Strategy<Value = Op> {
    let n = any::<prop::sample::Index>().prop_map(|i| i.index(1 << 16));
    prop_oneof![
        3 => (n.clone(), 0usize..70_000).prop_map(|(a, len)| Op::Write(a, len)),
        1 => n.clone().prop_map(Op::Append),
        1 => (n.clone(), 0usize..5000).prop_map(|(a, len)| Op::Truncate(a, len)),
        6 => (n.clone(), n.clone()).prop_map(|(a, b)| Op::Rename(a, b)),
        3 => n.clone().prop_map(Op::Delete),
        3 => n.clone().prop_map(Op::Mkdir),
        1 => (n.clone(), 0u32..0o1000).prop_map(|(a, mode)| Op::Chmod(a, mode)),
        1 => (n.clone(), n.clone()).prop_map(|(a, b)| Op::Link(a, b)),
        1 => (n.clone(), n.clone()).prop_map(|(a, b)| Op::Symlink(a, b)),
        1 => n.clone().prop_map(Op::FileOverDir),
        1 => n.clone().prop_map(Op::DirOverFile),
        1 => n.clone().prop_map(Op::Fifo),
        1 => n.clone().prop_map(Op::Map),
        2 => any::<u8>().prop_map(Op::Poke),
        1 => n.prop_map(Op::Touch),
        1 => Just(Op::Settle),
        1 => Just(Op::Report),
    ]
}

fn baseline() -> Item {
    let big = vec![b'b'; 300_000];
    let inner =
        || Item::dir([("x", Item::file(b"x")), ("y", Item::dir([("z", Item::file(b"z"))]))]);
    Item::dir([
        ("a", inner()),
        ("b", Item::dir([("c", inner()), ("f", Item::file(&big))])),
        ("empty", Item::dir([])),
        ("f", Item::file(b"content")),
        ("g", Item::file(b"")),
        ("l", Item::link("a/x")),
    ])
}

/// Every path below `top`, directories first, without following links.
fn paths(top: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut dirs, mut others) = (vec![top.to_owned()], Vec::new());
    let mut at = 0;
    while at < dirs.len() {
        let mut found: Vec<_> =
            fs::read_dir(&dirs[at]).unwrap().map(|entry| entry.unwrap()).collect();
        found.sort_by_key(|entry| entry.file_name());
        for entry in found {
            let dir = entry.file_type().unwrap().is_dir();
            if dir { &mut dirs } else { &mut others }.push(entry.path());
        }
        at += 1;
    }
    (dirs, others)
}

struct Player<'a> {
    world: &'a World,
    mappings: Vec<(Mapping, File)>,
}

impl Player<'_> {
    fn dir(&self, n: usize) -> PathBuf {
        let (dirs, _) = paths(&self.world.top);
        dirs[n % dirs.len()].clone()
    }

    fn file(&self, n: usize) -> Option<PathBuf> {
        let (_, files) = paths(&self.world.top);
        if files.is_empty() { None } else { Some(files[n % files.len()].clone()) }
    }

    fn any(&self, n: usize) -> Option<PathBuf> {
        let (dirs, files) = paths(&self.world.top);
        let all: Vec<_> = dirs.into_iter().skip(1).chain(files).collect();
        if all.is_empty() { None } else { Some(all[n % all.len()].clone()) }
    }

    /// A name, used or not, in some directory.
    fn place(&self, n: usize) -> PathBuf {
        let names = ["a", "b", "c", "f", "g", "x", "y", "new", "n\u{e9}w"];
        self.dir(n / names.len()).join(names[n % names.len()])
    }

    /// Does what is possible; refusals of the kernel are part of the game.
    fn play(&mut self, op: &Op) {
        match op {
            Op::Write(n, len) => {
                let path = self.place(*n);
                // Opening a pipe would wait for a reader.
                if !fs::metadata(&path).is_ok_and(|meta| meta.file_type().is_fifo()) {
                    let _ = fs::write(path, vec![(*n % 251) as u8; *len]);
                }
            }
            Op::Append(n) => self.with_file(*n, |path| {
                let file = fs::OpenOptions::new().append(true).open(path);
                let _ = file.and_then(|mut file| std::io::Write::write_all(&mut file, b"more"));
            }),
            Op::Truncate(n, len) => self.with_file(*n, |path| {
                let file = fs::OpenOptions::new().write(true).open(path);
                let _ = file.and_then(|file| file.set_len(*len as u64));
            }),
            Op::Rename(a, b) => {
                if let Some(from) = self.any(*a) {
                    let _ = fs::rename(from, self.place(*b));
                }
            }
            Op::Delete(n) => {
                if let Some(path) = self.any(*n) {
                    let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
                }
            }
            Op::Mkdir(n) => {
                let _ = fs::create_dir(self.place(*n));
            }
            Op::Chmod(n, mode) => {
                if let Some(path) = self.any(*n).filter(|path| !path.is_symlink()) {
                    let _ = fs::set_permissions(path, fs::Permissions::from_mode(*mode));
                }
            }
            Op::Link(a, b) => self.with_file(*a, |path| {
                let _ = fs::hard_link(path, self.place(*b));
            }),
            Op::Symlink(a, b) => {
                let _ = symlink(format!("to-{a}"), self.place(*b));
            }
            Op::FileOverDir(n) => {
                let dir = self.dir(*n);
                if dir != self.world.top && fs::remove_dir_all(&dir).is_ok() {
                    fs::write(&dir, "was a directory").unwrap();
                }
            }
            Op::DirOverFile(n) => self.with_file(*n, |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
                fs::write(path.join("x"), "was a file").unwrap();
            }),
            Op::Fifo(n) => {
                let _ = nix::unistd::mkfifo(&self.place(*n), nix::sys::stat::Mode::S_IRWXU);
            }
            Op::Map(n) => self.map(*n),
            Op::Poke(byte) => {
                for (mapping, file) in &self.mappings {
                    // The page of an empty file must not be touched.
                    if file.metadata().unwrap().len() > 0 {
                        mapping.poke(*byte);
                    }
                }
            }
            Op::Touch(n) => self.with_file(*n, |path| {
                let file = fs::OpenOptions::new().append(true).open(path);
                let _ = file.and_then(|file| file.set_modified(std::time::UNIX_EPOCH));
            }),
            Op::Settle => {
                std::thread::sleep(Duration::from_millis(130));
                drop(self.world.tree());
            }
            Op::Report => drop(self.world.tree()),
        }
    }

    fn with_file(&self, n: usize, act: impl FnOnce(&Path)) {
        let regular = |path: &PathBuf| fs::symlink_metadata(path).unwrap().is_file();
        if let Some(path) = self.file(n).filter(regular) {
            act(&path);
        }
    }

    fn map(&mut self, n: usize) {
        let mut file = None;
        self.with_file(n, |path| {
            file = fs::OpenOptions::new().read(true).write(true).open(path).ok();
        });
        if let Some(file) = file
            && let Some(mapping) = Mapping::new(&file)
        {
            self.mappings.push((mapping, file));
        }
    }
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24)
}

#[test]
fn the_report_gives_the_tree_that_a_full_scan_sees() {
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let ops = prop::collection::vec(op(), 1..80);
    TestRunner::new(config)
        .run(&ops, |ops| {
            with_world(baseline(), move |world| {
                let mut player = Player { world: &world, mappings: Vec::new() };
                for op in &ops {
                    player.play(op);
                }
                drop(world.tree());
            });
            Ok(())
        })
        .unwrap();
}

#[test]
fn an_untouched_workspace_reports_its_top_alone() {
    with_world(baseline(), |world| {
        assert_eq!(world.tree(), world.lower);
        let (changes, end) = world.report(false);
        assert_eq!((changes.len(), end.hashed_bytes), (2, 0));
        assert!(world.host.ranges.lock().unwrap().len() > 1, "the full scan read the files");
    });
}

#[test]
fn reading_one_file_fetches_that_file_alone_and_once() {
    with_world(baseline(), |world| {
        for _ in 0..2 {
            assert_eq!(fs::read(world.top.join("f")).unwrap(), b"content");
        }
        let ranges = world.host.ranges.lock().unwrap();
        assert_eq!(ranges.len(), 1, "{ranges:?}");
        assert_eq!(ranges[0].0.as_bytes(), b"f");
    });
}

#[test]
fn a_renamed_baseline_directory_is_a_graft() {
    with_world(baseline(), |world| {
        fs::rename(world.top.join("b/c"), world.top.join("moved")).unwrap();
        fs::rename(world.top.join("b"), world.top.join("renamed")).unwrap();
        fs::write(world.top.join("moved/y/z"), "changed").unwrap();
        world.tree();
        let (changes, _) = world.report(false);
        let grafts: Vec<_> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Enter { base: Base::Moved { from }, .. } => Some(from.to_string()),
                _ => None,
            })
            .collect();
        assert_eq!(grafts, ["b/c", "b"]);
        assert!(changes.len() < 15, "{changes:?}");
    });
}

#[test]
fn trees_deeper_than_a_path_can_say_are_reported() {
    with_world(baseline(), |world| {
        let name = "d".repeat(250);
        let mut at = File::open(&world.top).unwrap();
        for _ in 0..60 {
            nix::sys::stat::mkdirat(&at, &name[..], nix::sys::stat::Mode::S_IRWXU).unwrap();
            at = pyro_agent::beneath::open_dir(&at, name.as_bytes()).unwrap().into();
        }
        let Shape::Dir { entries, .. } = world.tree() else { panic!() };
        assert!(entries.contains_key(&parse(&name)));
    });
}

#[test]
fn one_device_number_for_all_entries() {
    use std::os::unix::fs::MetadataExt;
    with_world(baseline(), |world| {
        fs::write(world.top.join("new"), "x").unwrap();
        let (dirs, files) = paths(&world.top);
        let devices: BTreeMap<_, _> = dirs
            .iter()
            .chain(&files)
            .map(|path| (fs::symlink_metadata(path).unwrap().dev(), path))
            .collect();
        assert_eq!(devices.len(), 1, "{devices:?}");
    });
}

#[test]
fn content_written_through_a_mapping_after_a_report_is_seen_by_the_next() {
    with_world(baseline(), |world| {
        let file = fs::OpenOptions::new().read(true).write(true).open(world.top.join("f")).unwrap();
        let mapping = Mapping::new(&file).unwrap();
        for byte in b'0'..b'5' {
            mapping.poke(byte);
            std::thread::sleep(Duration::from_millis(130));
            world.tree();
            let again = world.report(false).1;
            assert_eq!((again.hashed_bytes, again.cached_files), (0, 1), "the cache was idle");
        }
    });
}

#[test]
fn changed_files_are_not_taken_for_others_after_a_reboot() {
    with_world(baseline(), |world| {
        // Inode numbers follow the order in which directories are first seen.
        fs::write(world.top.join("a/x"), "changed").unwrap();
        fs::write(world.top.join("b/c/x"), "changed too").unwrap();
        let before = world.tree();
        let world = world.reboot(&baseline());
        for first in ["b/c/y", "b/c", "b", "empty", "a/y"] {
            let found = fs::read_dir(world.top.join(first)).unwrap();
            for entry in found {
                entry.unwrap().metadata().unwrap();
            }
        }
        assert_eq!(world.tree(), before);
        assert_eq!(fs::read(world.top.join("a/x")).unwrap(), b"changed");
    });
}
