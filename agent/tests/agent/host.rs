//! The host's side of the content connection, over trees in memory.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex};

use pyro_agent::lower::Dial;
use pyro_format::{
    Entry, EntryName, FileId, LinkTarget, Mode, Mtime, Node, TimesEntry, TimesNode, Tree, TreePath,
};
use pyro_proto::{
    Fetch, FetchBody, Fetched, FetchedBody, Hello, NodeBytes, Role, Source, read_frame, write_frame,
};
use tokio::net::UnixStream;

/// A file tree with its content.
#[derive(Debug, Clone)]
pub enum Item {
    File { mode: u16, mtime: Mtime, data: Vec<u8> },
    Dir { mode: u16, mtime: Mtime, entries: BTreeMap<EntryName, Item> },
    Symlink { mtime: Mtime, target: Vec<u8> },
}

impl Item {
    pub fn file(data: &[u8]) -> Self {
        Self::File { mode: 0o644, mtime: Mtime { secs: 1_000_000, nanos: 7 }, data: data.to_vec() }
    }

    pub fn dir(entries: impl IntoIterator<Item = (&'static str, Item)>) -> Self {
        let entries = entries.into_iter().map(|(name, item)| (parse(name), item)).collect();
        Self::Dir { mode: 0o755, mtime: Mtime { secs: 2_000_000, nanos: 9 }, entries }
    }

    pub fn link(target: &str) -> Self {
        Self::Symlink { mtime: Mtime { secs: -5, nanos: 1 }, target: target.as_bytes().to_vec() }
    }

    pub fn mtime(&self) -> Mtime {
        match self {
            Self::File { mtime, .. } | Self::Dir { mtime, .. } | Self::Symlink { mtime, .. } => {
                *mtime
            }
        }
    }

    pub fn get(&self, path: &TreePath) -> Option<&Item> {
        path.names().try_fold(self, |item, name| match item {
            Self::Dir { entries, .. } => entries.get(&name),
            _ => None,
        })
    }

    fn node(&self) -> Node {
        match self {
            Self::File { mode, data, .. } => Node::File {
                mode: Mode::new(*mode),
                size: data.len() as u64,
                content: FileId::of(data),
            },
            Self::Dir { mode, .. } => {
                Node::Dir { mode: Mode::new(*mode), tree: self.tree().0.id() }
            }
            Self::Symlink { target, .. } => {
                Node::Symlink { target: LinkTarget::parse(target).unwrap() }
            }
        }
    }

    fn tree(&self) -> (Tree, TimesNode) {
        let Self::Dir { entries, .. } = self else { return Default::default() };
        let nodes = entries.iter().map(|(name, item)| Entry::new(name.clone(), item.node()));
        let time = |item: &Item| TimesEntry { mtime: item.mtime(), children: None };
        let times = TimesNode { entries: entries.values().map(time).collect() };
        (Tree::new(nodes.collect()).unwrap(), times)
    }
}

pub fn parse(name: &str) -> EntryName {
    EntryName::parse(name.as_bytes()).unwrap()
}

/// Trees by name, and what was asked of them.
#[derive(Debug, Default)]
pub struct Host {
    pub trees: Mutex<HashMap<Source, Item>>,
    pub ranges: Mutex<Vec<(TreePath, u64, u32)>>,
}

/// Connects to a [`Host`] in this process.
pub struct InProcess(pub Arc<Host>);

impl Dial for InProcess {
    type Stream = UnixStream;

    async fn dial(&self) -> io::Result<UnixStream> {
        let (guest, host) = UnixStream::pair()?;
        tokio::spawn(serve(self.0.clone(), host));
        Ok(guest)
    }
}

async fn serve(host: Arc<Host>, mut stream: UnixStream) {
    let hello: Hello = read_frame(&mut stream, 1000).await.unwrap().unwrap();
    assert_eq!(hello.role, Role::Content);
    while let Ok(Some(fetch)) = read_frame::<Fetch>(&mut stream, 1 << 20).await {
        let body = host.answer(&fetch).unwrap_or(FetchedBody::Error(libc::ENOENT));
        write_frame(&mut stream, &Fetched { tag: fetch.tag, body }).await.unwrap();
    }
}

impl Host {
    fn answer(&self, fetch: &Fetch) -> Option<FetchedBody> {
        let trees = self.trees.lock().unwrap();
        let tree = trees.get(&fetch.source)?;
        match &fetch.body {
            FetchBody::Nodes { paths } => {
                let nodes = paths.iter().map(|path| {
                    let (tree, times) = tree.get(path)?.tree();
                    let (tree, times) = (tree.encode(), times.encode());
                    Some(NodeBytes { path: path.clone(), tree, times })
                });
                Some(FetchedBody::Nodes(nodes.collect::<Option<_>>()?))
            }
            FetchBody::Range { path, offset, len } => {
                self.ranges.lock().unwrap().push((path.clone(), *offset, *len));
                let Item::File { data, .. } = tree.get(path)? else { return None };
                let from = (*offset as usize).min(data.len());
                let to = (from + *len as usize).min(data.len());
                Some(FetchedBody::Bytes(data[from..to].to_vec()))
            }
        }
    }
}
