//! What callers say about a source, in the store's words, and what the store says, in theirs.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use pyro_api::{BytesText, SeedOptions, SkippedEntry};
use pyro_format::escape;
use pyro_store::{IngestOptions, IngestReport, SkipReason};

use crate::error::{Error, Result};

/// A path of the host, which must be absolute: the daemon's directory is not the caller's. `what` it
/// is, for people.
pub fn absolute(path: &BytesText, what: &str) -> Result<PathBuf> {
    let path = path.to_path();
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(Error::Invalid(format!("the {what} {path:?} is not absolute")))
    }
}

/// Whether the source is one file or link, rather than a directory or an archive.
pub fn is_single(path: &Path) -> Result<bool> {
    let kind = fs::symlink_metadata(path).map_err(|source| {
        if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
            Error::NoPath(escape(path.as_os_str().as_encoded_bytes()))
        } else {
            Error::io("read", path)(source)
        }
    })?;
    let name = path.as_os_str().as_encoded_bytes();
    let archive = [&b".tar"[..], b".tar.gz", b".tgz"].iter().any(|end| name.ends_with(end));
    let link_to_dir = kind.is_symlink() && fs::metadata(path).is_ok_and(|meta| meta.is_dir());
    Ok((kind.is_file() && !archive) || (kind.is_symlink() && !link_to_dir))
}

/// How the store is to read it.
pub fn options(options: &SeedOptions) -> IngestOptions {
    IngestOptions {
        exclude: options.exclude.clone(),
        gitignore: options.gitignore,
        allow_changing: options.allow_changing,
        skip_unreadable: options.skip_unreadable,
        ..IngestOptions::default()
    }
}

/// What the store left out.
pub fn skipped(report: &IngestReport) -> Vec<SkippedEntry> {
    let reason = |reason| match reason {
        SkipReason::Socket => "socket",
        SkipReason::Fifo => "fifo",
        SkipReason::BlockDevice | SkipReason::CharDevice => "device",
        SkipReason::Unreadable => "unreadable",
        SkipReason::UnknownKind => "unknown kind",
    };
    report
        .skipped
        .iter()
        .map(|skipped| SkippedEntry {
            path: skipped.path.to_string(),
            reason: reason(skipped.reason).to_owned(),
        })
        .collect()
}

/// What the caller should know.
pub fn warnings(report: &IngestReport) -> Vec<String> {
    let warnings = report.warnings.iter().map(|w| format!("{}: {}", w.path, w.message));
    let changing = report.changing.iter().map(|path| changing(&path.to_string()));
    warnings.chain(changing).collect()
}

/// The warning about a file that never stood still.
pub fn changing(path: &str) -> String {
    format!("{path}: it changed while it was read; the last reading is kept")
}
