//! What the threads of one writer share, and the thread in the background that makes it durable.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::Written;
use crate::error::{Error, IoContext, Result};
use crate::holds::Hold;
use crate::object::ObjectKey;
use crate::pack::{Effort, EncodedFrame, OpenPack};
use crate::store::{Store, locked};

/// What the threads of one writer share: the pack being written and what is already in it.
pub(crate) struct Batch {
    pub(super) store: Store,
    /// What was found to be stored already stays.
    _hold: Hold,
    pub(super) effort: Effort,
    /// Whether objects are read back before they are published.
    readable: bool,
    /// Objects taken on but not yet findable through the index.
    pub(super) pending: Mutex<HashSet<ObjectKey>>,
    pub(super) open: Mutex<Option<OpenPack>>,
    background: Mutex<Option<Background>>,
    pub(super) chunks: AtomicU64,
    pub(super) chunk_bytes: AtomicU64,
    pub(super) nodes: AtomicU64,
    stored_bytes: AtomicU64,
}

impl Batch {
    pub(crate) fn new(store: &Store) -> Arc<Self> {
        Self::start(store, Effort::Fast, false)
    }

    pub(crate) fn with_effort(store: &Store, effort: Effort) -> Arc<Self> {
        Self::start(store, effort, false)
    }

    pub(super) fn start(store: &Store, effort: Effort, readable: bool) -> Arc<Self> {
        Arc::new(Self {
            store: store.clone(),
            _hold: store.hold(),
            effort,
            readable,
            pending: Mutex::default(),
            open: Mutex::default(),
            background: Mutex::default(),
            chunks: AtomicU64::new(0),
            chunk_bytes: AtomicU64::new(0),
            nodes: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
        })
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// True when the caller must store the object; nobody else will. Two threads that meet here
    /// while a pack is being published may both be told so: a duplicate is harmless.
    pub(super) fn claim(&self, key: ObjectKey) -> bool {
        if locked(&self.pending).contains(&key) || self.store.contains(key) {
            return false;
        }
        locked(&self.pending).insert(key)
    }

    /// Writing goes on while what was written before is synced by a thread in the background.
    pub(super) fn append(self: &Arc<Self>, frame: Option<EncodedFrame>) -> Result<()> {
        let Some(frame) = frame else { return Ok(()) };
        let (full, written) = {
            let mut open = locked(&self.open);
            let pack = match &mut *open {
                Some(pack) => pack,
                empty => {
                    let packs = self.store.shared.packs_dir();
                    empty.insert(OpenPack::create(&packs, self.effort, self.readable)?)
                }
            };
            if pack.append(frame, self.store.shared.options.pack_bytes)? {
                (open.take(), None)
            } else {
                (None, pack.wants_sync())
            }
        };
        match (full, written) {
            (Some(pack), _) => {
                let batch = self.clone();
                self.in_background(Box::new(move || batch.seal(pack)))
            }
            (None, Some(file)) => self.in_background(Box::new(move || {
                // An error here would not be told again by the sync that seals the pack.
                file.sync_data().at("sync", "a new pack")
            })),
            (None, None) => Ok(()),
        }
    }

    fn in_background(&self, job: Job) -> Result<()> {
        let jobs = {
            let mut background = locked(&self.background);
            background.get_or_insert_with(Background::start).jobs.clone()
        };
        if jobs.send(job).is_ok() {
            return Ok(());
        }
        // A job has failed; of several threads that notice, one gets the reason.
        self.wait_for_background().and(Err(Error::Cancelled))
    }

    /// Until everything that was handed over is done.
    pub(super) fn wait_for_background(&self) -> Result<()> {
        let background = locked(&self.background).take();
        background.map_or(Ok(()), Background::end)
    }

    fn seal(&self, pack: OpenPack) -> Result<()> {
        let sealed = pack.seal(&self.store.shared.packs_dir())?;
        self.stored_bytes.fetch_add(sealed.len, Ordering::Relaxed);
        self.store.shared.publish(&sealed)?;
        let mut pending = locked(&self.pending);
        for record in &sealed.footer.records {
            pending.remove(&record.key);
        }
        Ok(())
    }

    /// Makes everything durable and findable. All sinks must have been flushed.
    pub(crate) fn finish(&self) -> Result<Written> {
        let last = locked(&self.open).take();
        self.wait_for_background()?;
        last.map_or(Ok(()), |pack| self.seal(pack))?;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok(Written {
            chunks: count(&self.chunks),
            chunk_bytes: count(&self.chunk_bytes),
            nodes: count(&self.nodes),
            stored_bytes: count(&self.stored_bytes),
        })
    }
}

/// Something for the thread in the background to do.
type Job = Box<dyn FnOnce() -> Result<()> + Send>;

/// A thread that does one thing after the other. After a failure it does no more.
struct Background {
    /// Bounded: packs that wait to be sealed hold memory.
    jobs: SyncSender<Job>,
    thread: JoinHandle<Result<()>>,
}

impl Background {
    fn start() -> Self {
        let (jobs, queue) = sync_channel::<Job>(1);
        let thread = std::thread::spawn(move || queue.into_iter().try_for_each(|job| job()));
        Self { jobs, thread }
    }

    fn end(self) -> Result<()> {
        drop(self.jobs);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
