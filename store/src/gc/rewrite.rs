//! Writing again what is needed of some packs.
//!
//! Content and nodes go to packs of their own. Nodes are sorted by where they stand in their trees,
//! so that the versions of a directory, which share most of their ids, are compressed together.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::GcOptions;
use super::plan::Plan;
use crate::error::{IoContext, Result};
use crate::index::Candidate;
use crate::object::{Kind, ObjectKey};
use crate::pack::{Effort, EncodedFrame, Frame, Pack, Record, decode_frame};
use crate::progress::{self, Progress};
use crate::reach::Reach;
use crate::store::{Store, locked};
use crate::writer::{Batch, Sink};

/// Bytes of nodes that are sorted together.
const SORTED: usize = 8 << 20;

/// What was written.
pub(super) struct Rewritten {
    /// Packs of which everything needed is elsewhere now.
    pub(super) copied: Vec<u32>,
    /// Bytes of the new packs.
    pub(super) bytes: u64,
}

struct Rewrite<'a> {
    store: &'a Store,
    plan: &'a Plan,
    reach: &'a Reach<'a>,
    dense: bool,
    /// Nodes that wait to be sorted.
    nodes: Mutex<Nodes>,
    copied: Mutex<Vec<u32>>,
}

#[derive(Default)]
struct Nodes {
    waiting: Vec<(u32, ObjectKey, Vec<u8>)>,
    bytes: usize,
}

/// Writes what is needed of the packs of a group. Durable and findable when it returns.
pub(super) fn rewrite(
    store: &Store,
    plan: &Plan,
    group: &[u32],
    reach: &Reach<'_>,
    options: &GcOptions,
    progress: &dyn Progress,
) -> Result<Rewritten> {
    let effort = if options.dense { Effort::Dense } else { Effort::Fast };
    let (contents, nodes) = (Batch::with_effort(store, effort), Batch::with_effort(store, effort));
    let rewrite = Rewrite {
        store,
        plan,
        reach,
        dense: options.dense,
        nodes: Mutex::default(),
        copied: Mutex::default(),
    };
    let mut node_sink = Sink::new(&nodes)?;
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        if options.background {
            // Of this thread alone: on Linux a thread has a priority of its own (setpriority(2)).
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
        }
        let mut sink = Sink::new(&contents)?;
        while let Some(number) = group.get(next.fetch_add(1, Ordering::Relaxed)) {
            rewrite.pack(*number, &mut sink, progress)?;
        }
        sink.flush()
    };
    std::thread::scope(|scope| {
        let threads = options.threads.clamp(1, group.len().max(1));
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    let mut waiting = std::mem::take(&mut locked(&rewrite.nodes).waiting);
    waiting.sort_unstable_by_key(|(order, key, _)| (*order, key.kind));
    for (_, key, bytes) in waiting {
        node_sink.put_again(key, &bytes)?;
    }
    node_sink.flush()?;
    let bytes = contents.finish()?.stored_bytes + nodes.finish()?.stored_bytes;
    Ok(Rewritten { copied: locked(&rewrite.copied).clone(), bytes })
}

impl Rewrite<'_> {
    /// Copies what is needed of a pack. One of which something cannot be read is left as it is.
    fn pack(&self, number: u32, sink: &mut Sink, progress: &dyn Progress) -> Result<()> {
        let Some(pack) = self.plan.pack(number) else { return Ok(()) };
        let footer = self.store.shared.footer(number, pack).at("read", &pack.path)?;
        let mut frames: BTreeMap<u32, Vec<(u32, Record)>> = BTreeMap::new();
        let mut counts = vec![0u32; footer.frames.len()];
        for (at, record) in footer.records.iter().enumerate() {
            if let Some(count) = counts.get_mut(record.frame as usize) {
                *count += 1;
            }
            if self.plan.copy.get(number, at as u32) {
                frames.entry(record.frame).or_default().push((at as u32, *record));
            }
        }
        let mut sound = true;
        for (frame, mut records) in frames {
            progress::check(progress)?;
            records.sort_unstable_by_key(|(_, record)| record.offset);
            let whole = counts.get(frame as usize) == Some(&(records.len() as u32));
            let line = footer.frames.get(frame as usize);
            let copied = match line {
                Some(line) => self.frame(pack, number, line, &records, whole, sink)?,
                None => false,
            };
            sound &= copied;
            let bytes = records.iter().map(|(_, record)| u64::from(record.len)).sum();
            progress.advance(records.len() as u64, bytes);
        }
        if sound {
            locked(&self.copied).push(number);
        }
        Ok(())
    }

    /// Copies objects of one frame; whether all of them are sound.
    fn frame(
        &self,
        pack: &std::sync::Arc<Pack>,
        number: u32,
        line: &Frame,
        records: &[(u32, Record)],
        whole: bool,
        sink: &mut Sink,
    ) -> Result<bool> {
        let file = self.store.shared.file(number, pack);
        let stored = file.and_then(|file| pack.stored(&file, line));
        let raw = match stored.as_ref().map(|stored| decode_frame(line, stored.clone())) {
            Ok(Ok(raw)) => raw,
            _ => Vec::new(),
        };
        let mut sound = true;
        for (at, record) in records {
            let bytes =
                raw.get(record.offset as usize..).and_then(|r| r.get(..record.len as usize));
            if !bytes.is_some_and(|bytes| record.key.matches(bytes)) {
                let (pack, record) = (pack.clone(), *at);
                self.store.shared.note_damage(&Candidate { number, pack, record })?;
                sound = false;
            }
        }
        if !sound {
            return Ok(false);
        }
        let is_content = |(_, record): &(u32, Record)| record.key.kind == Kind::Chunk;
        // As small as it gets already.
        let finished = pack.effort == Effort::Dense || !self.dense;
        if let Ok(stored) = stored
            && whole
            && finished
            && records.iter().all(is_content)
        {
            let objects = records.iter().map(|(_, r)| (r.key, r.offset, r.len)).collect();
            sink.put_frame(EncodedFrame::copied(stored, line, objects))?;
            return Ok(true);
        }
        for (at, record) in records {
            let bytes = &raw[record.offset as usize..][..record.len as usize];
            if record.key.kind == Kind::Chunk {
                sink.put_again(record.key, bytes)?;
            } else {
                self.node(self.reach.order(number, *at), record.key, bytes.to_vec(), sink)?;
            }
        }
        Ok(true)
    }

    fn node(&self, order: u32, key: ObjectKey, bytes: Vec<u8>, sink: &mut Sink) -> Result<()> {
        let full = {
            let mut nodes = locked(&self.nodes);
            nodes.bytes += bytes.len();
            nodes.waiting.push((order, key, bytes));
            (nodes.bytes >= SORTED).then(|| std::mem::take(&mut *nodes).waiting)
        };
        // Too many to wait for the rest.
        let mut full = full.unwrap_or_default();
        full.sort_unstable_by_key(|(order, key, _)| (*order, key.kind));
        full.into_iter().try_for_each(|(_, key, bytes)| sink.put_again(key, &bytes))
    }
}
