//! Opening a store, and the objects in it.
//!
//! ```text
//! version      format of the store, one line
//! lock         held by whoever has the store open
//! packs/       everything that is stored
//! baselines/   one durable record for each baseline
//! checkouts/   where unfinished checkouts are, to be removed after a crash
//! mounts/      where views are mounted, to be unmounted after a crash
//! index/       sled: rebuilt from packs/ whenever it is missing or broken
//! ```

mod change;
mod open;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use pyro_format::{FileId, Tree, TreeId};
use serde::{Deserialize, Serialize};

use crate::catalog::Catalog;
use crate::checkout;
use crate::error::{Error, IoContext, Result};
use crate::holds::Holds;
use crate::index::{Candidate, Index};
use crate::lru::Lru;
use crate::mount;
use crate::object::{ObjectBytes, ObjectKey};
use crate::pack::{Footer, Pack, decode_frame};
use crate::read::FileLayout;
use crate::trust::Trust;
pub use open::RebuildReport;
use open::{FORMAT, VERSION_FILE, check_version, load_index, lock};

/// Open pack files kept for reading.
const OPEN_FILES: usize = 64;
/// Entries in all decoded tree nodes that are kept.
const CACHED_ENTRIES: usize = 50_000;
/// Chunks in all decoded file layouts that are kept.
const CACHED_CHUNKS: usize = 100_000;

/// How a store is used; nothing in here changes what is stored.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// zstd level for new frames, which somebody waits for: with -1 an ingest takes an eighth less
    /// time than with 1, and 16 % more room until the frames are written again.
    pub compression_level: i32,
    /// zstd level for what is written again when nobody waits.
    pub dense_level: i32,
    /// Bytes of decompressed frames kept for reading.
    pub frame_cache_bytes: usize,
    /// Threads that read, hash and compress.
    pub threads: usize,
    /// A pack is closed when it has this many bytes.
    pub pack_bytes: u64,
    /// How long a file must have been left alone before an ingest for its `stat` to vouch for its
    /// content in the next one.
    pub stat_margin: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, |n| n.get());
        Self {
            compression_level: -1,
            dense_level: 7,
            frame_cache_bytes: 10 * 1024 * 1024,
            threads: cores.clamp(2, 8),
            pack_bytes: 64 * 1024 * 1024,
            stat_margin: Duration::from_secs(40),
        }
    }
}

/// A pack that could not be used when the store was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedPack {
    /// Its file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// A content-addressed store in one directory. Cheap to clone; every clone is the same store.
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

/// Where an object is kept: its pack and record.
pub(crate) struct Home {
    pub(crate) place: (u32, u32),
    pub(crate) damaged: bool,
}

/// A decompressed frame, by the numbers of its pack and of it in the pack.
type Frames = Lru<(u32, u32), Arc<Vec<u8>>>;

pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) options: StoreOptions,
    pub(crate) catalog: Catalog,
    pub(crate) trust: Trust,
    index: RwLock<Index>,
    pub(crate) holds: Arc<Holds>,
    /// Held shared by those who go through the packs, exclusively while packs leave.
    leaving: RwLock<()>,
    pub(crate) changes: AtomicU64,
    /// Held by the one collection that runs.
    pub(crate) collecting: Mutex<()>,
    frames: Mutex<Frames>,
    files: Mutex<Lru<u32, Arc<File>>>,
    pub(crate) trees: Mutex<Lru<TreeId, Arc<Tree>>>,
    pub(crate) layouts: Mutex<Lru<FileId, Arc<FileLayout>>>,
    pub(crate) damaged: Mutex<Vec<DamagedPack>>,
    /// Released when the last clone goes.
    _lock: File,
}

impl Store {
    /// Opens the store in `dir`; an empty or missing directory becomes a new store.
    ///
    /// Fails if the directory holds something else, if its format is newer, or if someone else has
    /// it open. Files that killed writers left are removed; a missing or broken index is rebuilt.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self> {
        fs::create_dir_all(dir).at("create", dir)?;
        let dir = dir.canonicalize().at("resolve", dir)?;
        let new = !check_version(&dir)?;
        let lock = lock(&dir)?;
        for sub in ["packs", "baselines", "checkouts", "mounts"] {
            let sub = dir.join(sub);
            match fs::create_dir(&sub) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(error).at("create", sub);
                }
                _ => pyro_durable::remove_unfinished(&sub).at("clean", &sub)?,
            }
        }
        pyro_durable::remove_unfinished(&dir).at("clean", &dir)?;
        if new {
            let path = dir.join(VERSION_FILE);
            pyro_durable::write(&path, format!("{FORMAT}\n").as_bytes()).at("write", &path)?;
        }
        checkout::remove_abandoned(&dir.join("checkouts"))?;
        mount::remove_abandoned(&dir.join("mounts"))?;
        let catalog = Catalog::open(&dir.join("index"))?;
        let (index, damaged) = load_index(&dir.join("packs"), &catalog)?;
        let trust = Trust::load(&catalog)?;
        let shared = Shared {
            index: RwLock::new(index),
            holds: Arc::default(),
            leaving: RwLock::default(),
            changes: AtomicU64::new(0),
            collecting: Mutex::default(),
            frames: Mutex::new(Lru::new(options.frame_cache_bytes)),
            files: Mutex::new(Lru::new(OPEN_FILES)),
            trees: Mutex::new(Lru::new(CACHED_ENTRIES)),
            layouts: Mutex::new(Lru::new(CACHED_CHUNKS)),
            dir,
            options,
            catalog,
            trust,
            damaged: Mutex::new(damaged),
            _lock: lock,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The store's directory, links resolved.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Packs that were unusable when the store was opened; what they held counts as missing.
    pub fn damaged_packs(&self) -> Vec<DamagedPack> {
        locked(&self.shared.damaged).clone()
    }

    /// Whether anything stored is known to be damaged, whether or not it is stored again since.
    pub fn has_damage(&self) -> bool {
        let index = self.shared.index();
        !index.damage().is_empty() || !locked(&self.shared.damaged).is_empty()
    }

    /// The bytes of an object, checked against its id. If several packs hold it, a sound copy is
    /// found even when another is damaged.
    pub fn get(&self, key: impl Into<ObjectKey>) -> Result<ObjectBytes> {
        let key = key.into();
        loop {
            let mut failure = None;
            let mut left = false;
            for candidate in self.shared.candidates(&key) {
                match self.shared.read(&key, &candidate) {
                    Ok(Some(bytes)) => return Ok(bytes),
                    Ok(None) => {}
                    Err(reason) => {
                        left |= !self.shared.note_damage(&candidate)?;
                        let pack = candidate.pack.id();
                        failure = Some(Error::Damaged { key, pack, reason });
                    }
                }
            }
            // A collection may have moved the object to another pack meanwhile.
            if !left {
                return Err(failure.unwrap_or(Error::Missing(key)));
            }
        }
    }

    /// Every copy of an object, read when it is asked for.
    pub(crate) fn copies(&self, key: ObjectKey) -> impl Iterator<Item = Result<ObjectBytes>> {
        self.shared.candidates(&key).into_iter().filter_map(move |candidate| {
            self.shared.read(&key, &candidate).transpose().map(|copy| {
                copy.map_err(|reason| Error::Damaged { key, pack: candidate.pack.id(), reason })
            })
        })
    }

    /// How often something was stored or forgotten since the store was opened.
    pub fn changes(&self) -> u64 {
        self.shared.changes.load(Ordering::Relaxed)
    }

    /// Bytes of all packs that are in use.
    pub fn pack_bytes(&self) -> u64 {
        self.shared.packs().iter().map(|(_, pack)| pack.len).sum()
    }

    /// Whether some pack lists the object. Reads no content.
    pub fn contains(&self, key: impl Into<ObjectKey>) -> bool {
        self.shared.contains(&key.into())
    }
}

impl Shared {
    pub(crate) fn packs_dir(&self) -> PathBuf {
        self.dir.join("packs")
    }

    pub(crate) fn contains(&self, key: &ObjectKey) -> bool {
        // Whoever asks relies on the answer: no pack may leave between the two.
        let index = self.index();
        let found = index.sound(key).find(|candidate| self.is_at(key, candidate));
        if let Some(Candidate { number, record, .. }) = found {
            self.holds.found(number, record);
            return true;
        }
        false
    }

    /// The length of an object as a pack lists it; none if no pack does.
    pub(crate) fn listed_len(&self, key: &ObjectKey) -> Option<u64> {
        let index = self.index();
        let record = |at: Candidate| {
            let file = self.file(at.number, &at.pack).ok()?;
            at.pack.record(&file, at.record).ok().filter(|record| record.key == *key)
        };
        index.sound(key).find_map(record).map(|record| u64::from(record.len))
    }

    /// Every place that lists the object: pack and record.
    pub(crate) fn places(&self, key: &ObjectKey) -> Vec<(u32, u32)> {
        let index = self.index();
        let found = index.candidates(key).into_iter().filter(|at| self.is_at(key, at));
        found.map(|at| (at.number, at.record)).collect()
    }

    /// Of all places that list an object, one of which is `here`, the one that is kept: sound, then
    /// dense, then new.
    pub(crate) fn home(&self, key: &ObjectKey, here: (u32, u32)) -> Home {
        let index = self.index();
        let damaged = |(pack, record)| index.is_damaged(pack, record);
        let mut place = here;
        if !index.is_sole(key) {
            let rank = |at: &Candidate| {
                let place = (at.number, at.record);
                (!damaged(place), at.pack.effort, place)
            };
            let places = index.candidates(key).into_iter().filter(|at| self.is_at(key, at));
            place = places.map(|at| rank(&at)).max().map_or(here, |(_, _, place)| place);
        }
        Home { place, damaged: damaged(place) }
    }

    pub(crate) fn is_damaged(&self, (pack, record): (u32, u32)) -> bool {
        self.index().is_damaged(pack, record)
    }

    /// Whether the candidate's record is the object's.
    fn is_at(&self, key: &ObjectKey, candidate: &Candidate) -> bool {
        let file = self.file(candidate.number, &candidate.pack);
        file.and_then(|file| candidate.pack.record(&file, candidate.record))
            .is_ok_and(|record| record.key == *key)
    }

    /// While this is held, no pack leaves the store.
    pub(crate) fn stay(&self) -> RwLockReadGuard<'_, ()> {
        self.leaving.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stays consistent at every step, so a panic elsewhere does not spoil it.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every usable pack with its number.
    pub(crate) fn packs(&self) -> Vec<(u32, Arc<Pack>)> {
        self.index().packs()
    }

    pub(crate) fn object_count(&self) -> usize {
        self.index().len()
    }

    fn candidates(&self, key: &ObjectKey) -> Vec<Candidate> {
        self.index().candidates(key)
    }

    /// None if the record is another object's with the same prefix.
    fn read(
        &self,
        key: &ObjectKey,
        candidate: &Candidate,
    ) -> Result<Option<ObjectBytes>, &'static str> {
        let Candidate { number, pack, record } = candidate;
        let file = self.file(*number, pack)?;
        let record = pack.record(&file, *record)?;
        if record.key != *key {
            return Ok(None);
        }
        let slot = (*number, record.frame);
        let start = record.offset as usize;
        let cut = |frame: Arc<Vec<u8>>| {
            ObjectBytes::new(frame, start..start + record.len as usize)
                .filter(|bytes| key.matches(bytes))
        };
        if let Some(bytes) = locked(&self.frames).get(&slot).and_then(cut) {
            return Ok(Some(bytes));
        }
        // Not in memory, or damaged when it was read: what is on the disk now counts.
        let line = pack.frame(&file, record.frame)?;
        let frame = Arc::new(decode_frame(&line, pack.stored(&file, &line)?)?);
        let bytes = cut(frame.clone()).ok_or("its bytes do not match its id")?;
        locked(&self.frames).insert(slot, frame.clone(), frame.len());
        Ok(Some(bytes))
    }

    /// The whole footer of a pack.
    pub(crate) fn footer(&self, number: u32, pack: &Pack) -> std::io::Result<Footer> {
        let file = self.file(number, pack).map_err(std::io::Error::other)?;
        pack.footer(&file).map_err(std::io::Error::other)
    }

    pub(crate) fn file(&self, number: u32, pack: &Pack) -> Result<Arc<File>, &'static str> {
        if let Some(file) = locked(&self.files).get(&number) {
            return Ok(file);
        }
        let file = Arc::new(File::open(&pack.path).map_err(|_| "the pack cannot be opened")?);
        locked(&self.files).insert(number, file.clone(), 1);
        Ok(file)
    }
}

/// Caches stay consistent at every step, so a panic elsewhere does not spoil them.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
