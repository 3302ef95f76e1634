//! The blocks of a directory: in each first the fixed parts of some entries, then their names. Entries
//! are sorted by name through all blocks, for the kernel searches by halves.

use pyro_format::{DeviceKind, Tree};

use super::BLOCK;
use super::plan::Kind;

/// `struct erofs_dirent`: number u64, offset of the name u16, kind u8, reserved u8.
const ENTRY: usize = 12;

/// One entry.
pub(super) struct Named<'a> {
    pub(super) name: &'a [u8],
    pub(super) nid: u64,
    pub(super) kind: Kind,
}

/// Bytes of the directory of these entries, with `.` and `..`.
pub(super) fn size(tree: &Tree) -> u64 {
    let mut names: Vec<&[u8]> = tree.entries().iter().map(|entry| entry.name.as_bytes()).collect();
    names.extend([&b"."[..], b".."]);
    names.sort_unstable();
    let lens = names.into_iter().map(<[u8]>::len);
    let blocks = blocks(lens);
    let last = blocks.last().map_or(0, |block| block.bytes);
    (blocks.len() as u64 - 1) * BLOCK + last as u64
}

/// The directory's bytes; all blocks but the last are full.
pub(super) fn encode(entries: &[Named<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = entries;
    for block in blocks(entries.iter().map(|entry| entry.name.len())) {
        let (here, after) = rest.split_at(block.entries);
        rest = after;
        out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
        let mut name_at = here.len() * ENTRY;
        for entry in here {
            out.extend_from_slice(&entry.nid.to_le_bytes());
            out.extend_from_slice(&(name_at as u16).to_le_bytes());
            out.extend_from_slice(&[file_type(entry.kind), 0]);
            name_at += entry.name.len();
        }
        here.iter().for_each(|entry| out.extend_from_slice(entry.name));
    }
    out
}

/// How much a block holds.
#[derive(Default)]
struct Block {
    entries: usize,
    bytes: usize,
}

/// Fills block after block; there is one at least.
fn blocks(lens: impl Iterator<Item = usize>) -> Vec<Block> {
    let mut blocks = vec![Block::default()];
    for len in lens {
        let needed = ENTRY + len;
        if blocks.last().is_none_or(|block| block.bytes + needed > BLOCK as usize) {
            blocks.push(Block::default());
        }
        if let Some(block) = blocks.last_mut() {
            block.entries += 1;
            block.bytes += needed;
        }
    }
    blocks
}

/// `FT_*` of Linux, `include/linux/fs_types.h`.
fn file_type(kind: Kind) -> u8 {
    match kind {
        Kind::File => 1,
        Kind::Directory => 2,
        Kind::Device(DeviceKind::Char) => 3,
        Kind::Device(DeviceKind::Block) => 4,
        Kind::Device(DeviceKind::Fifo) => 5,
        Kind::Symlink => 7,
    }
}
