//! The command log: one durable file for each command, `log/000001.json`.

use std::fs;
use std::path::{Path, PathBuf};

use pyro_api::LogEntry;

use crate::error::{Error, Result};

const DIR: &str = "log";

fn file(workspace: &Path, sequence: u64) -> PathBuf {
    workspace.join(DIR).join(format!("{sequence:06}.json"))
}

/// Writes an entry durably.
pub fn write(workspace: &Path, entry: &LogEntry) -> Result<()> {
    let dir = workspace.join(DIR);
    match fs::create_dir(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::io("create", dir)(error));
        }
        _ => {}
    }
    let path = file(workspace, entry.sequence);
    let bytes = serde_json::to_vec(entry)
        .map_err(|error| Error::BadRecord { path: path.clone(), reason: error.to_string() })?;
    pyro_durable::write(&path, &bytes).map_err(Error::io("write", path))
}

/// One entry; none if that command has not ended.
pub fn read(workspace: &Path, sequence: u64) -> Result<Option<LogEntry>> {
    let path = file(workspace, sequence);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::BadRecord { path, reason: error.to_string() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("read", path)(source)),
    }
}

/// All entries in order.
pub fn read_all(workspace: &Path) -> Result<Vec<LogEntry>> {
    let dir = workspace.join(DIR);
    let names = match fs::read_dir(&dir) {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::io("read", dir)(source)),
    };
    let mut sequences = Vec::new();
    for name in names {
        let name = name.map_err(Error::io("read", &dir))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".json"));
        sequences.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    sequences.sort_unstable();
    let entries = sequences.into_iter().map(|sequence| read(workspace, sequence));
    entries.filter_map(Result::transpose).collect()
}
