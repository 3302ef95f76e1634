//! A system's tree from a directory of the host.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, PipeWriter, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use pyro_store::{ArchiveLimits, IngestReport, Progress, Store};
use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use crate::error::{Error, Result};

/// Takes in a directory with its owners, attributes, devices and hard links. For an ordinary user, who
/// could not have made another's files, all of it is root's. Sockets are left out.
///
/// # Errors
/// If something in it cannot be read, or changes while it is.
pub fn ingest_directory(
    store: &Store,
    dir: &Path,
    progress: &dyn Progress,
) -> Result<IngestReport> {
    let mut ingest = store.ingest_image(ArchiveLimits::default())?;
    let (layer, sink) = io::pipe().map_err(Error::io("read", dir))?;
    let packing = dir.to_owned();
    let packer = std::thread::spawn(move || Packer::pack(&packing, sink));
    let taken = ingest.layer(dir, Box::new(layer), progress);
    let packed = packer.join().unwrap_or_else(|_| Err(Error::Image("packing it failed".into())));
    match (taken, packed) {
        // The reader gave up first: the packer only noticed.
        (Err(error), Err(Error::Io { source, .. })) if is_hang_up(&source) => Err(error.into()),
        (_, Err(error)) => Err(error),
        (taken, Ok(())) => {
            taken?;
            Ok(ingest.finish(dir)?)
        }
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// Writes a directory as the one layer of an image.
struct Packer {
    tar: Builder<PipeWriter>,
    keep_owners: bool,
    /// Files with several names, by device and number.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl Packer {
    fn pack(dir: &Path, sink: PipeWriter) -> Result<()> {
        let keep_owners = rustix::process::geteuid().is_root();
        let mut packer = Self { tar: Builder::new(sink), keep_owners, linked: HashMap::new() };
        let mut pending = vec![PathBuf::new()];
        while let Some(below) = pending.pop() {
            let path = dir.join(&below);
            let meta = path.symlink_metadata().map_err(Error::io("read", &path))?;
            packer.add(&path, &below, &meta)?;
            if meta.is_dir() {
                for entry in fs::read_dir(&path).map_err(Error::io("read", &path))? {
                    let name = entry.map_err(Error::io("read", &path))?.file_name();
                    pending.push(below.join(name));
                }
            }
        }
        packer.tar.finish().map_err(Error::io("pack", dir))
    }

    fn add(&mut self, path: &Path, below: &Path, meta: &Metadata) -> Result<()> {
        let failed = |error| Error::io("pack", path)(error);
        let kind = meta.file_type();
        let mut header = Header::new_gnu();
        header.set_mode(meta.mode() & 0o7777);
        header.set_mtime(meta.mtime().max(0) as u64);
        let (uid, gid) = if self.keep_owners { (meta.uid(), meta.gid()) } else { (0, 0) };
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        header.set_size(0);
        let mut name = below.to_owned();
        if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            // The top directory is `./`.
            name = Path::new(".").join(below).join("");
        } else if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            let target = fs::read_link(path).map_err(failed)?;
            return self.tar.append_link(&mut header, name, target).map_err(failed);
        } else if kind.is_socket() {
            return Ok(());
        } else if let Some(first) = self.first_name(below, meta) {
            header.set_entry_type(EntryType::Link);
            return self.tar.append_link(&mut header, name, first).map_err(failed);
        } else if kind.is_char_device() || kind.is_block_device() {
            let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
            let (char, block) = (EntryType::Char, EntryType::Block);
            header.set_entry_type(if kind.is_char_device() { char } else { block });
            header
                .set_device_major(major)
                .and_then(|()| header.set_device_minor(minor))
                .map_err(failed)?;
        } else if kind.is_fifo() {
            header.set_entry_type(EntryType::Fifo);
        }
        let xattrs = xattrs(path).map_err(failed)?;
        let records = xattrs.iter().map(|(key, value)| (key.as_str(), &value[..]));
        self.tar.append_pax_extensions(records).map_err(failed)?;
        if !kind.is_file() {
            return self.tar.append_data(&mut header, name, io::empty()).map_err(failed);
        }
        header.set_entry_type(EntryType::Regular);
        header.set_size(meta.len());
        let mut file = Exactly { file: File::open(path).map_err(failed)?, left: meta.len() };
        self.tar.append_data(&mut header, name, &mut file).map_err(failed)
    }

    /// The name under which a file was packed already.
    fn first_name(&mut self, below: &Path, meta: &Metadata) -> Option<PathBuf> {
        if meta.nlink() < 2 {
            return None;
        }
        let key = (meta.dev(), meta.ino());
        match self.linked.get(&key) {
            Some(first) => Some(first.clone()),
            None => {
                self.linked.insert(key, below.to_owned());
                None
            }
        }
    }
}

/// A file that must have as many bytes as it had.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = self.left.min(out.len() as u64) as usize;
        let len = self.file.read(&mut out[..most])?;
        if len == 0 && most > 0 {
            return Err(io::Error::other("it became shorter while it was read"));
        }
        self.left -= len as u64;
        Ok(len)
    }
}

/// Keys of pax records, and values.
fn xattrs(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0; 64 << 10];
    let len = match llistxattr(path, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        len => len?,
    };
    let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut found = Vec::new();
    for name in names {
        let text = str::from_utf8(name).map_err(io::Error::other)?;
        let mut value = vec![0; pyro_format::MAX_XATTR_VALUE];
        match lgetxattr(path, text, &mut value[..]) {
            // Gone meanwhile, or not for this user to see.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS) => continue,
            len => value.truncate(len?),
        }
        found.push((format!("SCHILY.xattr.{text}"), value));
    }
    Ok(found)
}
