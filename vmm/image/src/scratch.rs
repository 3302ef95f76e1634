//! The scratch disk: a sparse, formatted file that each workspace's writes go to.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom as Extent;
use rustix::io::Errno;

use crate::build::tool::{Run, find_tool};
use crate::{Catalog, Error, Result, Silent};

/// Size of a scratch disk in MiB when nobody says. On the host it takes what the guest has written.
pub const SCRATCH_MIB: u32 = 16 << 10;

/// Changes with the options below, so that an older template is not taken for this one.
const TEMPLATE: &str = "ext4-16g-2.img";

/// - an inode per 8 KiB: source trees are small files (two million fit);
/// - no blocks reserved for root: everything in the guest is root;
/// - a journal, as the upper outlives a killed machine, but a small one: the host keeps what it wrote;
/// - no resize inode: the disk never grows.
const FORMAT: &[&str] =
    &["-q", "-F", "-m", "0", "-i", "8192", "-I", "256", "-J", "size=64", "-O", "^resize_inode"];

/// A new sparse file reads as zeros, so nothing has to be zeroed, neither here nor by the guest later.
const PREZEROED: &str = "assume_storage_prezeroed=1,nodiscard";

/// The same for an `mke2fs` before 1.47, where the guest zeroes the inode tables in the background.
const LAZY: &str = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";

impl Catalog {
    /// Makes an empty scratch disk of `mib` MiB in the new file `dest`: one of [`SCRATCH_MIB`] is cloned
    /// from a template, so that nothing is formatted when somebody waits.
    ///
    /// # Errors
    /// [`Error::ToolMissing`] without `mkfs.ext4`, [`Error::ToolFailed`], [`Error::Io`], also when `dest`
    /// exists. Nothing is left then.
    pub fn make_scratch(&self, dest: &Path, mib: u32) -> Result<()> {
        if mib == SCRATCH_MIB {
            return clone_scratch(&self.ensure_scratch_template()?, dest);
        }
        File::create_new(dest).map_err(Error::io("create", dest))?;
        format(dest, mib).inspect_err(|_| {
            // The error of formatting is the one to report.
            let _ = fs::remove_file(dest);
        })
    }

    /// The path of a formatted, empty scratch disk ([`SCRATCH_MIB`], a few MB on the host), made when it
    /// is not there yet.
    ///
    /// # Errors
    /// [`Error::ToolMissing`] without `mkfs.ext4`, [`Error::ToolFailed`], [`Error::Io`].
    pub fn ensure_scratch_template(&self) -> Result<PathBuf> {
        let dir = self.root().join("scratch");
        let path = dir.join(TEMPLATE);
        if fs::metadata(&path).is_ok_and(|meta| meta.len() == u64::from(SCRATCH_MIB) << 20) {
            return Ok(path);
        }
        fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let file = tempfile::NamedTempFile::new_in(&dir).map_err(Error::io("create", &path))?;
        format(file.path(), SCRATCH_MIB)?;
        file.persist(&path).map_err(|error| Error::io("replace", &path)(error.error))?;
        crate::durable::sync_dir(&dir)?;
        Ok(path)
    }
}

/// Makes the file a formatted, empty disk, and syncs it.
fn format(path: &Path, mib: u32) -> Result<()> {
    let mkfs = find_tool("mkfs.ext4")?;
    let file = File::create(path).map_err(Error::io("create", path))?;
    let format = |options: &str| -> Result<()> {
        file.set_len(0)
            .and_then(|()| file.set_len(u64::from(mib) << 20))
            .map_err(Error::io("resize", path))?;
        let mut run = Run::new("mkfs.ext4", &mkfs);
        run.args(FORMAT).args(["-E", options]).arg(path);
        run.finish(&Silent, |_| ())
    };
    match format(PREZEROED) {
        Err(Error::ToolFailed { .. }) => format(LAZY)?,
        other => other?,
    }
    file.sync_all().map_err(Error::io("sync", path))
}

/// Copies a scratch disk to the new file `dest` and syncs it: as a reflink where the file system can,
/// else extent by extent, so that holes stay holes. `dest` is removed again if the copy fails.
///
/// # Errors
/// [`Error::Io`], also when `dest` exists.
pub fn clone_scratch(template: &Path, dest: &Path) -> Result<()> {
    let from = File::open(template).map_err(Error::io("open", template))?;
    let to = File::create_new(dest).map_err(Error::io("create", dest))?;
    let copied = match rustix::fs::ioctl_ficlone(&to, &from) {
        Ok(()) => Ok(()),
        Err(_) => copy_extents(&from, &to),
    };
    copied.and_then(|()| to.sync_all()).map_err(|error| {
        // The copy's own error is the one to report.
        let _ = fs::remove_file(dest);
        Error::io("write", dest)(error)
    })
}

fn copy_extents(mut from: &File, mut to: &File) -> std::io::Result<()> {
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut at = 0;
    while at < length {
        let start = match rustix::fs::seek(from, Extent::Data(at)) {
            Err(Errno::NXIO) => break,
            other => other?,
        };
        let end = rustix::fs::seek(from, Extent::Hole(start))?;
        from.seek(SeekFrom::Start(start))?;
        to.seek(SeekFrom::Start(start))?;
        let copied = std::io::copy(&mut std::io::Read::take(from, end - start), &mut to)?;
        if copied == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        at = start + copied;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn clones_keep_bytes_and_holes() {
        let dir = tempfile::tempdir().unwrap();
        let (template, dest) = (dir.path().join("a"), dir.path().join("b"));
        let file = File::create(&template).unwrap();
        file.set_len(1 << 30).unwrap();
        file.write_all_at(&[7; 5000], 0).unwrap();
        file.write_all_at(&[9; 100_000], 300 << 20).unwrap();
        file.sync_all().unwrap();
        clone_scratch(&template, &dest).unwrap();
        let clone = File::open(&dest).unwrap();
        assert_eq!(clone.metadata().unwrap().len(), 1 << 30);
        assert!(clone.metadata().unwrap().blocks() * 512 < 1 << 20);
        let mut bytes = vec![0; 100_000];
        clone.read_exact_at(&mut bytes, 300 << 20).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 9));
        clone.read_exact_at(&mut bytes[..5001], 0).unwrap();
        assert_eq!((bytes[4999], bytes[5000]), (7, 0));
    }

    #[test]
    fn a_clone_never_replaces_a_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (template, dest) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&template, "new").unwrap();
        fs::write(&dest, "old").unwrap();
        clone_scratch(&template, &dest).unwrap_err();
        assert_eq!(fs::read(&dest).unwrap(), b"old");
    }
}
