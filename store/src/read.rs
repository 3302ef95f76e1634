//! Reading nodes and files.

use std::io::{self, Read};
use std::sync::Arc;

use pyro_format::{
    BaselineKey, ChunkId, ChunkList, ChunkRef, DecodeError, FileId, RootId, RootNode, SMALL_FILE,
    TimesId, TimesNode, Tree, TreeId, TreeSource,
};

use crate::error::{Error, Result};
use crate::object::{ObjectBytes, ObjectKey};
use crate::store::{Store, locked};

/// The chunks of a file and where each begins.
#[derive(Debug)]
pub(crate) struct FileLayout {
    pub(crate) chunks: Vec<ChunkRef>,
    starts: Vec<u64>,
    size: u64,
}

impl FileLayout {
    fn new(chunks: Vec<ChunkRef>) -> Self {
        let mut size = 0;
        let mut starts = Vec::with_capacity(chunks.len());
        for chunk in &chunks {
            starts.push(size);
            size += chunk.len;
        }
        Self { chunks, starts, size }
    }
}

impl Store {
    /// The directory node with this id.
    pub fn get_tree(&self, id: TreeId) -> Result<Arc<Tree>> {
        if let Some(tree) = locked(&self.shared.trees).get(&id) {
            return Ok(tree);
        }
        let tree = Arc::new(self.decode(id.into(), Tree::decode)?);
        locked(&self.shared.trees).insert(id, tree.clone(), tree.entries().len() + 1);
        Ok(tree)
    }

    /// The node of modification times with this id.
    pub fn get_times(&self, id: TimesId) -> Result<TimesNode> {
        self.decode(id.into(), TimesNode::decode)
    }

    /// The root node with this id.
    pub fn get_root(&self, id: RootId) -> Result<RootNode> {
        self.decode(id.into(), RootNode::decode)
    }

    /// The root node of a baseline.
    pub fn root_of(&self, key: &BaselineKey) -> Result<RootNode> {
        self.get_root(key.root)
    }

    fn decode<T>(
        &self,
        key: ObjectKey,
        decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<T> {
        let bytes = self.get(key)?;
        decode(&bytes).map_err(|source| Error::Decode { key, source })
    }

    /// Whether the chunk is stored.
    pub fn has_chunk(&self, id: ChunkId) -> bool {
        self.contains(id)
    }

    /// Whether every chunk of a file of `size` bytes is stored. Reads chunk lists, no content.
    pub fn has_file(&self, file: FileId, size: u64) -> Result<bool> {
        if size == 0 {
            return Ok(file == FileId::of(b""));
        }
        match self.layout(file, size) {
            Ok(layout) => Ok(layout.chunks.iter().all(|chunk| self.has_chunk(chunk.id))),
            Err(Error::Missing(_) | Error::SizeMismatch { .. } | Error::Damaged { .. }) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The chunks of a file of `size` bytes, in order; none for an empty file.
    pub fn chunks_of(&self, file: FileId, size: u64) -> Result<Vec<ChunkRef>> {
        self.layout(file, size).map(|layout| layout.chunks.clone())
    }

    pub(crate) fn layout(&self, file: FileId, size: u64) -> Result<Arc<FileLayout>> {
        let sole =
            || Arc::new(FileLayout::new(vec![ChunkRef { id: file.sole_chunk(), len: size }]));
        if size == 0 {
            return Ok(Arc::new(FileLayout::new(Vec::new())));
        }
        if size <= SMALL_FILE as u64 && self.has_chunk(file.sole_chunk()) {
            return Ok(sole());
        }
        if let Some(layout) = locked(&self.shared.layouts).get(&file) {
            return check_size(file, size, layout);
        }
        match self.chunk_list(file)? {
            Some(list) => {
                let layout = Arc::new(FileLayout::new(list.chunks));
                if layout.chunks.iter().all(|chunk| self.has_chunk(chunk.id)) {
                    let weight = layout.chunks.len();
                    locked(&self.shared.layouts).insert(file, layout.clone(), weight);
                }
                check_size(file, size, layout)
            }
            None if self.has_chunk(file.sole_chunk()) => Ok(sole()),
            // If it is there but damaged, that is the error.
            None => self.get(file.sole_chunk()).map(|_| sole()),
        }
    }

    /// The list of a file's chunks, if there is one. Of several (see `Sink::put_chunk_list`) the
    /// one whose chunks are all stored.
    fn chunk_list(&self, file: FileId) -> Result<Option<ChunkList>> {
        let key = ObjectKey::from(file);
        let mut best = None;
        for copy in self.copies(key) {
            let list = copy.and_then(|bytes| {
                ChunkList::decode(&bytes).map_err(|source| Error::Decode { key, source })
            });
            match (list, &best) {
                (Ok(list), Some(Ok(_))) => {
                    if list.chunks.iter().all(|chunk| self.has_chunk(chunk.id)) {
                        return Ok(Some(list));
                    }
                }
                (Ok(list), _) => best = Some(Ok(list)),
                (Err(error), None) => best = Some(Err(error)),
                (Err(_), Some(_)) => {}
            }
        }
        // With one copy there is no choice; with more, the first may be the complete one.
        best.transpose()
    }

    /// Up to `len` bytes of a file from `offset`; fewer only at its end.
    pub fn read_file_range(
        &self,
        file: FileId,
        size: u64,
        offset: u64,
        len: usize,
    ) -> Result<Vec<u8>> {
        let layout = self.layout(file, size)?;
        let end = offset.saturating_add(len as u64).min(layout.size);
        let mut out = Vec::new();
        if offset >= end {
            return Ok(out);
        }
        let first = layout.starts.partition_point(|start| *start <= offset) - 1;
        for (chunk, start) in layout.chunks[first..].iter().zip(&layout.starts[first..]) {
            if *start >= end {
                break;
            }
            let bytes = self.read_chunk(file, size, chunk)?;
            let from = offset.saturating_sub(*start) as usize;
            let to = ((end - start) as usize).min(bytes.len());
            out.extend_from_slice(&bytes[from..to]);
        }
        Ok(out)
    }

    /// A chunk of a file, its length checked against the file's layout.
    pub(crate) fn read_chunk(
        &self,
        file: FileId,
        size: u64,
        chunk: &ChunkRef,
    ) -> Result<ObjectBytes> {
        let bytes = self.get(chunk.id)?;
        if bytes.len() as u64 != chunk.len {
            let found = size - chunk.len + bytes.len() as u64;
            return Err(Error::SizeMismatch { file, expected: size, found });
        }
        Ok(bytes)
    }

    /// A reader over a whole file; every chunk is verified as it is read.
    pub fn open_file(&self, file: FileId, size: u64) -> Result<FileReader> {
        let layout = self.layout(file, size)?;
        Ok(FileReader { store: self.clone(), file, size, layout, next: 0, current: None, at: 0 })
    }
}

fn check_size(file: FileId, expected: u64, layout: Arc<FileLayout>) -> Result<Arc<FileLayout>> {
    let found = layout.size;
    if found == expected { Ok(layout) } else { Err(Error::SizeMismatch { file, expected, found }) }
}

impl TreeSource for Store {
    type Error = Error;
    fn tree(&self, id: &TreeId) -> Result<Arc<Tree>> {
        self.get_tree(*id)
    }
}

/// Reads a stored file from its start. Errors of the store come wrapped in [`io::Error`].
pub struct FileReader {
    store: Store,
    file: FileId,
    size: u64,
    layout: Arc<FileLayout>,
    next: usize,
    current: Option<ObjectBytes>,
    at: usize,
}

impl FileReader {
    /// Whether the file is one chunk, or none: then its hash is that of what is read.
    pub(crate) fn is_sole_chunk(&self) -> bool {
        match &self.layout.chunks[..] {
            [] => self.file == FileId::of(b""),
            [chunk] => chunk.id == self.file.sole_chunk(),
            _ => false,
        }
    }

    /// The next whole chunk; none at the end. Not to be mixed with [`Read`].
    pub(crate) fn next_chunk(&mut self) -> Result<Option<ObjectBytes>> {
        let Some(chunk) = self.layout.chunks.get(self.next) else { return Ok(None) };
        self.next += 1;
        self.store.read_chunk(self.file, self.size, chunk).map(Some)
    }
}

impl Read for FileReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(chunk) = &self.current {
                let rest = &chunk[self.at..];
                if !rest.is_empty() {
                    let len = rest.len().min(out.len());
                    out[..len].copy_from_slice(&rest[..len]);
                    self.at += len;
                    return Ok(len);
                }
            }
            self.at = 0;
            self.current = self.next_chunk().map_err(io::Error::other)?;
            if self.current.is_none() {
                return Ok(0);
            }
        }
    }
}
