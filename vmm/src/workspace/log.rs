//! The command log, a directory: one durable file for each command, `000001.json`.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use pyro_api::LogEntry;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What is kept of a command that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Logged {
    /// As it is shown.
    #[serde(flatten)]
    pub entry: LogEntry,
    /// Bytes of standard output that came, kept or not; at least those that are kept.
    #[serde(default)]
    pub stdout_bytes: u64,
    /// Bytes of standard error, likewise.
    #[serde(default)]
    pub stderr_bytes: u64,
}

impl Logged {
    /// The kept start of standard output, exact.
    pub fn stdout(&self) -> Cow<'_, [u8]> {
        exact(&self.entry.result.stdout, self.entry.result.stdout_b64.as_deref())
    }

    /// The kept start of standard error, exact.
    pub fn stderr(&self) -> Cow<'_, [u8]> {
        exact(&self.entry.result.stderr, self.entry.result.stderr_b64.as_deref())
    }
}

fn exact<'a>(text: &'a str, b64: Option<&str>) -> Cow<'a, [u8]> {
    match b64.map(|b64| STANDARD.decode(b64)) {
        Some(Ok(bytes)) => bytes.into(),
        _ => text.as_bytes().into(),
    }
}

fn file(log: &Path, sequence: u64) -> PathBuf {
    log.join(format!("{sequence:06}.json"))
}

/// Writes an entry durably.
pub fn write(log: &Path, logged: &Logged) -> Result<()> {
    match fs::create_dir(log) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::io("create", log)(error));
        }
        _ => {}
    }
    let path = file(log, logged.entry.sequence);
    let bytes = serde_json::to_vec(logged)
        .map_err(|error| Error::BadRecord { path: path.clone(), reason: error.to_string() })?;
    pyro_durable::write(&path, &bytes).map_err(Error::io("write", path))
}

/// One entry; none if that command has not ended.
pub fn read(log: &Path, sequence: u64) -> Result<Option<Logged>> {
    let path = file(log, sequence);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::BadRecord { path, reason: error.to_string() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("read", path)(source)),
    }
}

/// All entries in order.
pub fn read_all(log: &Path) -> Result<Vec<LogEntry>> {
    let names = match fs::read_dir(log) {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::io("read", log)(source)),
    };
    let mut sequences = Vec::new();
    for name in names {
        let name = name.map_err(Error::io("read", log))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".json"));
        sequences.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    sequences.sort_unstable();
    let entries = sequences.into_iter().map(|sequence| read(log, sequence));
    let entries = entries.filter_map(Result::transpose);
    entries.map(|logged| logged.map(|logged| logged.entry)).collect()
}
