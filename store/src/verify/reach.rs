//! Whether baselines can reach all they need.

use std::collections::HashSet;

use pyro_format::{BaselineId, FileId, Node, TimesId, TreeId, TreePath};

use super::{BrokenBaseline, BrokenPath, Lost, MAX_PATHS, VerifyReport};
use crate::baseline::{BaselineRecord, PathBytes};
use crate::error::{Error, Result};
use crate::object::ObjectKey;
use crate::progress::{self, Progress};
use crate::store::Store;

/// An object that a path needs and cannot have.
type Problem = (ObjectKey, String);

/// Follows every baseline; adds what is wrong to the report.
pub(super) fn check(
    store: &Store,
    lost: &Lost,
    report: &mut VerifyReport,
    progress: &dyn Progress,
) -> Result<()> {
    let mut seen = HashSet::new();
    let mut broken = Vec::new();
    for id in store.baseline_ids()? {
        progress::check(progress)?;
        let record = match store.baseline(id) {
            Ok(record) => record,
            Err(error) => {
                let reason = error.to_string();
                report.broken_baselines.push(BrokenBaseline { baseline: id, reason });
                continue;
            }
        };
        report.baselines += 1;
        // What was seen to be whole need not be followed again; after a problem nothing is known to
        // be, and the next baseline's own paths are to be named too.
        let mut walk = Walk { store, lost, seen: Some(seen), problems: 0, found: &mut |_, _| true };
        walk.baseline(&record)?;
        seen = HashSet::new();
        if walk.problems > 0 {
            broken.push(record);
        } else {
            seen = walk.seen.take().unwrap_or_default();
        }
    }
    for record in &broken {
        let mut found = |path: &TreePath, (key, reason): Problem| {
            if report.broken_paths.len() == MAX_PATHS {
                report.broken_paths_truncated = true;
                return false;
            }
            report.broken_paths.push(broken_path(record.id, path, key, reason));
            true
        };
        Walk { store, lost, seen: None, problems: 0, found: &mut found }.baseline(record)?;
    }
    Ok(())
}

/// The first thing that is wrong with what a baseline reaches, if anything is.
pub(crate) fn problem(store: &Store, record: &BaselineRecord) -> Result<Option<String>> {
    let (lost, mut first) = (Lost::new(), None);
    let mut found = |path: &TreePath, (key, reason): Problem| {
        first = Some(format!("'{path}': {key}: {reason}"));
        false
    };
    let seen = Some(HashSet::new());
    Walk { store, lost: &lost, seen, problems: 0, found: &mut found }.baseline(record)?;
    Ok(first)
}

fn broken_path(
    baseline: BaselineId,
    path: &TreePath,
    key: ObjectKey,
    reason: String,
) -> BrokenPath {
    let id = blake3::Hash::from_bytes(key.id).to_string();
    let path = PathBytes(path.as_bytes().to_vec());
    BrokenPath { baseline, path, kind: key.kind, id, reason }
}

struct Walk<'a> {
    store: &'a Store,
    lost: &'a Lost,
    /// Directories that need not be entered again; none to enter all.
    seen: Option<HashSet<(TreeId, Option<TimesId>)>>,
    problems: u64,
    /// Told of each problem; false ends the walk.
    found: &'a mut dyn FnMut(&TreePath, Problem) -> bool,
}

impl Walk<'_> {
    fn baseline(&mut self, record: &BaselineRecord) -> Result<()> {
        let top = TreePath::root();
        let root = match self.store.get_root(record.root) {
            Ok(root) => root,
            Err(error) => return self.problem(&top, record.root.into(), &error).map(|_| ()),
        };
        let mut stack = vec![(top, root.tree, Some(record.times))];
        while let Some((path, tree, times)) = stack.pop() {
            if self.seen.as_mut().is_some_and(|seen| !seen.insert((tree, times))) {
                continue;
            }
            if !self.directory(&path, tree, times, &mut stack)? {
                break;
            }
        }
        Ok(())
    }

    fn directory(
        &mut self,
        path: &TreePath,
        id: TreeId,
        times: Option<TimesId>,
        stack: &mut Vec<(TreePath, TreeId, Option<TimesId>)>,
    ) -> Result<bool> {
        let times_node = match times {
            Some(times) => match self.check(times.into(), || self.store.get_times(times)) {
                Ok(node) => Some(node),
                Err((key, reason)) => {
                    if !self.report(path, key, reason) {
                        return Ok(false);
                    }
                    None
                }
            },
            None => None,
        };
        let tree = match self.check(id.into(), || self.store.get_tree(id)) {
            Ok(tree) => tree,
            Err((key, reason)) => return Ok(self.report(path, key, reason)),
        };
        if let (Some(node), Some(times)) = (&times_node, times)
            && node.entries.len() != tree.entries().len()
            && !self.report(path, times.into(), "does not fit its tree node".to_owned())
        {
            return Ok(false);
        }
        for (at, entry) in tree.entries().iter().enumerate() {
            match &entry.node {
                Node::Symlink { .. } => {}
                Node::Dir { tree, .. } => {
                    let times = times_node.as_ref().and_then(|node| node.entries.get(at));
                    let times = times.and_then(|entry| entry.children);
                    stack.push((path.join(&entry.name), *tree, times));
                }
                Node::File { size, content, .. } => {
                    if let Some((key, reason)) = self.file(*content, *size)?
                        && !self.report(&path.join(&entry.name), key, reason)
                    {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// What is wrong with a file's content, if anything is.
    fn file(&self, file: FileId, size: u64) -> Result<Option<Problem>> {
        let list = ObjectKey::from(file);
        if let Some(reason) = self.lost.get(&list) {
            return Ok(Some((list, reason.clone())));
        }
        let chunks = match self.store.chunks_of(file, size) {
            Ok(chunks) => chunks,
            Err(error) => return Ok(Some((key_of(&error).unwrap_or(list), reason_of(&error)))),
        };
        for chunk in chunks {
            let key = chunk.id.into();
            if let Some(reason) = self.lost.get(&key) {
                return Ok(Some((key, reason.clone())));
            }
            match self.store.shared.listed_len(&key) {
                None => return Ok(Some((key, "missing".to_owned()))),
                Some(len) if len != chunk.len => {
                    let found = size - chunk.len + len;
                    let error = Error::SizeMismatch { file, expected: size, found };
                    return Ok(Some((key, error.to_string())));
                }
                Some(_) => {}
            }
        }
        Ok(None)
    }

    fn check<T>(
        &self,
        key: ObjectKey,
        read: impl FnOnce() -> Result<T>,
    ) -> std::result::Result<T, Problem> {
        match self.lost.get(&key) {
            Some(reason) => Err((key, reason.clone())),
            None => read().map_err(|error| (key, reason_of(&error))),
        }
    }

    fn problem(&mut self, path: &TreePath, key: ObjectKey, error: &Error) -> Result<bool> {
        Ok(self.report(path, key, reason_of(error)))
    }

    fn report(&mut self, path: &TreePath, key: ObjectKey, reason: String) -> bool {
        self.problems += 1;
        (self.found)(path, (key, reason))
    }
}

fn key_of(error: &Error) -> Option<ObjectKey> {
    match error {
        Error::Missing(key) | Error::Damaged { key, .. } | Error::Decode { key, .. } => Some(*key),
        _ => None,
    }
}

fn reason_of(error: &Error) -> String {
    match error {
        Error::Missing(_) => "missing".to_owned(),
        Error::Damaged { reason, .. } => (*reason).to_owned(),
        Error::Decode { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}
