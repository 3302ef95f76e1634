//! Baseline records: small durable files, one for each baseline, that make a tree reachable.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pyro_format::{BaselineId, BaselineKey, Mtime, RootId, TimesId, escape};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, IoContext, Result};
use crate::reach::Root;
use crate::store::Store;

/// Bytes of a path, shown as text. JSON has `path`, where anything that is not UTF-8 is replaced,
/// and `path_b64` with the exact bytes when `path` alone would lose some.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathBytes(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
struct PathJson {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_b64: Option<String>,
}

impl std::fmt::Display for PathBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl std::fmt::Debug for PathBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", escape(&self.0))
    }
}

impl Serialize for PathBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let path = String::from_utf8_lossy(&self.0).into_owned();
        let lossy = std::str::from_utf8(&self.0).is_err();
        PathJson { path, path_b64: lossy.then(|| STANDARD.encode(&self.0)) }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PathBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = PathJson::deserialize(deserializer)?;
        match json.path_b64 {
            None => Ok(Self(json.path.into_bytes())),
            Some(text) => STANDARD.decode(text).map(Self).map_err(de::Error::custom),
        }
    }
}

/// Why something in the source is not in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// A Unix socket.
    Socket,
    /// A named pipe.
    Fifo,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
    /// The caller may not read it, and asked to go on.
    Unreadable,
    /// A kind of archive member that no workspace can hold.
    UnknownKind,
}

/// Something in the source that is not in the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its path below the source.
    #[serde(flatten)]
    pub path: PathBytes,
    /// Why it was left out.
    pub reason: SkipReason,
}

/// Something the caller should know about the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What it is about, below the source.
    #[serde(flatten)]
    pub path: PathBytes,
    /// What will not work and the way out.
    pub message: String,
}

/// The durable record of a baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineRecord {
    /// Version of this record's shape: 1.
    pub schema: u32,
    /// The baseline; the hash of the next three.
    pub id: BaselineId,
    /// The content.
    pub root: RootId,
    /// The modification times.
    pub times: TimesId,
    /// The top directory's modification time.
    pub mtime: Mtime,
    /// Where it came from, as a label only.
    pub source: PathBytes,
    /// It was made for a user of the store that drops it with its own records.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub implicit: bool,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
    /// Files, directories and links, without the top directory.
    pub entry_count: u64,
    /// Files.
    pub file_count: u64,
    /// Bytes in all files.
    pub bytes_total: u64,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// Files that changed while they were read; their last read is stored.
    pub changing: Vec<PathBytes>,
    /// What the caller was warned of.
    pub warnings: Vec<Warning>,
}

impl BaselineRecord {
    /// What the id is made of.
    pub fn key(&self) -> BaselineKey {
        BaselineKey { root: self.root, times: self.times, mtime: self.mtime }
    }

    /// What has to stay for it to be whole.
    pub(crate) fn top(&self) -> Root {
        Root { root: self.root, times: Some(self.times) }
    }
}

impl Store {
    /// The record of a baseline.
    pub fn baseline(&self, id: BaselineId) -> Result<BaselineRecord> {
        let path = self.baseline_path(id);
        let damaged = |reason: String| Error::BaselineRecord { path: path.clone(), reason };
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoBaseline(id));
            }
            read => read.at("read", &path)?,
        };
        let record: BaselineRecord =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if record.id != id || record.key().id() != id {
            return Err(damaged("it is not the record its name says".to_owned()));
        }
        Ok(record)
    }

    /// The ids of all baselines that have a record, sorted.
    pub fn baseline_ids(&self) -> Result<Vec<BaselineId>> {
        let dir = self.dir().join("baselines");
        let mut ids = Vec::new();
        for entry in fs::read_dir(&dir).at("read", &dir)? {
            let name = entry.at("read", &dir)?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            ids.extend(id.and_then(|id| id.parse::<BaselineId>().ok()));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Every baseline's record, oldest first. A damaged record is an error; see [`Store::verify`].
    pub fn baselines(&self) -> Result<Vec<BaselineRecord>> {
        let ids = self.baseline_ids()?;
        let mut records =
            ids.into_iter().map(|id| self.baseline(id)).collect::<Result<Vec<_>>>()?;
        records.sort_by_key(|record| (record.created_at_ms, record.id));
        Ok(records)
    }

    /// Forgets a baseline. What only it reached stays in the packs until it is collected.
    pub fn remove_baseline(&self, id: BaselineId) -> Result<()> {
        let path = self.baseline_path(id);
        if !path.exists() {
            return Err(Error::NoBaseline(id));
        }
        self.shared.changes.fetch_add(1, Ordering::Relaxed);
        pyro_durable::remove(&path).at("remove", path)
    }

    /// Writes the record durably. Everything it reaches must be durable already. A sound record
    /// of the same baseline is kept as it is, unless it was implicit and this one is not.
    pub(crate) fn record_baseline(&self, record: &BaselineRecord) -> Result<()> {
        if self.baseline(record.id).is_ok_and(|known| record.implicit || !known.implicit) {
            return Ok(());
        }
        let path = self.baseline_path(record.id);
        let bytes = serde_json::to_vec_pretty(record).map_err(|error| Error::BaselineRecord {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        pyro_durable::write(&path, &bytes).at("write", path)
    }

    fn baseline_path(&self, id: BaselineId) -> PathBuf {
        self.dir().join("baselines").join(format!("{id}.json"))
    }
}

/// Milliseconds since 1970; 0 for a clock before that.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
