//! Content that a workspace has shown to the host, or got from it.
//!
//! A guest may name a hash that it does not hold, to learn whether the host does, or to have it put
//! where the guest can read it. So a claimed hash is believed only for content of this workspace's
//! own trees and uploads; everything else crosses the wire, even when the store has it.

use std::collections::HashSet;

use pyro_format::{ChunkId, FileId, Node, RootId, TreeId, TreeSource};
use pyro_store::Store;

/// Files and chunks that are accounted for. Made when first needed; a lost set is made again.
#[derive(Default)]
pub struct Accounted {
    ids: HashSet<[u8; 32]>,
    trees: HashSet<TreeId>,
    roots: HashSet<RootId>,
}

impl Accounted {
    /// Adds everything below these roots. Roots and directories seen before cost nothing.
    pub fn add_roots(
        &mut self,
        store: &Store,
        roots: impl IntoIterator<Item = RootId>,
    ) -> Result<(), pyro_store::Error> {
        for root in roots {
            if self.roots.insert(root)
                && let Err(error) = self.add_tree(store, store.get_root(root)?.tree)
            {
                self.roots.remove(&root);
                return Err(error);
            }
        }
        Ok(())
    }

    fn add_tree(&mut self, store: &Store, top: TreeId) -> Result<(), pyro_store::Error> {
        let nodes = super::nodes::StoredNodes(store);
        let mut stack = vec![top];
        while let Some(id) = stack.pop() {
            if !self.trees.insert(id) {
                continue;
            }
            for entry in nodes.tree(&id)?.entries() {
                match &entry.node {
                    Node::Dir { tree, .. } => stack.push(*tree),
                    Node::File { size, content, .. } => self.add_file(store, *content, *size)?,
                    Node::Symlink { .. } => {}
                }
            }
        }
        Ok(())
    }

    /// Adds a file whose content the host has verified.
    pub fn add_file(
        &mut self,
        store: &Store,
        content: FileId,
        size: u64,
    ) -> Result<(), pyro_store::Error> {
        if self.ids.insert(*content.as_bytes()) && size > pyro_format::SMALL_FILE as u64 {
            let chunks = store.chunks_of(content, size)?;
            self.ids.extend(chunks.iter().map(|chunk| *chunk.id.as_bytes()));
        }
        Ok(())
    }

    /// Whether a claim to hold this file is believed.
    pub fn has_file(&self, content: FileId) -> bool {
        self.ids.contains(content.as_bytes())
    }

    /// Whether a claim to hold this chunk is believed.
    pub fn has_chunk(&self, chunk: ChunkId) -> bool {
        self.ids.contains(chunk.as_bytes())
    }
}
