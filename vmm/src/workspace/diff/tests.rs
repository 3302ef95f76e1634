//! Patches of random days of work, given to the programs that people apply them with.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use pyro_store::{IngestOptions, IngestSource, StoreOptions};

use super::*;

const GIT: &[&str] = &["git", "apply", "--whitespace=nowarn"];
const GNU: &[&str] = &["patch", "-p1", "--binary", "-s", "-i"];

/// A file or a link.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    File { content: Vec<u8>, executable: bool },
    Link(Vec<u8>),
}

type Files = BTreeMap<Vec<u8>, Item>;

fn at(dir: &Path, path: &[u8]) -> PathBuf {
    dir.join(OsStr::from_bytes(path))
}

fn write(files: &Files, dir: &Path) {
    for (path, item) in files {
        let path = at(dir, path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match item {
            Item::Link(target) => symlink(OsStr::from_bytes(target), path).unwrap(),
            Item::File { content, executable } => {
                fs::write(&path, content).unwrap();
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
}

fn read(dir: &Path) -> Files {
    let mut files = Files::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap();
            let item = if kind.is_dir() {
                dirs.push(path);
                continue;
            } else if kind.is_symlink() {
                Item::Link(fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            } else {
                let executable = kind.permissions().mode() & 0o100 != 0;
                Item::File { content: fs::read(&path).unwrap(), executable }
            };
            files.insert(path.strip_prefix(dir).unwrap().as_os_str().as_bytes().to_vec(), item);
        }
    }
    files
}

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

const NAMES: &[&[u8]] = &[
    b"plain.txt",
    b"with space.txt",
    b" lead",
    b"quote\"d",
    b"back\\slash",
    b"tab\there",
    b"new\nline",
    b"\xc3\xa9",
    b"latin\xe9",
    b"-dash",
    b"#hash",
    b"sub/a b/deep.c",
    b"sub/x/y/z",
    b"a/b/a",
    b"b/a/b",
    b".hidden",
    b"[glob]*",
    b"%41",
    b"$HOME",
    b"\x01control\x7f",
];
const LINES: &[&[u8]] = &[
    b"int main(void)",
    b"{",
    b"}",
    b"",
    b"\treturn 0;",
    b"caf\xe9",
    b"-- sql",
    b"+ plus",
    b"@@ -1,2 +3,4 @@",
    b"diff --git a/x b/x",
    b"\\ No newline at end of file",
    b"\xe2\x82\xac",
];

fn text(dice: &mut Dice) -> Vec<u8> {
    let end: &[u8] = if dice.below(4) == 0 { b"\r\n" } else { b"\n" };
    let mut text = Vec::new();
    for number in 0..=dice.below(40) {
        text.extend_from_slice(dice.pick::<&[u8]>(LINES));
        text.extend_from_slice(format!(" {number}").as_bytes());
        text.extend_from_slice(end);
    }
    if dice.below(4) == 0 {
        text.truncate(text.len() - end.len());
    }
    text
}

fn binary(dice: &mut Dice) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=dice.below(500)).map(|_| dice.below(256) as u8).collect();
    bytes.push(0);
    bytes
}

fn edited(dice: &mut Dice, content: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
    for _ in 0..=dice.below(3) {
        let at = dice.below(lines.len() + 1);
        if at < lines.len() && dice.below(2) == 0 {
            lines.remove(at);
        }
        lines.insert(at.min(lines.len()), b"edited\n");
    }
    let mut text = lines.concat();
    if dice.below(4) == 0 {
        text.pop();
    }
    text
}

/// What was there, and what is there after a day of at least `changes` changes.
fn day(dice: &mut Dice, changes: usize, binaries: bool) -> (Files, Files) {
    let file = |content, executable| Item::File { content, executable };
    let mut old = Files::new();
    for (number, name) in NAMES.iter().enumerate() {
        let content = if binaries && number % 3 == 0 { binary(dice) } else { text(dice) };
        old.insert(name.to_vec(), file(content, dice.below(4) == 0));
    }
    old.insert(b"link".to_vec(), Item::Link(b"plain.txt".to_vec()));
    let mut new = old.clone();
    for number in 0..changes {
        let path = dice.pick(&old.keys().cloned().collect::<Vec<_>>()).clone();
        let fresh = [&path[..], format!(".{number}").as_bytes()].concat();
        let Some(item) = new.get(&path).cloned() else { continue };
        match (dice.below(9), item) {
            (8, Item::File { .. }) => {
                new.insert(path, Item::Link(b"now a link".to_vec()));
            }
            (5.., Item::Link(_)) => {
                new.insert(path, file(text(dice), false));
            }
            (0, _) => drop(new.remove(&path)),
            (1, item) => {
                new.remove(&path);
                new.insert([b"moved/", &path[..]].concat(), item);
            }
            (2, _) => {
                let content = if binaries { binary(dice) } else { text(dice) };
                new.insert(fresh, file(content, dice.below(2) == 0));
            }
            (3, Item::File { content, executable }) => {
                new.insert(path, file(content, !executable));
            }
            (4, Item::File { content, executable }) => {
                new.insert(fresh, file(content.clone(), dice.below(2) == 0));
                new.insert(path, file(edited(dice, &content), executable));
            }
            (_, Item::File { content, .. }) if binaries && content.contains(&0) => {
                new.insert(path, file(binary(dice), false));
            }
            (_, Item::File { content, executable }) => {
                new.insert(path, file(edited(dice, &content), executable));
            }
            (_, Item::Link(_)) => {
                new.insert(path, Item::Link(b"../\xe9 elsewhere".to_vec()));
            }
        }
    }
    (old, new)
}

/// The patch from `old` to `new`, how many changes it carries, and how many there are.
fn patch_between(old: &Path, new: &Path, form: Form) -> (Vec<u8>, usize, usize) {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), StoreOptions::default()).unwrap();
    let tree = |dir: &Path| {
        let source = IngestSource::Directory(dir.to_owned());
        store.get_root(store.ingest(&source, &IngestOptions::default(), &()).unwrap().root).unwrap()
    };
    let deltas = deltas(&StoredNodes(&store), &tree(old), &tree(new)).unwrap();
    let moves = renames::find(&deltas);
    let plan = plan_patch(&deltas, &moves, &[]);
    let mut patch = Vec::new();
    let (mut carried, mut all) = (0, 0);
    for (delta, how) in deltas.iter().zip(&plan) {
        all += usize::from(!is_dir(&delta.old) && !is_dir(&delta.new));
        if let Some(part) = patch_of(&store, delta, how, &deltas, form).unwrap() {
            carried += 1;
            patch.extend_from_slice(&part.text);
        }
    }
    (patch, carried, all)
}

/// What a program makes of `old` with the patch.
fn applied(old: &Files, patch: &[u8], program: &[&str]) -> Files {
    let home = tempfile::tempdir().unwrap();
    let (dir, file) = (home.path().join("tree"), home.path().join("the.patch"));
    fs::create_dir(&dir).unwrap();
    write(old, &dir);
    fs::write(&file, patch).unwrap();
    let output = Command::new(program[0])
        .args(&program[1..])
        .arg(&file)
        .current_dir(&dir)
        .env("GIT_CEILING_DIRECTORIES", home.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(patch));
    read(&dir)
}

/// Days of work until their patches have carried 200 changes, all of these words among them.
fn two_hundred_changes(binaries: bool, contexts: &[u32], programs: &[&[&str]], words: &[&str]) {
    let mut changes = 0;
    let mut kinds = 0;
    let mut unseen = words.to_vec();
    for seed in 0.. {
        let mut dice = Dice(seed);
        let (old, new) = day(&mut dice, 12, binaries);
        let dir = tempfile::tempdir().unwrap();
        let (before, after) = (dir.path().join("old"), dir.path().join("new"));
        write(&old, &before);
        write(&new, &after);
        let form = Form { context: *dice.pick(contexts), binary: binaries };
        let (patch, carried, all) = patch_between(&before, &after, form);
        assert_eq!(carried, all, "every change can be carried");
        for program in programs {
            assert_eq!(applied(&old, &patch, program), new, "day {seed}, {}", program[0]);
        }
        changes += carried;
        let is_link = |item: &Item| matches!(item, Item::Link(_));
        let changed_kind = |(path, was): &(&Vec<u8>, &Item)| {
            new.get(*path).is_some_and(|is| is_link(was) != is_link(is))
        };
        kinds += old.iter().filter(changed_kind).count();
        let said = String::from_utf8_lossy(&patch).into_owned();
        unseen.retain(|word| !said.contains(word));
        if changes >= 200 {
            break;
        }
    }
    assert!(unseen.is_empty() && kinds > 0, "{unseen:?} {kinds}");
}

const WORDS: &[&str] = &[
    "rename from",
    "copy from",
    "old mode 100755",
    "new file mode",
    "deleted file mode",
    "120000",
    "\\ No newline at end of file\n",
    "\r\n",
];

#[test]
fn git_and_patch_make_two_hundred_text_changes_again() {
    two_hundred_changes(false, &[1, 3, 8, u32::MAX], &[GIT, GNU], WORDS);
}

#[test]
fn git_makes_two_hundred_changes_again_binary_ones_among_them() {
    let words = [WORDS, &["GIT binary patch", "index 0000000"]].concat();
    two_hundred_changes(true, &[3], &[GIT], &words);
}
