//! How objects get into frames.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyro_format::{ChunkId, ChunkList, RootId, RootNode, TimesId, TimesNode, Tree, TreeId};

use super::batch::Batch;
use crate::error::{IoContext, Result};
use crate::object::{Kind, ObjectKey};
use crate::pack::{CONTENT_FRAME, Effort, EncodedFrame, FrameBuilder, NODE_FRAME};
use crate::store::Store;

/// One thread's way into a batch: content and nodes gather in frames of their own, so that a walk
/// over the nodes reads no content.
pub(crate) struct Sink {
    pub(super) batch: Arc<Batch>,
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

    pub(super) fn flush_payload(&mut self) -> Result<()> {
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
