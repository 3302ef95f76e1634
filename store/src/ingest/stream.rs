//! Bytes to chunks: cut, hashed and handed to a sink as they come.

use std::io::{self, Read};

use pyro_format::{ChunkId, ChunkList, ChunkRef, FileId, MAX_CHUNK, cut};

use crate::error::Error;
use crate::writer::Sink;

/// Room for several chunks, so that little is moved to the front between reads.
const BUFFER: usize = 4 * MAX_CHUNK;

/// Why a stream could not be stored.
pub(super) enum StreamError {
    /// The input failed.
    Input(io::Error),
    /// The store failed.
    Store(Error),
}

impl From<Error> for StreamError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// One thread's buffer for reading files.
pub(super) struct Cutter {
    buffer: Vec<u8>,
}

impl Cutter {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; BUFFER] }
    }

    /// Stores everything `input` yields as one file. `advanced` is told the length of each chunk.
    pub(super) fn store(
        &mut self,
        sink: &mut Sink,
        input: &mut dyn Read,
        mut advanced: impl FnMut(u64) -> Result<(), Error>,
    ) -> Result<(FileId, u64), StreamError> {
        let mut whole = blake3::Hasher::new();
        let mut chunks: Vec<ChunkRef> = Vec::new();
        let (mut start, mut end, mut ended, mut size) = (0, 0, false, 0u64);
        loop {
            while !ended && end - start < MAX_CHUNK {
                if self.buffer.len() - start < MAX_CHUNK || end == self.buffer.len() {
                    self.buffer.copy_within(start..end, 0);
                    (start, end) = (0, end - start);
                }
                match input.read(&mut self.buffer[end..]) {
                    Ok(0) => ended = true,
                    Ok(len) => end += len,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(StreamError::Input(error)),
                }
            }
            let window = &self.buffer[start..end.min(start + MAX_CHUNK)];
            if window.is_empty() {
                break;
            }
            let chunk = &window[..cut(window)];
            let id = ChunkId::of(chunk);
            sink.put_chunk(id, chunk)?;
            start += chunk.len();
            size += chunk.len() as u64;
            advanced(chunk.len() as u64)?;
            if chunks.is_empty() && ended && start == end {
                // The only chunk: the file's hash is the chunk's.
                return Ok((FileId::from_bytes(*id.as_bytes()), size));
            }
            whole.update(chunk);
            chunks.push(ChunkRef { id, len: chunk.len() as u64 });
        }
        let file = FileId::from_bytes(*whole.finalize().as_bytes());
        if chunks.len() > 1 {
            sink.put_chunk_list(&ChunkList { file, chunks })?;
        }
        Ok((file, size))
    }
}
