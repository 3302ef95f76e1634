//! What guests read: directory nodes and file content, by path below a tree that the host chose.
//!
//! A request names a path, never a hash, and carries no state: after a daemon's death the next one
//! answers the same request. Read-ahead: with a directory come directories below it, breadth first,
//! up to 64 nodes and 128 KiB; of content nothing but the range asked for.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyro_format::{Node, TimesId, TimesNode, Tree, TreeId, TreePath};
use pyro_proto::{
    Fetch, FetchBody, Fetched, FetchedBody, HOST_FRAME_LIMIT, MAX_DATA, NodeBytes, PushId, Source,
    encode_frame, read_frame,
};
use pyro_store::Store;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc};

use crate::workspace::merge::TimedTree;

/// Most nodes sent along with those that were asked for.
const AHEAD_NODES: usize = 64;
/// Most bytes of nodes sent along.
const AHEAD_BYTES: usize = 128 * 1024;
/// Most paths in one request.
const MAX_PATHS: usize = 1024;
/// Requests of one guest that are worked on at once.
const WORKERS: usize = 4;
/// Directories whose place in the tree is remembered, for each tree.
const REMEMBERED: usize = 100_000;

/// Errno values of answers (asm-generic/errno-base.h).
mod errno {
    pub const NOENT: i32 = 2;
    pub const IO: i32 = 5;
    pub const NOTDIR: i32 = 20;
    pub const ISDIR: i32 = 21;
    pub const INVAL: i32 = 22;
}

/// What crossed to one guest, in bytes and requests.
#[derive(Debug, Default)]
pub struct Counters {
    /// File content.
    pub content_bytes: AtomicU64,
    /// Directory nodes and times.
    pub tree_bytes: AtomicU64,
    /// Requests answered.
    pub requests: AtomicU64,
}

/// A tree that a guest may read, with the places of its directories.
struct Served {
    tree: TimedTree,
    places: Mutex<HashMap<TreePath, (TreeId, TimesId)>>,
}

/// What one guest may read.
pub struct ContentService {
    store: Store,
    lower: Mutex<Arc<Served>>,
    pushes: Mutex<HashMap<PushId, Arc<Served>>>,
    /// What it has read.
    pub counters: Counters,
}

impl ContentService {
    /// Serves `lower` to one guest.
    pub fn new(store: Store, lower: TimedTree) -> Self {
        Self {
            store,
            lower: Mutex::new(Arc::new(Served::new(lower))),
            pushes: Mutex::default(),
            counters: Counters::default(),
        }
    }

    /// Serves another lower tree from now on: the guest is a new one.
    pub fn set_lower(&self, tree: TimedTree) {
        *self.lower.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Served::new(tree));
    }

    fn lower(&self) -> Arc<Served> {
        self.lower.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves `tree` under this name until the guard is dropped.
    pub fn offer(self: &Arc<Self>, id: PushId, tree: TimedTree) -> Offer {
        self.pushes().insert(id, Arc::new(Served::new(tree)));
        Offer { service: self.clone(), id }
    }

    fn pushes(&self) -> std::sync::MutexGuard<'_, HashMap<PushId, Arc<Served>>> {
        self.pushes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers requests on `stream` until the guest hangs up or sends what is no request.
    pub async fn serve(self: Arc<Self>, stream: UnixStream) {
        let (mut reader, mut writer) = stream.into_split();
        let (answers, mut queue) = mpsc::channel::<Vec<u8>>(WORKERS);
        let writing = tokio::spawn(async move {
            while let Some(frame) = queue.recv().await {
                if writer.write_all(&frame).await.is_err() {
                    break;
                }
            }
        });
        let workers = Arc::new(Semaphore::new(WORKERS));
        while let Ok(Some(fetch)) = read_frame::<Fetch>(&mut reader, HOST_FRAME_LIMIT).await {
            let Ok(permit) = workers.clone().acquire_owned().await else { break };
            if answers.is_closed() {
                break;
            }
            let (service, answers) = (self.clone(), answers.clone());
            tokio::task::spawn_blocking(move || {
                let answer = Fetched { tag: fetch.tag, body: service.answer(&fetch) };
                if let Ok(frame) = encode_frame(&answer) {
                    // Waits while the guest reads slowly; fails once it is gone.
                    let _ = answers.blocking_send(frame);
                }
                drop(permit);
            });
        }
        drop(answers);
        let _ = writing.await;
    }

    fn answer(&self, fetch: &Fetch) -> FetchedBody {
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let served = match fetch.source {
            Source::Lower => Some(self.lower()),
            Source::Push(id) => self.pushes().get(&id).cloned(),
        };
        let Some(served) = served else { return FetchedBody::Error(errno::NOENT) };
        let answer = match &fetch.body {
            FetchBody::Nodes { paths } => self.nodes(&served, paths),
            FetchBody::Range { path, offset, len } => self.range(&served, path, *offset, *len),
        };
        answer.unwrap_or_else(FetchedBody::Error)
    }

    fn nodes(&self, served: &Served, paths: &[TreePath]) -> Result<FetchedBody, i32> {
        if paths.len() > MAX_PATHS {
            return Err(errno::INVAL);
        }
        let mut sent = Vec::with_capacity(paths.len());
        let mut ahead = VecDeque::new();
        for path in paths {
            let place = served.place(&self.store, path)?;
            sent.push(self.node(served, path.clone(), place, &mut ahead)?);
        }
        let mut budget = AHEAD_BYTES;
        while let Some((path, place)) = ahead.pop_front() {
            if sent.len() >= paths.len() + AHEAD_NODES {
                break;
            }
            let node = self.node(served, path, place, &mut ahead)?;
            match budget.checked_sub(node.tree.len() + node.times.len()) {
                Some(rest) => budget = rest,
                None => break,
            }
            sent.push(node);
        }
        let bytes: usize = sent.iter().map(|node| node.tree.len() + node.times.len()).sum();
        self.counters.tree_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(FetchedBody::Nodes(sent))
    }

    /// One node; the directories in it are appended to `ahead`.
    fn node(
        &self,
        served: &Served,
        path: TreePath,
        (tree_id, times_id): (TreeId, TimesId),
        ahead: &mut VecDeque<(TreePath, (TreeId, TimesId))>,
    ) -> Result<NodeBytes, i32> {
        let (tree, times) = load(&self.store, tree_id, times_id)?;
        for (entry, times) in tree.entries().iter().zip(&times.entries) {
            if let (Node::Dir { tree, .. }, Some(times)) = (&entry.node, times.children) {
                let below = path.join(&entry.name);
                served.remember(below.clone(), (*tree, times));
                if ahead.len() < AHEAD_NODES {
                    ahead.push_back((below, (*tree, times)));
                }
            }
        }
        Ok(NodeBytes { path, tree: tree.encode(), times: times.encode() })
    }

    fn range(
        &self,
        served: &Served,
        path: &TreePath,
        offset: u64,
        len: u32,
    ) -> Result<FetchedBody, i32> {
        if len as usize > MAX_DATA {
            return Err(errno::INVAL);
        }
        let (parent, name) = path.split_last().ok_or(errno::ISDIR)?;
        let (tree, _) = served.place(&self.store, &parent)?;
        let tree = self.store.get_tree(tree).map_err(|_| errno::IO)?;
        match tree.get(name.as_bytes()).map(|entry| &entry.node) {
            Some(Node::File { size, content, .. }) => {
                let bytes = self
                    .store
                    .read_file_range(*content, *size, offset, len as usize)
                    .map_err(|_| errno::IO)?;
                self.counters.content_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Ok(FetchedBody::Bytes(bytes))
            }
            Some(Node::Dir { .. }) => Err(errno::ISDIR),
            Some(Node::Symlink { .. }) => Err(errno::INVAL),
            None => Err(errno::NOENT),
        }
    }
}

impl Served {
    fn new(tree: TimedTree) -> Self {
        Self { tree, places: Mutex::default() }
    }

    fn remember(&self, path: TreePath, place: (TreeId, TimesId)) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= REMEMBERED {
            places.clear();
        }
        places.insert(path, place);
    }

    /// Where the nodes of a directory are.
    fn place(&self, store: &Store, path: &TreePath) -> Result<(TreeId, TimesId), i32> {
        if path.is_root() {
            return Ok((self.tree.root.tree, self.tree.times));
        }
        let known = self.places.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied();
        if let Some(place) = known {
            return Ok(place);
        }
        let mut place = (self.tree.root.tree, self.tree.times);
        for name in path.names() {
            let (tree, times) = load(store, place.0, place.1)?;
            let at = tree.position(name.as_bytes()).ok_or(errno::NOENT)?;
            place = match (&tree.entries()[at].node, times.entries[at].children) {
                (Node::Dir { tree, .. }, Some(times)) => (*tree, times),
                _ => return Err(errno::NOTDIR),
            };
        }
        self.remember(path.clone(), place);
        Ok(place)
    }
}

/// A node with its times, which must fit each other.
fn load(store: &Store, tree: TreeId, times: TimesId) -> Result<(Arc<Tree>, TimesNode), i32> {
    let tree = store.get_tree(tree).map_err(|_| errno::IO)?;
    let times = store.get_times(times).map_err(|_| errno::IO)?;
    if tree.entries().len() == times.entries.len() { Ok((tree, times)) } else { Err(errno::IO) }
}

/// A tree on offer to a guest; withdrawn when dropped.
pub struct Offer {
    service: Arc<ContentService>,
    id: PushId,
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.service.pushes().remove(&self.id);
    }
}
