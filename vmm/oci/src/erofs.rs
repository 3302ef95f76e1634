//! The image that a guest mounts, made from a tree of the store.
//!
//! Uncompressed EROFS, as Linux 5.4 and later mount it: extended inodes with inline attributes, the last
//! part of a file beside its inode where it fits. Needs no rights and no copy of the files, and the same
//! tree always gives the same bytes, so that an image that was thrown away can be made again.
//!
//! Source: Linux, `fs/erofs/erofs_fs.h` and `Documentation/filesystems/erofs.rst`.

mod directory;
mod encode;
mod plan;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use pyro_format::BaselineKey;
use pyro_store::{Progress, Store};

use crate::error::{Error, Result};
use plan::{Content, Inode, Plan};

/// Bytes of a block.
const BLOCK: u64 = 4096;
/// Bytes written at a time.
const PIECE: usize = 1 << 20;

/// Writes the image of a baseline of the `rootfs` profile into the new file `path` and syncs it.
///
/// # Errors
/// If the tree is damaged, has properties that no image can hold, or the file cannot be written; what
/// was written is the caller's to remove.
pub fn write(store: &Store, key: &BaselineKey, path: &Path, progress: &dyn Progress) -> Result<()> {
    let plan = Plan::make(store, key)?;
    let file = File::create_new(path).map_err(Error::io("create", path))?;
    let out = Output { file: &file, path };
    out.put(encode::SUPERBLOCK, &encode::superblock(&plan))?;
    for inode in &plan.inodes {
        if progress.cancelled() {
            return Err(Error::Cancelled);
        }
        out.put(inode.at, &encode::inode(inode))?;
        match &inode.content {
            Content::None => {}
            Content::Bytes(bytes) => out.split(inode, &mut &bytes[..])?,
            Content::File(content) => {
                out.split(inode, &mut store.open_file(*content, inode.size)?)?;
            }
            Content::Directory { tree, .. } => {
                let tree = store.get_tree(*tree)?;
                let bytes = directory::encode(&plan.entries_of(inode, &tree));
                out.split(inode, &mut &bytes[..])?;
            }
        }
        progress.advance(1, inode.size);
    }
    file.set_len(plan.blocks * BLOCK)
        .and_then(|()| file.sync_all())
        .map_err(Error::io("write", path))
}

/// The file that is written, in any order.
struct Output<'a> {
    file: &'a File,
    path: &'a Path,
}

impl Output<'_> {
    fn put(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, at).map_err(Error::io("write", self.path))
    }

    /// Whole blocks go to the inode's blocks, the rest beside the inode, if it is there that it belongs.
    fn split(&self, inode: &Inode, input: &mut dyn Read) -> Result<()> {
        let tail = if inode.inline { inode.size % BLOCK } else { 0 };
        let mut at = u64::from(inode.block) * BLOCK;
        let mut left = inode.size - tail;
        let mut buffer = vec![0; PIECE.min(inode.size as usize)];
        while left > 0 {
            let piece = &mut buffer[..left.min(PIECE as u64) as usize];
            self.read(input, piece)?;
            self.put(at, piece)?;
            at += piece.len() as u64;
            left -= piece.len() as u64;
        }
        let rest = &mut buffer[..tail as usize];
        self.read(input, rest)?;
        self.put(inode.at + inode.core_len(), rest)
    }

    /// The store's readers give as many bytes as they promise, or an error.
    fn read(&self, input: &mut dyn Read, into: &mut [u8]) -> Result<()> {
        input.read_exact(into).map_err(|error| match error.downcast::<pyro_store::Error>() {
            Ok(error) => Error::Store(error),
            Err(error) => Error::io("fill", self.path)(error),
        })
    }
}

impl From<pyro_format::AttributesError> for Error {
    fn from(error: pyro_format::AttributesError) -> Self {
        Self::Image(error.to_string())
    }
}

#[cfg(test)]
mod tests;
