//! Writing what must last: temporary sibling, fsync, rename, fsync of the directory.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use crate::{Error, Progress, Result};

/// Replaces `path` by `bytes`; after a crash at any point it holds the old or the new content.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    pyro_durable::write(path, bytes).map_err(Error::io("write", path))
}

/// Writes a new file and syncs it; for files in a directory that is not yet in its final place.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    File::create_new(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(Error::io("write", path))
}

/// Copies `from` to the new file `to`, syncs it and returns its hash and size.
pub(crate) fn copy_hashed(
    from: &Path,
    to: &Path,
    progress: &dyn Progress,
) -> Result<(blake3::Hash, u64)> {
    let mut out = File::create_new(to).map_err(Error::io("create", to))?;
    let hashed =
        read_hashed(from, progress, |bytes| out.write_all(bytes).map_err(Error::io("write", to)))?;
    out.sync_all().map_err(Error::io("write", to))?;
    Ok(hashed)
}

/// The hash and size of a file.
pub(crate) fn hash(path: &Path, progress: &dyn Progress) -> Result<(blake3::Hash, u64)> {
    read_hashed(path, progress, |_| Ok(()))
}

fn read_hashed(
    path: &Path,
    progress: &dyn Progress,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<(blake3::Hash, u64)> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let total = file.metadata().map_err(Error::io("read", path))?.len();
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        if progress.cancelled() {
            return Err(Error::Cancelled);
        }
        let length = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if length == 0 {
            return Ok((hasher.finalize(), hasher.count()));
        }
        hasher.update(&buffer[..length]);
        each(&buffer[..length])?;
        progress.advance(hasher.count(), Some(total));
    }
}

/// Makes renames, creations and removals in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    pyro_durable::sync_dir(dir).map_err(Error::io("sync", dir))
}

/// Removes a file, or a directory with all that is in it.
pub(crate) fn remove(path: &Path) -> Result<()> {
    if path.is_file() {
        return fs::remove_file(path).map_err(Error::io("remove", path));
    }
    remove_tree(path)
}

/// Removes a directory tree; one that is not there is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(Error::io("remove", path)),
    }
}
