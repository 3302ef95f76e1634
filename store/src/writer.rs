//! Adding objects: what is new goes into frames and packs, what is known is only counted.
//!
//! A [`StoreWriter`] is a transaction without rollback: nothing it stored is promised before
//! [`commit`](StoreWriter::commit) returns, and what an abandoned writer left is garbage that no
//! record reaches.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use pyro_format::{
    ChunkId, ChunkList, ChunkRef, FileId, RootId, RootNode, TimesId, TimesNode, Tree, TreeId,
};

use crate::error::{Error, IoContext, Result};
use crate::holds::Hold;
use crate::object::{Kind, ObjectKey};
use crate::pack::{CONTENT_FRAME, Effort, EncodedFrame, FrameBuilder, NODE_FRAME, OpenPack};
use crate::store::{Store, locked};

/// What a writer added to the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Chunks that were not stored before.
    pub chunks: u64,
    /// Their bytes before compression.
    pub chunk_bytes: u64,
    /// Nodes and chunk lists that were not stored before.
    pub nodes: u64,
    /// Bytes the new packs take on disk.
    pub stored_bytes: u64,
}

/// What the threads of one writer share: the pack being written and what is already in it.
pub(crate) struct Batch {
    store: Store,
    /// What was found to be stored already stays.
    _hold: Hold,
    effort: Effort,
    /// Whether objects are read back before they are published.
    readable: bool,
    /// Objects taken on but not yet findable through the index.
    pending: Mutex<HashSet<ObjectKey>>,
    open: Mutex<Option<OpenPack>>,
    background: Mutex<Option<Background>>,
    chunks: AtomicU64,
    chunk_bytes: AtomicU64,
    nodes: AtomicU64,
    stored_bytes: AtomicU64,
}

impl Batch {
    pub(crate) fn new(store: &Store) -> Arc<Self> {
        Self::start(store, Effort::Fast, false)
    }

    pub(crate) fn with_effort(store: &Store, effort: Effort) -> Arc<Self> {
        Self::start(store, effort, false)
    }

    fn start(store: &Store, effort: Effort, readable: bool) -> Arc<Self> {
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
    fn claim(&self, key: ObjectKey) -> bool {
        if locked(&self.pending).contains(&key) || self.store.contains(key) {
            return false;
        }
        locked(&self.pending).insert(key)
    }

    /// Writing goes on while what was written before is synced by a thread in the background.
    fn append(self: &Arc<Self>, frame: Option<EncodedFrame>) -> Result<()> {
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
    fn wait_for_background(&self) -> Result<()> {
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

/// One thread's way into a batch: content and nodes gather in frames of their own, so that a walk
/// over the nodes reads no content.
pub(crate) struct Sink {
    batch: Arc<Batch>,
    payload: FrameBuilder,
    nodes: FrameBuilder,
}

impl Sink {
    pub(crate) fn new(batch: &Arc<Batch>) -> Result<Self> {
        let options = &batch.store.shared.options;
        let (level, node_frame) = match batch.effort {
            Effort::Fast => (options.compression_level, NODE_FRAME),
            Effort::Dense => (options.dense_level, CONTENT_FRAME),
        };
        let builder = |target| {
            FrameBuilder::new(level, target).at("start compression for", batch.store.dir())
        };
        let (payload, nodes) = (builder(CONTENT_FRAME)?, builder(node_frame)?);
        Ok(Self { batch: batch.clone(), payload, nodes })
    }

    pub(crate) fn store(&self) -> &Store {
        &self.batch.store
    }

    /// Stores a chunk whose id the caller has computed from these bytes.
    pub(crate) fn put_chunk(&mut self, id: ChunkId, bytes: &[u8]) -> Result<()> {
        let key = id.into();
        if self.batch.claim(key) {
            self.batch.chunks.fetch_add(1, Ordering::Relaxed);
            self.batch.chunk_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            if self.payload.add(key, bytes) {
                self.flush_payload()?;
            }
        }
        Ok(())
    }

    pub(crate) fn put_tree(&mut self, tree: &Tree) -> Result<TreeId> {
        let bytes = tree.encode();
        let id = TreeId::of(&bytes);
        self.put_node(id.into(), &bytes).map(|()| id)
    }

    pub(crate) fn put_times(&mut self, times: &TimesNode) -> Result<TimesId> {
        let bytes = times.encode();
        let id = TimesId::of(&bytes);
        self.put_node(id.into(), &bytes).map(|()| id)
    }

    pub(crate) fn put_root(&mut self, root: &RootNode) -> Result<RootId> {
        let bytes = root.encode();
        let id = RootId::of(&bytes);
        self.put_node(id.into(), &bytes).map(|()| id)
    }

    /// Records how a file is cut. The caller has computed the file's id from the chunks' bytes.
    ///
    /// A list whose chunks are not all stored, left by a writer that was killed, is no reason to
    /// leave this one out: the file may have been cut differently then.
    pub(crate) fn put_chunk_list(&mut self, list: &ChunkList) -> Result<()> {
        let key = list.file.into();
        let known = !self.batch.claim(key);
        if known && self.store().contains(key) && !self.store().has_file(list.file, list.size())? {
            return self.add_node(key, &list.encode());
        }
        if known { Ok(()) } else { self.add_node(key, &list.encode()) }
    }

    /// Stores an object once more, for a collection.
    pub(crate) fn put_again(&mut self, key: ObjectKey, bytes: &[u8]) -> Result<()> {
        if key.kind != Kind::Chunk {
            self.add_node(key, bytes)
        } else if self.payload.add(key, bytes) {
            self.flush_payload()
        } else {
            Ok(())
        }
    }

    /// Stores a frame of another pack as it is.
    pub(crate) fn put_frame(&mut self, frame: EncodedFrame) -> Result<()> {
        self.batch.append(Some(frame))
    }

    fn put_node(&mut self, key: ObjectKey, bytes: &[u8]) -> Result<()> {
        if self.batch.claim(key) { self.add_node(key, bytes) } else { Ok(()) }
    }

    fn add_node(&mut self, key: ObjectKey, bytes: &[u8]) -> Result<()> {
        self.batch.nodes.fetch_add(1, Ordering::Relaxed);
        if self.nodes.add(key, bytes) {
            let frame = self.nodes.close().at("compress for", self.store().dir())?;
            self.batch.append(frame)?;
        }
        Ok(())
    }

    fn flush_payload(&mut self) -> Result<()> {
        let frame = self.payload.close().at("compress for", self.store().dir())?;
        self.batch.append(frame)
    }

    /// Hands over what was gathered.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.flush_payload()?;
        let frame = self.nodes.close().at("compress for", self.store().dir())?;
        self.batch.append(frame)
    }
}

/// Adds objects to a store, one after the other. See [`Store::writer`].
pub struct StoreWriter {
    sink: Sink,
}

impl Store {
    /// Starts adding objects. Nothing is promised before [`StoreWriter::commit`].
    pub fn writer(&self) -> Result<StoreWriter> {
        Ok(StoreWriter { sink: Sink::new(&Batch::start(self, Effort::Fast, true))? })
    }
}

impl StoreWriter {
    /// Stores one chunk under the hash of its bytes.
    pub fn put_chunk(&mut self, bytes: &[u8]) -> Result<ChunkId> {
        let id = ChunkId::of(bytes);
        self.sink.put_chunk(id, bytes).map(|()| id)
    }

    /// Stores a directory node. That its children exist is the caller's to know.
    pub fn put_tree(&mut self, tree: &Tree) -> Result<TreeId> {
        self.sink.put_tree(tree)
    }

    /// Stores a node of modification times.
    pub fn put_times(&mut self, times: &TimesNode) -> Result<TimesId> {
        self.sink.put_times(times)
    }

    /// Stores a root node.
    pub fn put_root(&mut self, root: &RootNode) -> Result<RootId> {
        self.sink.put_root(root)
    }

    /// Whether the chunk is in the store or was put through this writer.
    pub fn has_chunk(&self, id: ChunkId) -> bool {
        let key = id.into();
        locked(&self.sink.batch.pending).contains(&key) || self.sink.store().contains(key)
    }

    /// Starts a file of which the chunks come one after the other. The only way to record how a
    /// file is cut, because it hashes the whole file itself.
    pub fn assemble_file(&mut self) -> FileAssembler<'_> {
        FileAssembler { writer: self, hasher: blake3::Hasher::new(), chunks: Vec::new(), size: 0 }
    }

    /// Writes out what is gathered, syncs it and makes it findable. Durable when it returns.
    pub fn commit(mut self) -> Result<Written> {
        self.sink.flush()?;
        self.sink.batch.finish()
    }

    fn read_chunk(&mut self, id: ChunkId) -> Result<Vec<u8>> {
        let key = id.into();
        match self.sink.store().get(key) {
            Ok(bytes) => return Ok(bytes.to_vec()),
            Err(Error::Missing(_)) => {}
            Err(error) => return Err(error),
        }
        if locked(&self.sink.batch.pending).contains(&key) {
            self.sink.flush_payload()?;
        }
        let open = match &*locked(&self.sink.batch.open) {
            Some(pack) => pack.read(&key)?,
            None => None,
        };
        match open {
            Some(bytes) => Ok(bytes),
            // Its pack is full, and being published.
            None => {
                self.sink.batch.wait_for_background()?;
                self.sink.store().get(key).map(|bytes| bytes.to_vec())
            }
        }
    }
}

/// A file that arrives in chunks from someone who is not trusted about its hash.
pub struct FileAssembler<'w> {
    writer: &'w mut StoreWriter,
    hasher: blake3::Hasher,
    chunks: Vec<ChunkRef>,
    size: u64,
}

impl FileAssembler<'_> {
    /// Appends a chunk that was sent, and stores it. Empty chunks are ignored.
    pub fn push_chunk(&mut self, bytes: &[u8]) -> Result<ChunkId> {
        let id = self.writer.put_chunk(bytes)?;
        self.append(id, bytes);
        Ok(id)
    }

    /// Appends a chunk that is stored already or was put through the same writer. Whether the
    /// sender may refer to it is the caller's to decide. Answers its length.
    pub fn push_existing(&mut self, id: ChunkId) -> Result<u64> {
        let bytes = self.writer.read_chunk(id)?;
        self.append(id, &bytes);
        Ok(bytes.len() as u64)
    }

    /// Bytes appended so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn append(&mut self, id: ChunkId, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.hasher.update(bytes);
            self.chunks.push(ChunkRef { id, len: bytes.len() as u64 });
            self.size += bytes.len() as u64;
        }
    }

    /// Records the file if its bytes have the hash that was promised; its size is answered.
    pub fn finish(self, expected: FileId) -> Result<u64> {
        let found = FileId::from_bytes(*self.hasher.finalize().as_bytes());
        if found != expected {
            return Err(Error::FileMismatch { expected, found });
        }
        if self.chunks.len() > 1 {
            let list = ChunkList { file: found, chunks: self.chunks };
            self.writer.sink.put_chunk_list(&list)?;
        }
        Ok(self.size)
    }
}
