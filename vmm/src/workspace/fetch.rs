//! Bringing content from the guest into the store: only what is not accounted for, and only what
//! has the hash that was claimed.
//!
//! ```text
//! accounted and stored ─▶ nothing crosses
//! up to 1 MiB          ─▶ Read whole
//! larger               ─▶ Cut: the guest names its chunks; Read those that are not accounted for
//! ```

use std::collections::HashSet;

use pyro_format::{ChunkId, Delta, FileId, MAX_CHUNK, MIN_CHUNK, Node, TreePath};
use pyro_proto::{Call, FileChunks, Piece, Reply};
use pyro_store::{FileAssembler, Store, StoreWriter};
use tokio::sync::mpsc;

use super::Workspace;
use super::merge::ReportedFile;
use crate::error::{Error, Result};
use crate::guest::link::{Conversation, GuestError};

/// Largest file that is read whole, in bytes: below this, asking for its cuts costs more than it saves.
const WHOLE: u64 = 1 << 20;
/// Files and pieces in one call.
const BATCH: usize = 1024;
/// Bytes of content from which on it pays to find out all that is accounted for.
const WORTH_ACCOUNTING: u64 = 1 << 20;
/// Messages in flight between the wire and the store.
const IN_FLIGHT: usize = 8;

/// What a fetch brought.
#[derive(Debug, Default)]
pub struct FetchOutcome {
    /// Bytes of content that crossed.
    pub bytes: u64,
    /// Files that no longer have the content they were said to have.
    pub unsteady: Vec<TreePath>,
}

/// A file to be put together, part by part.
enum Part {
    Begin(ReportedFile),
    /// A chunk that the host has and the guest may refer to.
    Existing(ChunkId),
    /// A chunk that must have come earlier in this fetch.
    Repeated(ChunkId),
    /// A chunk that begins here: what it was said to be, and how many bytes it has.
    Chunk(ChunkId, usize),
    Data(Vec<u8>),
    /// The file cannot be read (any more).
    Broken,
    End,
}

/// Where a chunk comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Host,
    Guest,
    Earlier,
}

impl Workspace {
    /// Makes the store hold the content of these files, which are among those that `changes` from
    /// the baseline bring.
    pub async fn fetch(&self, files: Vec<ReportedFile>, changes: &[Delta]) -> Result<FetchOutcome> {
        // What the baseline had at a changed path: the sources of moves.
        let before: HashSet<FileId> = changes.iter().filter_map(|c| content(&c.old)).collect();
        let mut seen = HashSet::new();
        let mut wanted: Vec<_> = files.into_iter().filter(|f| seen.insert(f.content)).collect();
        wanted.retain(|file| !before.contains(&file.content));
        let mut accounted = self.accounted.lock().await;
        if wanted.iter().map(|file| file.size).sum::<u64>() >= WORTH_ACCOUNTING {
            let (record, store) = (self.record(), self.store.clone());
            let mut set = std::mem::take(&mut *accounted);
            let added = tokio::task::spawn_blocking(move || {
                let roots = record.whole_trees().map(|tree| tree.id);
                let roots = roots.chain(record.accounted.iter().copied());
                let added = set.add_roots(&store, roots);
                (set, added)
            });
            let (set, added) = added.await.map_err(|panic| Error::Panicked(panic.to_string()))?;
            *accounted = set;
            added?;
        }
        let mut stored = Vec::new();
        for file in wanted.drain(..) {
            let believed = accounted.has_file(file.content);
            if !(believed && self.store.has_file(file.content, file.size)?) {
                stored.push(file);
            }
        }
        let (whole, large): (Vec<_>, Vec<_>) = stored.into_iter().partition(|f| f.size <= WHOLE);
        if whole.is_empty() && large.is_empty() {
            return Ok(FetchOutcome::default());
        }

        let (parts, queue) = mpsc::channel(IN_FLIGHT);
        let store = self.store.clone();
        let assembling = tokio::task::spawn_blocking(move || assemble(&store, queue));
        let mut sent = 0;
        let sending = async {
            for batch in whole.chunks(BATCH) {
                sent += self.send_whole(batch, &parts).await?;
            }
            for batch in large.chunks(BATCH) {
                sent += self.send_cut(batch, &accounted, &parts).await?;
            }
            Ok::<_, Error>(())
        };
        let sending = sending.await;
        drop(parts);
        let assembled = assembling.await.map_err(|panic| Error::Panicked(panic.to_string()))?;
        // The store's error explains why nobody took the parts any more.
        let (verified, unsteady) = assembled?;
        sending?;
        for file in verified {
            accounted.add_file(&self.store, file.content, file.size)?;
        }
        Ok(FetchOutcome { bytes: sent, unsteady })
    }

    async fn send_whole(&self, files: &[ReportedFile], parts: &mpsc::Sender<Part>) -> Result<u64> {
        let piece =
            |file: &ReportedFile| Piece { path: file.path.clone(), offset: 0, len: file.size };
        let call = Call::Read { pieces: files.iter().map(piece).collect() };
        let mut conversation = Conversation::open(&self.machine, &call).await?;
        let mut bytes = 0;
        for file in files {
            put(parts, Part::Begin(file.clone())).await?;
            let read = pass_on(&mut conversation, file.size, parts).await?;
            bytes += read;
            put(parts, if read == file.size { Part::End } else { Part::Broken }).await?;
        }
        conversation.done().await?;
        Ok(bytes)
    }

    async fn send_cut(
        &self,
        files: &[ReportedFile],
        accounted: &super::accounted::Accounted,
        parts: &mpsc::Sender<Part>,
    ) -> Result<u64> {
        let mut cuts = Vec::new();
        let call = Call::Cut { paths: files.iter().map(|file| file.path.clone()).collect() };
        let mut conversation = Conversation::open(&self.machine, &call).await?;
        for file in files {
            cuts.push(match conversation.next().await? {
                Reply::Chunks(cut) => Some(cut).filter(|cut| fits(cut, file)),
                Reply::Unreadable { .. } => None,
                _ => return Err(GuestError::Unexpected.into()),
            });
        }
        let mut bytes = 0;
        // Chunks that repeat, as the zeroes of a sparse file do, cross once.
        let mut sent = HashSet::new();
        for (file, cut) in files.iter().zip(cuts) {
            put(parts, Part::Begin(file.clone())).await?;
            let done = match cut {
                Some(cut) => {
                    let origin = |id: ChunkId| {
                        if accounted.has_chunk(id) && self.store.has_chunk(id) {
                            Origin::Host
                        } else if sent.insert(id) {
                            Origin::Guest
                        } else {
                            Origin::Earlier
                        }
                    };
                    let origins: Vec<_> = cut.chunks.iter().map(|c| c.0).map(origin).collect();
                    let (read, whole) = self.send_chunks(file, &cut, &origins, parts).await?;
                    bytes += read;
                    whole
                }
                None => false,
            };
            put(parts, if done { Part::End } else { Part::Broken }).await?;
        }
        Ok(bytes)
    }

    /// Sends one file's parts, each chunk from where it comes; the bytes that crossed, and
    /// whether it could be read to its end.
    async fn send_chunks(
        &self,
        file: &ReportedFile,
        cut: &FileChunks,
        origins: &[Origin],
        parts: &mpsc::Sender<Part>,
    ) -> Result<(u64, bool)> {
        let (mut pieces, mut offset) = (Vec::new(), 0);
        for ((_, len), origin) in cut.chunks.iter().zip(origins) {
            let len = u64::from(*len);
            if *origin == Origin::Guest {
                pieces.push(Piece { path: file.path.clone(), offset, len });
            }
            offset += len;
        }
        let call = Call::Read { pieces };
        let mut conversation = Conversation::open(&self.machine, &call).await?;
        let mut bytes = 0;
        for ((id, len), origin) in cut.chunks.iter().zip(origins) {
            match origin {
                Origin::Host => {
                    put(parts, Part::Existing(*id)).await?;
                    continue;
                }
                Origin::Earlier => {
                    put(parts, Part::Repeated(*id)).await?;
                    continue;
                }
                Origin::Guest => {}
            }
            put(parts, Part::Chunk(*id, *len as usize)).await?;
            let read = pass_on(&mut conversation, u64::from(*len), parts).await?;
            bytes += read;
            if read < u64::from(*len) {
                return Ok((bytes, false));
            }
        }
        conversation.done().await?;
        Ok((bytes, true))
    }
}

fn content(node: &Option<Node>) -> Option<FileId> {
    match node {
        Some(Node::File { content, .. }) => Some(*content),
        _ => None,
    }
}

/// Whether a claimed cut can be one of this file: bounds keep a guest from filling the index.
fn fits(cut: &FileChunks, file: &ReportedFile) -> bool {
    let size: u64 = cut.chunks.iter().map(|(_, len)| u64::from(*len)).sum();
    let bodies = &cut.chunks[..cut.chunks.len().saturating_sub(1)];
    cut.content == file.content
        && cut.size == file.size
        && size == file.size
        && cut.chunks.iter().all(|(_, len)| (1..=MAX_CHUNK).contains(&(*len as usize)))
        && bodies.iter().all(|(_, len)| *len as usize >= MIN_CHUNK)
}

async fn put(parts: &mpsc::Sender<Part>, part: Part) -> Result<()> {
    parts.send(part).await.map_err(|_| Error::Panicked("the store stopped".to_owned()))
}

/// Passes one piece's data on; the bytes that came, fewer than `len` if it cannot be read.
async fn pass_on(
    conversation: &mut Conversation,
    len: u64,
    parts: &mpsc::Sender<Part>,
) -> Result<u64> {
    let mut read = 0;
    while read < len {
        match conversation.next().await? {
            Reply::Data(data) if !data.is_empty() && data.len() as u64 <= len - read => {
                read += data.len() as u64;
                put(parts, Part::Data(data)).await?;
            }
            Reply::Unreadable { .. } => break,
            _ => return Err(GuestError::Unexpected.into()),
        }
    }
    Ok(read)
}

/// Puts files together from their parts, verifies them and makes them durable. The files that
/// are right, and those that are not what they were said to be.
fn assemble(
    store: &Store,
    mut parts: mpsc::Receiver<Part>,
) -> Result<(Vec<ReportedFile>, Vec<TreePath>)> {
    let mut writer = store.writer()?;
    let (mut verified, mut unsteady) = (Vec::new(), Vec::new());
    let mut came = HashSet::new();
    while let Some(part) = parts.blocking_recv() {
        let Part::Begin(file) = part else { continue };
        if assemble_one(&mut writer, &file, &mut parts, &mut came)? {
            verified.push(file);
        } else {
            unsteady.push(file.path);
        }
    }
    writer.commit()?;
    Ok((verified, unsteady))
}

fn assemble_one(
    writer: &mut StoreWriter,
    file: &ReportedFile,
    parts: &mut mpsc::Receiver<Part>,
    came: &mut HashSet<ChunkId>,
) -> Result<bool> {
    let mut assembler = writer.assemble_file();
    let mut pending = Vec::new();
    // Bytes of the chunk being received; none while the host cuts the file itself.
    let mut given = None;
    loop {
        match parts.blocking_recv() {
            // That the store has it proves nothing: it may be another workspace's.
            Some(Part::Repeated(id)) if !came.contains(&id) => return Ok(false),
            Some(Part::Existing(id) | Part::Repeated(id)) => {
                assembler.push_existing(id)?;
            }
            Some(Part::Chunk(id, len)) => given = Some((id, len)),
            Some(Part::Data(data)) => {
                pending.extend_from_slice(&data);
                match given {
                    Some((id, len)) if pending.len() == len => {
                        if assembler.push_chunk(&pending)? != id {
                            return Ok(false);
                        }
                        came.insert(id);
                        pending.clear();
                    }
                    Some(_) => {}
                    None => push_cut(&mut assembler, &mut pending, MAX_CHUNK)?,
                }
            }
            Some(Part::End) => break,
            Some(Part::Broken | Part::Begin(_)) | None => return Ok(false),
        }
    }
    push_cut(&mut assembler, &mut pending, 1)?;
    match assembler.finish(file.content) {
        Ok(size) => Ok(size == file.size),
        Err(pyro_store::Error::FileMismatch { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Cuts `pending` into chunks while it holds at least `least` bytes.
fn push_cut(
    assembler: &mut FileAssembler<'_>,
    pending: &mut Vec<u8>,
    least: usize,
) -> Result<(), pyro_store::Error> {
    let mut start = 0;
    while pending.len() - start >= least {
        let window = &pending[start..pending.len().min(start + MAX_CHUNK)];
        let len = pyro_format::cut(window);
        assembler.push_chunk(&window[..len])?;
        start += len;
    }
    pending.drain(..start);
    Ok(())
}

#[cfg(test)]
mod tests {
    use pyro_store::StoreOptions;

    use super::*;

    /// A guest that knows the ids of somebody else's content names them without having it.
    #[test]
    fn a_chunk_that_never_came_is_not_taken_from_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let secret = b"somebody else's".to_vec();
        let mut writer = store.writer().unwrap();
        let id = writer.put_chunk(&secret).unwrap();
        writer.commit().unwrap();

        let file = |name: &str, content: &[u8]| ReportedFile {
            path: TreePath::parse(name.as_bytes()).unwrap(),
            size: content.len() as u64,
            content: FileId::of(content),
        };
        let (wrong, stolen) = (file("wrong", b"anything"), file("stolen", &secret));
        let (sender, receiver) = mpsc::channel(16);
        for part in [
            Part::Begin(wrong.clone()),
            Part::Chunk(id, secret.len()),
            Part::Data(vec![0; secret.len()]),
            Part::End,
            Part::Begin(stolen.clone()),
            Part::Repeated(id),
            Part::End,
        ] {
            sender.try_send(part).ok().unwrap();
        }
        drop(sender);
        let (verified, unsteady) = assemble(&store, receiver).unwrap();
        assert_eq!(verified, []);
        assert_eq!(unsteady, [wrong.path, stolen.path]);
    }

    #[test]
    fn a_chunk_that_came_serves_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let half = vec![7; MIN_CHUNK];
        let whole = [half.clone(), half.clone()].concat();
        let id = ChunkId::of(&half);
        let file = ReportedFile {
            path: TreePath::parse(b"f").unwrap(),
            size: whole.len() as u64,
            content: FileId::of(&whole),
        };
        let (sender, receiver) = mpsc::channel(16);
        let begin = Part::Begin(file.clone());
        let chunk = Part::Chunk(id, half.len());
        for part in [begin, chunk, Part::Data(half), Part::Repeated(id), Part::End] {
            sender.try_send(part).ok().unwrap();
        }
        drop(sender);
        assert_eq!(assemble(&store, receiver).unwrap(), (vec![file], vec![]));
    }
}
