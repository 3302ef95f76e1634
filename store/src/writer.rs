//! Adding objects: what is new goes into frames and packs, what is known is only counted.
//!
//! A [`StoreWriter`] is a transaction without rollback: nothing it stored is promised before
//! [`commit`](StoreWriter::commit) returns, and what an abandoned writer left is garbage that no
//! record reaches.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pyro_format::{
    ChunkId, ChunkList, ChunkRef, FileId, RootId, RootNode, TimesId, TimesNode, Tree, TreeId,
};

use crate::error::{Error, IoContext, Result};
use crate::object::ObjectKey;
use crate::pack::{EncodedFrame, FrameBuilder, OpenPack};
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
    /// Objects taken on but not yet findable through the index.
    pending: Mutex<HashSet<ObjectKey>>,
    open: Mutex<Option<OpenPack>>,
    chunks: AtomicU64,
    chunk_bytes: AtomicU64,
    nodes: AtomicU64,
    stored_bytes: AtomicU64,
}

impl Batch {
    pub(crate) fn new(store: &Store) -> Arc<Self> {
        Arc::new(Self {
            store: store.clone(),
            pending: Mutex::default(),
            open: Mutex::default(),
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

    fn append(&self, frame: Option<EncodedFrame>) -> Result<()> {
        let Some(frame) = frame else { return Ok(()) };
        let full = {
            let mut open = locked(&self.open);
            let pack = match &mut *open {
                Some(pack) => pack,
                empty => empty.insert(OpenPack::create(&self.store.shared.packs_dir())?),
            };
            if pack.append(frame, self.store.shared.options.pack_bytes)? {
                open.take()
            } else {
                None
            }
        };
        full.map_or(Ok(()), |pack| self.seal(pack))
    }

    /// Outside the lock: other threads go on with the next pack while this one is synced.
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

/// One thread's way into a batch: content and nodes gather in frames of their own, so that a walk
/// over the nodes reads no content.
pub(crate) struct Sink {
    batch: Arc<Batch>,
    payload: FrameBuilder,
    nodes: FrameBuilder,
}

impl Sink {
    pub(crate) fn new(batch: &Arc<Batch>) -> Result<Self> {
        let level = batch.store.shared.options.compression_level;
        let builder = || FrameBuilder::new(level).at("start compression for", batch.store.dir());
        Ok(Self { batch: batch.clone(), payload: builder()?, nodes: builder()? })
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
        Ok(StoreWriter { sink: Sink::new(&Batch::new(self))? })
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
        match &*locked(&self.sink.batch.open) {
            Some(pack) => pack.read(&key)?.ok_or(Error::Missing(key)),
            // The flush may have filled the pack and published it.
            None => self.sink.store().get(key).map(|bytes| bytes.to_vec()),
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
