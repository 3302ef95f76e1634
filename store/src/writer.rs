//! Adding objects: what is new goes into frames and packs, what is known is only counted.
//!
//! A [`StoreWriter`] is a transaction without rollback: nothing it stored is promised before
//! [`commit`](StoreWriter::commit) returns, and what an abandoned writer left is garbage that no
//! record reaches.

mod batch;
mod sink;

use pyro_format::{
    ChunkId, ChunkList, ChunkRef, FileId, RootId, RootNode, TimesId, TimesNode, Tree, TreeId,
};

pub(crate) use batch::Batch;
pub(crate) use sink::Sink;

use crate::error::{Error, Result};
use crate::pack::Effort;
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
