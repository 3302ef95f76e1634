//! What a push has to write: compared with what is there, refused where it cannot be replaced.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::FileStat;
use pyro_format::{Entry, EntryName, FileId, Mode, Mtime, Node, TreePath};
use pyro_proto::PushItem;

use super::Request;
use super::source::{Item, Tree};
use crate::beneath::{self, Kind};
use crate::error::{Doing, Error, Result};
use crate::report::hash_file;
use crate::workspace::Workspace;

/// Mode of directories that a destination's path needs.
const PARENT_MODE: Mode = Mode::new(0o755);

/// Everything a push writes.
#[derive(Debug, Default)]
pub struct Plan {
    /// Things to put into place.
    pub placements: Vec<Placement>,
    /// Existing files and directories of which only the mode differs.
    pub modes: Vec<ModeChange>,
}

/// One thing to put into place: a file, a link, or a directory with all it holds.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Where, in `/workspace`. Its parent exists.
    pub target: TreePath,
    /// Kind of what is there now and goes.
    pub replaces: Option<Kind>,
    /// New directories between the target and the item: with `[x, y]` the item is `target/x/y`.
    pub inside: Vec<EntryName>,
    /// What is pushed.
    pub what: What,
}

/// What a placement puts at its place.
#[derive(Debug, Clone)]
pub struct What {
    /// Its path in the pushed tree.
    pub source: TreePath,
    /// Kind, mode, size.
    pub node: Node,
    /// Modification time; none for the top of the pushed tree, which has no entry that tells it.
    pub mtime: Option<Mtime>,
}

/// A change of permission bits alone.
#[derive(Debug, Clone)]
pub struct ModeChange {
    /// The file or directory in `/workspace`.
    pub target: TreePath,
    /// Bits before.
    pub old: Mode,
    /// Bits after.
    pub new: Mode,
}

/// Compares the pushed tree with the destination. Blocks.
pub fn plan(workspace: &Workspace, tree: &mut Tree, request: &Request) -> Result<Plan> {
    let top = workspace.top()?;
    let mut planner = Planner { top, tree, plan: Plan::default(), buffer: vec![0; 256 << 10] };
    let spot = locate(planner.top.as_fd(), &request.dest)?;
    match &request.item {
        PushItem::Directory { mode } => planner.directory(&request.dest, spot, *mode)?,
        PushItem::File { name, into } => planner.sole_file(&request.dest, spot, name, *into)?,
    }
    Ok(planner.plan)
}

/// What is at a destination.
#[derive(Debug)]
enum Spot {
    Dir,
    Other,
    /// The existing directory, and the names that are missing below it.
    Missing(TreePath, Vec<EntryName>),
}

/// Follows `dest` through real directories only.
fn locate(top: BorrowedFd<'_>, dest: &TreePath) -> Result<Spot> {
    let mut at = beneath::reopen_dir(top).doing(|| "open /workspace".into())?;
    let mut path = TreePath::root();
    let names: Vec<EntryName> = dest.names().collect();
    for (index, name) in names.iter().enumerate() {
        let next = path.join(name);
        let stat = beneath::stat_if_any(&at, name.as_bytes()).doing(|| look_at(&next))?;
        match stat.as_ref().map(beneath::kind) {
            None => return Ok(Spot::Missing(path, names[index..].to_vec())),
            Some(Kind::Dir) => {
                at = beneath::open_dir(&at, name.as_bytes()).doing(|| look_at(&next))?;
            }
            Some(Kind::Symlink) => {
                let what = format!("'{next}' is a symbolic link, and links are not followed");
                return Err(Error::Conflict(what));
            }
            Some(_) if index + 1 == names.len() => return Ok(Spot::Other),
            Some(_) => return Err(Error::Conflict(format!("'{next}' is not a directory"))),
        }
        path = next;
    }
    Ok(Spot::Dir)
}

fn look_at(path: &TreePath) -> String {
    format!("look at '{path}'")
}

struct Planner<'a> {
    top: OwnedFd,
    tree: &'a mut Tree,
    plan: Plan,
    buffer: Vec<u8>,
}

impl Planner<'_> {
    fn directory(&mut self, dest: &TreePath, spot: Spot, mode: Mode) -> Result<()> {
        match spot {
            Spot::Dir => self.merge(TreePath::root(), dest.clone()),
            Spot::Other => Err(Error::Conflict(format!("'{dest}' is not a directory"))),
            Spot::Missing(parent, names) => {
                let node = directory_node(mode);
                self.place_new(parent, names, What { source: TreePath::root(), node, mtime: None })
            }
        }
    }

    fn sole_file(
        &mut self,
        dest: &TreePath,
        spot: Spot,
        name: &EntryName,
        into: bool,
    ) -> Result<()> {
        let items = self.tree.entries(&TreePath::root())?;
        let item = items.into_iter().find(|item| item.entry.name == *name);
        let item = item.ok_or_else(|| Error::Invalid(format!("the push holds no '{name}'")))?;
        match spot {
            Spot::Dir => self.compare(&TreePath::root(), dest, name, item),
            Spot::Other if into => Err(Error::Conflict(format!("'{dest}' is not a directory"))),
            Spot::Other => match dest.split_last() {
                Some((parent, last)) => self.compare(&TreePath::root(), &parent, &last, item),
                None => Err(Error::Invalid("the destination has no name".into())),
            },
            Spot::Missing(parent, mut names) => {
                if into {
                    names.push(name.clone());
                }
                let source = TreePath::root().join(name);
                let what = What { source, node: item.entry.node, mtime: Some(item.mtime) };
                self.place_new(parent, names, what)
            }
        }
    }

    /// Merges the pushed directory `source` into the existing directory `dest`.
    fn merge(&mut self, source: TreePath, dest: TreePath) -> Result<()> {
        let mut directories = vec![(source, dest)];
        while let Some((source, dest)) = directories.pop() {
            for item in self.tree.entries(&source)? {
                let name = item.entry.name.clone();
                if self.is_dir_over_dir(&dest, &item.entry)? {
                    directories.push((source.join(&name), dest.join(&name)));
                }
                self.compare(&source, &dest, &name, item)?;
            }
        }
        Ok(())
    }

    fn is_dir_over_dir(&self, dest: &TreePath, entry: &Entry) -> Result<bool> {
        let dir = matches!(entry.node, Node::Dir { .. });
        Ok(dir && self.stat(dest, &entry.name)?.is_some_and(|s| beneath::kind(&s) == Kind::Dir))
    }

    fn stat(&self, dest: &TreePath, name: &EntryName) -> Result<Option<FileStat>> {
        let dir = self.open(dest)?;
        beneath::stat_if_any(dir, name.as_bytes()).doing(|| look_at(&dest.join(name)))
    }

    fn open(&self, dir: &TreePath) -> Result<OwnedFd> {
        beneath::open(self.top.as_fd(), dir, OFlag::O_PATH | OFlag::O_DIRECTORY)
            .doing(|| format!("open '{dir}'"))
    }

    /// Compares one pushed entry with what is called `name` in `dest`.
    fn compare(
        &mut self,
        source: &TreePath,
        dest: &TreePath,
        name: &EntryName,
        item: Item,
    ) -> Result<()> {
        let target = dest.join(name);
        let source = source.join(&item.entry.name);
        let what = What { source, node: item.entry.node, mtime: Some(item.mtime) };
        let Some(stat) = self.stat(dest, name)? else {
            return self.place(target, None, what);
        };
        let there = beneath::kind(&stat);
        match (&what.node, there) {
            (Node::Dir { mode, .. }, Kind::Dir) => {
                self.change_mode(target, &stat, *mode);
                Ok(())
            }
            (Node::File { mode, size, content }, Kind::File)
                if *size == beneath::size(&stat) && self.hash(dest, name)? == Some(*content) =>
            {
                self.change_mode(target, &stat, *mode);
                Ok(())
            }
            (Node::Symlink { target: to }, Kind::Symlink)
                if readlinkat(self.open(dest)?, name.as_bytes())
                    .is_ok_and(|now| now.as_encoded_bytes() == to.as_bytes()) =>
            {
                Ok(())
            }
            (_, Kind::Dir) => {
                let empty = beneath::is_empty_dir(self.open(dest)?, name.as_bytes());
                if !empty.doing(|| format!("list '{target}'"))? {
                    let what = format!(
                        "'{target}' is a directory that is not empty; a file cannot replace it"
                    );
                    return Err(Error::Conflict(what));
                }
                self.place(target, Some(there), what)
            }
            _ => self.place(target, Some(there), what),
        }
    }

    fn hash(&mut self, dest: &TreePath, name: &EntryName) -> Result<Option<FileId>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let dir = self.open(dest)?;
        let opened = openat(dir, name.as_bytes(), flags, nix::sys::stat::Mode::empty());
        match opened.and_then(|fd| hash_file(fd, &mut self.buffer)) {
            Ok(hashed) => Ok(Some(hashed.content)),
            Err(Errno::ENOENT | Errno::ELOOP) => Ok(None),
            Err(errno) => Err(errno).doing(|| format!("read '{}'", dest.join(name))),
        }
    }

    fn change_mode(&mut self, target: TreePath, stat: &FileStat, new: Mode) {
        let old = beneath::mode(stat);
        if old != new {
            self.plan.modes.push(ModeChange { target, old, new });
        }
    }

    fn place(&mut self, target: TreePath, replaces: Option<Kind>, what: What) -> Result<()> {
        self.plan.placements.push(Placement { target, replaces, inside: Vec::new(), what });
        Ok(())
    }

    fn place_new(&mut self, parent: TreePath, names: Vec<EntryName>, what: What) -> Result<()> {
        let mut names = names.into_iter();
        let Some(first) = names.next() else {
            return Err(Error::Invalid("the destination has no name".into()));
        };
        let target = parent.join(&first);
        let inside = names.collect();
        self.plan.placements.push(Placement { target, replaces: None, inside, what });
        Ok(())
    }
}

/// A new directory on the way to a destination, or the destination itself.
pub fn directory_node(mode: Mode) -> Node {
    Node::Dir { mode, tree: pyro_format::Tree::default().id() }
}

/// A directory on the way to a destination.
pub fn parent_node() -> Node {
    directory_node(PARENT_MODE)
}
