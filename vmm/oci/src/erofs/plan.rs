//! What goes where in an image: every inode gets its place before anything is written.

use std::collections::{HashMap, VecDeque};

use pyro_format::{
    Attributes, BaselineKey, Device, DeviceKind, FileId, Mtime, Node, TimesId, Tree, TreeId,
};
use pyro_store::Store;

use super::directory::{self, Named};
use super::{BLOCK, encode};
use crate::error::{Error, Result};

/// Where the first inode is: after the superblock. The top directory must be among the first, because
/// its number has 16 bits.
const FIRST: u64 = encode::SUPERBLOCK + encode::SUPERBLOCK_LEN;
/// Inode numbers count from the start of the image in units of so many bytes.
pub(super) const SLOT: u64 = 32;
/// The block of what has none.
const NO_BLOCK: u32 = u32::MAX;

/// The kind of an inode, in `st_mode` and in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
    Device(DeviceKind),
}

/// What an inode holds.
pub(super) enum Content {
    None,
    /// A link's target.
    Bytes(Vec<u8>),
    File(FileId),
    Directory {
        tree: TreeId,
        /// Position of its parent among the inodes.
        parent: usize,
        /// Positions of its entries, in the order of the tree.
        children: Vec<usize>,
    },
}

/// One file, under one or more names.
pub(super) struct Inode {
    pub(super) kind: Kind,
    pub(super) mode: u16,
    pub(super) attributes: Attributes,
    pub(super) mtime: Mtime,
    pub(super) links: u32,
    /// Bytes of its content.
    pub(super) size: u64,
    pub(super) content: Content,
    /// Encoded extended attributes.
    pub(super) xattrs: Vec<u8>,
    /// Its `st_ino`.
    pub(super) number: u32,
    /// Byte at which it begins.
    pub(super) at: u64,
    /// The first of its whole blocks.
    pub(super) block: u32,
    /// What does not fill a block follows the inode.
    pub(super) inline: bool,
}

impl Inode {
    /// Bytes before its inline content.
    pub(super) fn core_len(&self) -> u64 {
        encode::INODE_LEN + self.xattrs.len() as u64
    }

    /// Its number in directories.
    pub(super) fn nid(&self) -> u64 {
        self.at / SLOT
    }
}

/// All inodes, the top directory first.
pub(super) struct Plan {
    pub(super) inodes: Vec<Inode>,
    /// Blocks of the whole image.
    pub(super) blocks: u64,
}

/// A directory whose entries are still to be looked at.
struct Pending {
    at: usize,
    tree: TreeId,
    times: TimesId,
}

impl Plan {
    pub(super) fn make(store: &Store, key: &BaselineKey) -> Result<Self> {
        let mut plan = Self { inodes: Vec::new(), blocks: 0 };
        let root = store.root_of(key)?;
        let top = plan.add(
            Node::Dir { mode: root.mode, tree: root.tree },
            key.mtime,
            0,
            Attributes::default(),
        )?;
        let mut groups: HashMap<u64, usize> = HashMap::new();
        let mut pending = VecDeque::from([Pending { at: top, tree: root.tree, times: key.times }]);
        while let Some(Pending { at, tree, times }) = pending.pop_front() {
            let (tree, times) = (store.get_tree(tree)?, store.get_times(times)?);
            if tree.entries().len() != times.entries.len() {
                return Err(Error::Image("its times do not belong to it".into()));
            }
            let mut children = Vec::with_capacity(tree.entries().len());
            for (entry, time) in tree.entries().iter().zip(&times.entries) {
                let attributes = Attributes::from_extensions(&entry.extensions)?;
                if let Some(known) = attributes.link_group.and_then(|group| groups.get(&group)) {
                    children.push(*known);
                    plan.inodes[*known].links += 1;
                    continue;
                }
                let group = attributes.link_group;
                let child = plan.add(entry.node.clone(), time.mtime, at, attributes)?;
                children.push(child);
                if let Some(group) = group {
                    groups.insert(group, child);
                }
                if let Node::Dir { tree, .. } = entry.node {
                    plan.inodes[at].links += 1;
                    let times = time.children.ok_or(Error::Image("it lacks times".into()))?;
                    pending.push_back(Pending { at: child, tree, times });
                }
            }
            let size = directory::size(&tree);
            let inode = &mut plan.inodes[at];
            inode.size = size;
            if let Content::Directory { children: own, .. } = &mut inode.content {
                *own = children;
            }
        }
        plan.place()?;
        Ok(plan)
    }

    fn add(
        &mut self,
        node: Node,
        mtime: Mtime,
        parent: usize,
        attributes: Attributes,
    ) -> Result<usize> {
        let (kind, mode, size, content) = match node {
            Node::Dir { mode, tree } => {
                let content = Content::Directory { tree, parent, children: Vec::new() };
                (Kind::Directory, mode.bits(), 0, content)
            }
            Node::Symlink { target } => {
                let target = target.as_bytes().to_vec();
                (Kind::Symlink, 0o777, target.len() as u64, Content::Bytes(target))
            }
            Node::File { mode, size, content } => match attributes.device {
                Some(Device { kind, .. }) => (Kind::Device(kind), mode.bits(), 0, Content::None),
                None => (Kind::File, mode.bits(), size, Content::File(content)),
            },
        };
        let xattrs = encode::xattrs(&attributes.xattrs)?;
        let at = self.inodes.len();
        let number =
            u32::try_from(at + 1).map_err(|_| Error::Image("it has too many files".into()))?;
        self.inodes.push(Inode {
            links: if kind == Kind::Directory { 2 } else { 1 },
            kind,
            mode,
            attributes,
            mtime,
            size,
            content,
            xattrs,
            number,
            at: 0,
            block: NO_BLOCK,
            inline: false,
        });
        Ok(at)
    }

    /// Inodes follow each other; the blocks follow the inodes.
    fn place(&mut self) -> Result<()> {
        let mut at = FIRST;
        for inode in &mut self.inodes {
            let (core, tail) = (inode.core_len(), inode.size % BLOCK);
            inode.inline = tail > 0 && core + tail <= BLOCK;
            let len = core + if inode.inline { tail } else { 0 };
            // What follows an inode must be in the same block.
            if at % BLOCK + len > BLOCK {
                at = at.next_multiple_of(BLOCK);
            }
            inode.at = at;
            at = (at + len).next_multiple_of(SLOT);
        }
        let mut block = at.div_ceil(BLOCK);
        for inode in &mut self.inodes {
            let whole = inode.size / BLOCK;
            let blocks = if inode.inline { whole } else { inode.size.div_ceil(BLOCK) };
            if blocks > 0 {
                inode.block = block as u32;
                block += blocks;
            }
            if block >= NO_BLOCK.into() {
                return Err(Error::Image("it is larger than 16 TiB".into()));
            }
        }
        self.blocks = block;
        Ok(())
    }

    /// The entries of a directory as its blocks hold them.
    pub(super) fn entries_of<'a>(&self, inode: &Inode, tree: &'a Tree) -> Vec<Named<'a>> {
        let Content::Directory { parent, children, .. } = &inode.content else { return Vec::new() };
        let named = |name, inode: &Inode| Named { name, nid: inode.nid(), kind: inode.kind };
        let own = [named(&b"."[..], inode), named(&b".."[..], &self.inodes[*parent])];
        let entries = tree.entries().iter().zip(children);
        let mut all: Vec<_> = entries
            .map(|(entry, child)| named(entry.name.as_bytes(), &self.inodes[*child]))
            .chain(own)
            .collect();
        all.sort_unstable_by_key(|entry| entry.name);
        all
    }
}
