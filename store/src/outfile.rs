//! A file for the caller that appears when it is complete and durable, or not at all.

use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{Error, IoContext, Result};

/// Whether such a file may be made.
pub(crate) fn check(dest: &Path, force: bool) -> Result<()> {
    if dest.file_name().is_none() || dest.is_dir() {
        return Err(Error::BadTarget(dest.to_owned()));
    }
    if !force && dest.symlink_metadata().is_ok() {
        return Err(Error::Exists(dest.to_owned()));
    }
    Ok(())
}

/// Makes `dest` of what `fill` writes; with `force` it may replace a file.
pub(crate) fn write<T>(
    dest: &Path,
    force: bool,
    fill: impl FnOnce(&mut NamedTempFile) -> Result<T>,
) -> Result<T> {
    check(dest, force)?;
    let parent = match dest.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !parent.is_dir() {
        return Err(Error::NoParent(parent.to_owned()));
    }
    let temp = tempfile::Builder::new().prefix(pyro_durable::TEMP_PREFIX).tempfile_in(parent);
    let mut temp = temp.at("create a file in", parent)?;
    let filled = fill(&mut temp)?;
    // Between the look at the start and now somebody else may have made the file.
    let published = match force {
        true => pyro_durable::publish(temp, dest),
        false => pyro_durable::publish_new(temp, dest),
    };
    match published {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::Exists(dest.to_owned()))
        }
        published => published.at("write", dest).map(|()| filled),
    }
}
