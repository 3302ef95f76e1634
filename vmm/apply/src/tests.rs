//! Trees on disk, in the store and in memory, and what all tests do with them.

mod cases;
mod oracle;
mod random;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use pyro_format::{Delta, RootNode, TreePath, diff};
use pyro_store::{IngestOptions, IngestSource, Store, StoreOptions};
use tempfile::TempDir;

use crate::*;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    File(u32, Vec<u8>),
    Link(Vec<u8>),
    Dir(u32),
}

/// A tree, directories included, without its top.
type Tree = BTreeMap<Vec<u8>, Item>;

fn file(text: &str) -> Item {
    Item::File(0o644, text.into())
}

fn tree<const N: usize>(items: [(&str, Item); N]) -> Tree {
    items.into_iter().map(|(path, item)| (path.into(), item)).collect()
}

fn at(dir: &Path, path: &[u8]) -> PathBuf {
    dir.join(OsStr::from_bytes(path))
}

fn write(tree: &Tree, dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let chmod = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for (path, item) in tree {
        let path = at(dir, path);
        match item {
            Item::Link(target) => symlink(OsStr::from_bytes(target), path).unwrap(),
            Item::Dir(_) => fs::create_dir(&path).unwrap(),
            Item::File(mode, content) => {
                fs::write(&path, content).unwrap();
                chmod(&path, *mode);
            }
        }
    }
    for (path, item) in tree.iter().rev() {
        if let Item::Dir(mode) = item {
            chmod(&at(dir, path), *mode);
        }
    }
}

fn read(dir: &Path) -> Tree {
    let mut found = Tree::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let mode = meta.permissions().mode() & 0o7777;
            let name = path.strip_prefix(dir).unwrap().as_os_str().as_bytes().to_vec();
            let item = if meta.is_dir() {
                dirs.push(path);
                Item::Dir(mode)
            } else if meta.is_symlink() {
                Item::Link(fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            } else {
                Item::File(mode, fs::read(&path).unwrap())
            };
            found.insert(name, item);
        }
    }
    found
}

/// A change that a workspace made, and the host directory that it is to come into.
struct World {
    dir: TempDir,
    store: Store,
    changes: Vec<Delta>,
    theirs: RootNode,
}

impl World {
    fn new(base: &Tree, theirs: &Tree, ours: &Tree) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), StoreOptions::default()).unwrap();
        let take = |name: &str, tree: &Tree| {
            let path = dir.path().join(name);
            write(tree, &path);
            let options = IngestOptions::default();
            let report =
                store.ingest(&IngestSource::detect(&path).unwrap(), &options, &()).unwrap();
            store.get_root(report.key.root).unwrap()
        };
        let (base, theirs) = (take("base", base), take("theirs", theirs));
        let mut changes = Vec::new();
        diff(&store, &base, &theirs, |delta| changes.push(delta)).unwrap();
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        write(ours, &dir.path().join("host"));
        Self { dir, store, changes, theirs }
    }

    fn host(&self) -> PathBuf {
        self.dir.path().join("host")
    }

    fn journals(&self) -> Journals {
        Journals::new(self.dir.path().join("journals"))
    }

    fn about(&self) -> About {
        let text = |text: &str| text.to_owned();
        About { workspace: text("ws"), name: None, tree: text("tree"), at: text("now") }
    }

    /// Plans, in a session whose changes call `before`.
    fn apply_with(&self, options: Options, before: impl Fn() + 'static) -> Result<Plan> {
        let journals = self.journals();
        let mut host = Host::open(&self.host())?;
        host.before = Box::new(before);
        let session = journals.open(host)?;
        let plan = session.plan(&self.store, &self.changes, &self.theirs, options)?;
        session.apply(&self.store, &plan, self.about(), &())?;
        Ok(plan)
    }

    fn apply(&self) -> Plan {
        self.apply_with(Options::default(), || {}).unwrap()
    }

    fn undo(&self) -> Undone {
        let journals = self.journals();
        let session = journals.open(Host::open(&self.host()).unwrap()).unwrap();
        session.undo().unwrap()
    }
}

/// The action at a path, and why.
fn action(plan: &Plan, path: &str) -> (Action, String) {
    let path = TreePath::parse(path.as_bytes()).unwrap();
    let entry = plan.entries.iter().find(|entry| entry.path == path).expect("planned");
    (entry.action, entry.reason.clone().unwrap_or_default())
}
