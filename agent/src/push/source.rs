//! The pushed tree, as the host tells it.

use std::collections::HashMap;
use std::io;

use pyro_format::{Entry, Mtime, TimesNode, TreePath};
use pyro_proto::{FetchBody, FetchedBody, Source};

use crate::error::{Error, Result};
use crate::lower::{Answer, Content};

/// Nodes read ahead that are kept.
const AHEAD: usize = 4096;

/// One entry of a pushed directory with its time.
#[derive(Debug, Clone)]
pub struct Item {
    /// The entry.
    pub entry: Entry,
    /// Its modification time.
    pub mtime: Mtime,
}

/// Reads a pushed tree. All its calls block.
#[derive(Debug)]
pub struct Tree {
    content: Content,
    source: Source,
    ahead: HashMap<TreePath, Vec<Item>>,
}

impl Tree {
    /// The tree called `source`.
    pub fn new(content: Content, source: Source) -> Self {
        Self { content, source, ahead: HashMap::new() }
    }

    /// Entries of one directory.
    pub fn entries(&mut self, path: &TreePath) -> Result<Vec<Item>> {
        if let Some(items) = self.ahead.remove(path) {
            return Ok(items);
        }
        let body = FetchBody::Nodes { paths: vec![path.clone()] };
        let nodes = match receive(self.content.ask(self.source, body), path)? {
            FetchedBody::Nodes(nodes) => nodes,
            _ => return Err(unexpected(path)),
        };
        let mut found = None;
        for node in nodes {
            let items = items(&node.tree, &node.times).ok_or_else(|| unexpected(&node.path))?;
            if node.path == *path {
                found = Some(items);
            } else if self.ahead.len() < AHEAD {
                self.ahead.insert(node.path, items);
            }
        }
        found.ok_or_else(|| unexpected(path))
    }

    /// Asks for a part of a file.
    pub fn ask(&self, path: &TreePath, offset: u64, len: u32) -> Answer {
        self.content.ask_range(self.source, path.clone(), offset, len)
    }
}

/// The part of a file that was asked for, complete.
pub fn receive_bytes(answer: Answer, path: &TreePath, len: usize) -> Result<Vec<u8>> {
    match receive(answer, path)? {
        FetchedBody::Bytes(bytes) if bytes.len() == len => Ok(bytes),
        _ => Err(unexpected(path)),
    }
}

fn receive(answer: Answer, path: &TreePath) -> Result<FetchedBody> {
    match answer.blocking_recv() {
        Ok(FetchedBody::Error(errno)) => Err(Error::Io {
            what: format!("the host cannot read '{path}'"),
            source: io::Error::from_raw_os_error(errno),
        }),
        Ok(body) => Ok(body),
        Err(_) => Err(Error::HungUp),
    }
}

fn unexpected(path: &TreePath) -> Error {
    Error::Invalid(format!("the host's answer about '{path}' makes no sense"))
}

fn items(tree: &[u8], times: &[u8]) -> Option<Vec<Item>> {
    let (tree, times) = (pyro_format::Tree::decode(tree).ok()?, TimesNode::decode(times).ok()?);
    if tree.entries().len() != times.entries.len() {
        return None;
    }
    let pairs = tree.entries().iter().zip(times.entries);
    Some(pairs.map(|(entry, time)| Item { entry: entry.clone(), mtime: time.mtime }).collect())
}
