//! What kind of thing a path on the host is, and taking in a single one.

use std::path::Path;

use pyro_format::{LinkTarget, Node};
use rustix::fs::{AtFlags, CWD, FileType, readlinkat, statat};

use super::file::{self, Meta, Outcome, ReadError};
use super::stream::Cutter;
use super::{IngestOptions, IngestSource, SingleReport};
use crate::error::{Error, IoContext, Result};
use crate::progress::{self, Progress};
use crate::store::Store;
use crate::writer::{Batch, Sink};

pub(super) fn detect(path: &Path) -> Result<IngestSource> {
    let kind = path.metadata().at("read", path)?.file_type();
    if kind.is_dir() {
        return Ok(IngestSource::Directory(path.to_owned()));
    }
    let refuse = |reason| Err(Error::Source { path: path.to_owned(), reason });
    if !kind.is_file() {
        return refuse("it is neither a directory nor an archive");
    }
    let name = path.file_name().map(|name| name.as_encoded_bytes().to_ascii_lowercase());
    let is_archive = |name: Vec<u8>| {
        [&b".tar"[..], b".tar.gz", b".tgz"].iter().any(|suffix| name.ends_with(suffix))
    };
    if name.is_some_and(is_archive) {
        Ok(IngestSource::Archive(path.to_owned()))
    } else {
        refuse("it is a file whose name ends neither in .tar, .tar.gz nor .tgz")
    }
}

pub(super) fn single(
    store: &Store,
    path: &Path,
    options: &IngestOptions,
    progress: &dyn Progress,
) -> Result<SingleReport> {
    let batch = Batch::new(store);
    let mut sink = Sink::new(&batch)?;
    let name = path.as_os_str().as_encoded_bytes();
    let meta = Meta::new(&statat(CWD, name, AtFlags::SYMLINK_NOFOLLOW).at("read", path)?);
    let (node, mtime, changing) = match meta.kind() {
        FileType::Symlink => {
            let target = readlinkat(CWD, name, Vec::new()).at("read", path)?;
            let target = LinkTarget::parse(target.as_bytes())
                .map_err(|source| Error::Name { path: path.to_owned(), source })?;
            progress.advance(1, 0);
            (Node::Symlink { target }, meta.mtime, false)
        }
        FileType::RegularFile => {
            let advanced = |bytes| {
                progress.advance(0, bytes);
                progress::check(progress)
            };
            let mut cutter = Cutter::new();
            let allow = options.allow_changing;
            let outcome = file::read(CWD, name, meta, allow, &mut cutter, &mut sink, advanced);
            match outcome.map_err(|error| named(error, path))? {
                Outcome::Stored { meta, file, size, changing } => {
                    progress.advance(1, 0);
                    let node = Node::File { mode: meta.mode(), size, content: file };
                    (node, meta.mtime, changing)
                }
                Outcome::Vanished => return Err(rustix::io::Errno::NOENT).at("read", path),
                Outcome::Unreadable(errno) => return Err(errno).at("read", path),
            }
        }
        _ => {
            let reason = "it is neither a regular file, a directory nor a link";
            return Err(Error::Source { path: path.to_owned(), reason });
        }
    };
    sink.flush()?;
    Ok(SingleReport { node, mtime, changing, written: batch.finish()? })
}

/// Adds the path to an error of reading it.
pub(super) fn named(error: ReadError, path: &Path) -> Error {
    match error {
        ReadError::Changing => Error::Changing(path.to_owned()),
        ReadError::Os(source) => Error::Io { action: "read", path: path.to_owned(), source },
        ReadError::Store(error) => error,
    }
}
