//! Reading the members of a tar archive, perhaps a hostile one, within bounds.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use pyro_format::{MAX_XATTR_NAME, MAX_XATTR_VALUE, Mtime, escape};
use tar::{Archive, Entry, EntryType};

use super::ArchiveLimits;
use super::meter::{Meter, Metered};
use super::stream::StreamError;
use crate::error::{Error, Result};
use crate::progress::{self, Progress};

/// Bytes that headers of one member (long names, pax records) may take. GNU tar writes at most a
/// few kilobytes; the decoder keeps them in memory.
const MAX_HEADERS: u64 = 4 * 1024 * 1024;
/// What the key of a pax record with an extended attribute begins with.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// One member, whose content can be read.
pub(super) type Member<'a> = Entry<'a, Metered>;

/// Hands every member of an archive and its name to `take`, to the archive's end. `path` is what
/// errors call it.
pub(super) fn each_member(
    path: &Path,
    input: Box<dyn Read>,
    limits: &ArchiveLimits,
    progress: &dyn Progress,
    mut take: impl FnMut(&[u8], &mut Member<'_>) -> Result<(), Refusal>,
) -> Result<()> {
    let broken = |error: &io::Error| broken(path, error);
    let refuse = |reason| Error::Archive { archive: path.to_owned(), reason };
    let meter = Meter::new(limits.bytes);
    let mut archive = Archive::new(Metered { input, meter: meter.clone() });
    let mut entries = archive.entries().map_err(|error| broken(&error))?;
    let mut count = 0;
    loop {
        meter.allow(MAX_HEADERS);
        let Some(entry) = entries.next() else { break };
        meter.allow(u64::MAX);
        let mut entry = entry.map_err(|error| broken(&error))?;
        progress::check(progress)?;
        count += 1;
        if count > limits.members {
            return Err(refuse(format!("it has more than {} members", limits.members)));
        }
        let name = entry.path_bytes().into_owned();
        if !matches!(entry.header().entry_type(), EntryType::XGlobalHeader) {
            match take(&name, &mut entry) {
                Ok(()) => {}
                Err(Refusal::Member(reason)) => {
                    let (archive, member) = (path.to_owned(), escape(&name));
                    return Err(Error::Member { archive, member, reason });
                }
                Err(Refusal::Archive(reason)) => return Err(refuse(reason)),
                Err(Refusal::Input(error)) => return Err(broken(&error)),
                Err(Refusal::Error(error)) => return Err(error),
            }
        }
        // What was not read, so that skipping it does not count as headers.
        io::copy(&mut entry, &mut io::sink()).map_err(|error| broken(&error))?;
    }
    if meter.ended.get() {
        return Err(refuse("it is truncated: its end marker is missing".to_owned()));
    }
    meter.allow(u64::MAX);
    // To its end, so that a compressed archive's checksum is checked.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|error| broken(&error))?;
    Ok(())
}

pub(super) fn broken(path: &Path, error: &io::Error) -> Error {
    let reason = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it is truncated".to_owned(),
        _ => format!("it cannot be read: {error}"),
    };
    Error::Archive { archive: path.to_owned(), reason }
}

/// Why a member ends the ingest.
pub(super) enum Refusal {
    Member(String),
    /// What is wrong is wrong with the archive.
    Archive(String),
    Input(io::Error),
    Error(Error),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Member(reason)
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        Self::Member(reason.to_owned())
    }
}

impl From<StreamError> for Refusal {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Input(error) => Self::Input(error),
            StreamError::Store(error) => Self::Error(error),
        }
    }
}

pub(super) fn bad_header(error: io::Error) -> Refusal {
    Refusal::Member(format!("has a bad header: {error}"))
}

/// What pax records say about one member beyond what the decoder understands.
#[derive(Default)]
pub(super) struct Pax {
    /// Only here with fractions of a second.
    pub(super) mtime: Option<Mtime>,
    /// Name and length of a file whose holes are left out (GNU sparse format 1.0).
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    /// Extended attributes, as GNU tar, bsdtar and image builders write them.
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Pax {
    pub(super) fn read(entry: &mut Member<'_>) -> Result<Self, Refusal> {
        let mut pax = Self::default();
        let mut sparse = false;
        for extension in entry.pax_extensions().map_err(bad_header)?.into_iter().flatten() {
            let extension = extension.map_err(bad_header)?;
            let text = extension.value().ok();
            match extension.key_bytes() {
                b"mtime" => {
                    let time = text.and_then(parse_seconds);
                    pax.mtime = Some(time.ok_or("has a bad modification time")?);
                }
                b"GNU.sparse.major" if text == Some("1") => sparse = true,
                b"GNU.sparse.major" | b"GNU.sparse.map" | b"GNU.sparse.numblocks" => {
                    return Err("is a sparse file in an unknown format; repack it with GNU tar \
                                without --sparse"
                        .into());
                }
                b"GNU.sparse.name" => pax.name = Some(extension.value_bytes().to_vec()),
                b"GNU.sparse.realsize" => {
                    let size = text.and_then(|text| text.parse().ok());
                    pax.real_size = Some(size.ok_or("has a bad size")?);
                }
                b"uid" => pax.uid = Some(parse_id(text)?),
                b"gid" => pax.gid = Some(parse_id(text)?),
                key => {
                    let Some(name) = key.strip_prefix(XATTR) else { continue };
                    let value = extension.value_bytes();
                    let fits = (1..=MAX_XATTR_NAME).contains(&name.len());
                    if !fits || value.len() > MAX_XATTR_VALUE {
                        return Err("has an extended attribute that is too long".into());
                    }
                    pax.xattrs.insert(name.to_vec(), value.to_vec());
                }
            }
        }
        if sparse != pax.real_size.is_some() {
            return Err("is a sparse file with incomplete records".into());
        }
        Ok(pax)
    }
}

fn parse_id(text: Option<&str>) -> Result<u32, Refusal> {
    text.and_then(|text| text.parse().ok()).ok_or_else(|| "has a bad owner".into())
}

/// Decimal seconds, perhaps negative, perhaps with a fraction, rounded down.
fn parse_seconds(text: &str) -> Option<Mtime> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if ![whole, fraction].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit())) {
        return None;
    }
    let secs: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanos: u32 = format!("{fraction:0<9.9}").parse().ok()?;
    Some(match (negative, nanos) {
        (false, _) => Mtime { secs, nanos },
        (true, 0) => Mtime { secs: -secs, nanos: 0 },
        (true, _) => Mtime { secs: (-secs).checked_sub(1)?, nanos: 1_000_000_000 - nanos },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_times_round_down_before_1970_too() {
        let time = |secs, nanos| Some(Mtime { secs, nanos });
        assert_eq!(parse_seconds("12.5"), time(12, 500_000_000));
        assert_eq!(parse_seconds("12"), time(12, 0));
        assert_eq!(parse_seconds("-0.25"), time(-1, 750_000_000));
        assert_eq!(parse_seconds("1.1234567899"), time(1, 123_456_789));
        assert_eq!(parse_seconds("1.x"), None);
        assert_eq!(parse_seconds("é"), None);
        assert_eq!(parse_seconds("--9223372036854775808"), None);
    }
}
