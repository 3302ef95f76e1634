//! What changed since the baseline.

use std::collections::{BTreeSet, HashSet};

use pyro_api::{DiffReply, OutputStream, ReportStats, WorkspaceDiff};
use pyro_format::{Delta, Node, RootId, RootNode, TreePath, diff};
use pyro_proto::{Call, Piece, Reply};
use pyro_store::Store;

use super::merge::{Merged, ReportedFile};
use super::nodes::{MergedNodes, store_nodes};
use super::patch::{self, LARGEST, Side};
use super::renames::{self, Moves};
use super::{Workspace, entries, report};
use crate::error::{Error, Result};
use crate::events::{Events, blocking};
use crate::guest::link::{Conversation, GuestError};

/// Times a diff starts over because files changed between the report and the reading of them.
const TRIES: usize = 3;
/// Bytes of patch in one JSON answer.
const PATCH_CAP: usize = 1 << 20;
/// Files from this size on are looked into before they are fetched for the patch, in bytes.
const LOOK_FIRST: u64 = 64 << 10;
/// Bytes that are looked at.
const LOOK: u64 = 8000;

/// A tree of `/workspace` beside the baseline.
pub struct Shown {
    /// The tree now, with the nodes that are new.
    pub merged: Merged,
    /// Every difference, sorted by path.
    pub deltas: Vec<Delta>,
}

impl Shown {
    /// Id of the tree now.
    pub fn id(&self) -> RootId {
        self.merged.tree.root.id()
    }
}

/// How a patch carries one difference.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Carried {
    /// Not at all.
    No,
    /// By its content on both sides.
    Content,
    /// As the target of a move from here.
    MovedFrom(TreePath),
    /// As the source of a move.
    Moved,
}

impl Workspace {
    /// Compares `/workspace` as it is now with the baseline.
    pub async fn diff(&self, call: &WorkspaceDiff, events: &Events) -> Result<DiffReply> {
        let _in_use = self.in_use().await?;
        let _hold = self.store.hold();
        let mut tries = 0;
        loop {
            tries += 1;
            let (shown, mut stats) = self.show(call.full).await?;
            let moves = renames::find(&shown.deltas);
            let mut plan = vec![Carried::No; shown.deltas.len()];
            if call.patch {
                plan = plan_patch(&shown.deltas, &moves);
                let (bytes, unsteady) = self.fetch_for_patch(&shown.deltas, &mut plan).await?;
                stats.fetched_bytes = bytes;
                if !unsteady.is_empty() && tries < TRIES {
                    continue;
                }
                // What never stood still is listed, without text.
                let unsteady: HashSet<_> = unsteady.into_iter().collect();
                for (delta, carried) in shown.deltas.iter().zip(&mut plan) {
                    if unsteady.contains(&delta.path) {
                        *carried = Carried::No;
                    }
                }
            }
            let shown = self.remember(shown).await?;
            return self.answer(call, shown, moves, plan, stats, events).await;
        }
    }

    /// The tree now and how it differs from the baseline.
    pub async fn show(&self, full: bool) -> Result<(Shown, ReportStats)> {
        let (merged, stats) = self.current_tree(full).await?;
        let (store, baseline) = (self.store.clone(), self.record().baseline_tree.root);
        let shown = blocking(move |_| {
            let now = merged.tree.root;
            let deltas = deltas(&MergedNodes::new(&store, &merged), &baseline, &now)?;
            Ok(Shown { merged, deltas })
        });
        Ok((shown.await?, stats))
    }

    /// Stores the nodes of a tree that is about to be shown, so that an export can name it.
    pub async fn remember(&self, shown: Shown) -> Result<Shown> {
        let store = self.store.clone();
        let shown = blocking(move |_| {
            // Nodes that are there already cost a look each. That the root is there tells nothing of
            // the times: the same change may have been made before, at another time.
            let mut writer = store.writer()?;
            store_nodes(&mut writer, &shown.merged)?;
            writer.commit()?;
            Ok(shown)
        });
        let shown = shown.await?;
        self.update(|record| {
            if record.reviewed.last().is_none_or(|last| last.id != shown.id()) {
                record.review(shown.merged.tree.into());
            }
        })?;
        Ok(shown)
    }

    /// Makes the store hold what the patch needs of the new side; binary files are struck from
    /// the plan. Bytes that crossed, and files that changed meanwhile.
    async fn fetch_for_patch(
        &self,
        deltas: &[Delta],
        plan: &mut [Carried],
    ) -> Result<(u64, Vec<TreePath>)> {
        let mut wanted = Vec::new();
        let mut doubtful = Vec::new();
        for (at, delta) in deltas.iter().enumerate() {
            if plan[at] != Carried::Content {
                continue;
            }
            if is_too_large(&delta.old) || is_too_large(&delta.new) {
                plan[at] = Carried::No;
            } else if let Some(Node::File { size, content, .. }) = delta.new {
                wanted.push((at, ReportedFile { path: delta.path.clone(), size, content }));
                if size >= LOOK_FIRST {
                    doubtful.push(at);
                }
            }
        }
        let mut bytes = 0;
        if !doubtful.is_empty() {
            let binary = self.look_into(deltas, &doubtful, &mut bytes).await?;
            binary.iter().for_each(|at| plan[*at] = Carried::No);
            wanted.retain(|(at, _)| !binary.contains(at));
        }
        let outcome =
            self.fetch(wanted.into_iter().map(|(_, file)| file).collect(), deltas).await?;
        Ok((bytes + outcome.bytes, outcome.unsteady))
    }

    /// Which of these files begin like binary ones.
    async fn look_into(
        &self,
        deltas: &[Delta],
        which: &[usize],
        bytes: &mut u64,
    ) -> Result<BTreeSet<usize>> {
        let piece = |at: &usize| Piece { path: deltas[*at].path.clone(), offset: 0, len: LOOK };
        let call = Call::Read { pieces: which.iter().map(piece).collect() };
        let mut conversation = Conversation::open(&self.machine, &call).await?;
        let mut binary = BTreeSet::new();
        for at in which {
            let mut start = Vec::new();
            while (start.len() as u64) < LOOK {
                match conversation.next().await? {
                    Reply::Data(data) if !data.is_empty() => start.extend_from_slice(&data),
                    Reply::Unreadable { .. } => break,
                    _ => return Err(GuestError::Unexpected.into()),
                }
            }
            *bytes += start.len() as u64;
            if patch::is_binary(&start) {
                binary.insert(*at);
            }
        }
        conversation.done().await?;
        Ok(binary)
    }

    async fn answer(
        &self,
        call: &WorkspaceDiff,
        shown: Shown,
        moves: Moves,
        plan: Vec<Carried>,
        stats: ReportStats,
        events: &Events,
    ) -> Result<DiffReply> {
        let (record, store, events) = (self.record(), self.store.clone(), events.clone());
        let stream = call.stream;
        blocking(move |_| {
            let mut listed: Vec<_> =
                shown.deltas.iter().map(|delta| entries::entry(delta, &moves)).collect();
            let mut summary = entries::summary(&listed);
            let mut whole = Vec::new();
            let (mut truncated, mut offset) = (false, 0u64);
            for ((delta, carried), entry) in shown.deltas.iter().zip(&plan).zip(&mut listed) {
                let text = patch_of(&store, delta, carried, &shown.deltas)?;
                let Some(text) = text else { continue };
                summary.text_patched += 1;
                summary.non_text -= 1;
                if stream {
                    if !text.is_empty()
                        && !events.blocking_output(OutputStream::Stdout, offset, &text)
                    {
                        return Err(Error::Cancelled);
                    }
                    offset += text.len() as u64;
                } else if truncated || whole.len() + text.len() > PATCH_CAP {
                    truncated = true;
                } else if !text.is_empty() {
                    entry.text_patch = Some(String::from_utf8_lossy(&text).into_owned());
                    whole.extend_from_slice(&text);
                }
            }
            Ok(DiffReply {
                workspace_id: record.id,
                changed: !listed.is_empty(),
                tree: shown.id().to_string(),
                baseline_tree: record.baseline_tree.id.to_string(),
                summary,
                entries: listed,
                renames: entries::renames(&moves),
                skipped: report::skipped(&shown.merged),
                patch: String::from_utf8_lossy(&whole).into_owned(),
                patch_b64: entries::b64(&whole),
                patch_truncated: truncated,
                report: stats,
                execution_mode: record.backend.name().to_owned(),
            })
        })
        .await
    }
}

/// Every difference between two trees, sorted by path.
pub fn deltas<S: pyro_format::TreeSource>(
    source: &S,
    old: &RootNode,
    new: &RootNode,
) -> Result<Vec<Delta>, S::Error> {
    let mut deltas = Vec::new();
    diff(source, old, new, |delta| deltas.push(delta))?;
    deltas.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(deltas)
}

fn is_too_large(node: &Option<Node>) -> bool {
    matches!(node, Some(Node::File { size, .. }) if *size > LARGEST)
}

fn is_dir(node: &Option<Node>) -> bool {
    matches!(node, Some(Node::Dir { .. }))
}

/// Decides how a patch carries each difference.
fn plan_patch(deltas: &[Delta], moves: &Moves) -> Vec<Carried> {
    // A patch leaves what changed its kind alone, so nothing can be put where a file stays.
    let blocked: HashSet<&TreePath> = deltas
        .iter()
        .filter(|delta| delta.old.is_some() && !is_dir(&delta.old) && is_dir(&delta.new))
        .map(|delta| &delta.path)
        .collect();
    let is_blocked = |path: &TreePath| {
        let mut above = path.split_last();
        std::iter::from_fn(|| {
            let (parent, _) = above.take()?;
            above = parent.split_last();
            Some(parent)
        })
        .any(|parent| blocked.contains(&parent))
    };
    let mut sources = HashSet::new();
    let mut plan: Vec<Carried> = deltas
        .iter()
        .map(|delta| match (&delta.old, &delta.new) {
            (Some(Node::File { .. }), Some(Node::File { .. }))
            | (Some(Node::Symlink { .. }), Some(Node::Symlink { .. })) => Carried::Content,
            (None, Some(Node::Dir { .. })) | (Some(Node::Dir { .. }), None) => Carried::No,
            (None, Some(_)) if !blocked.is_empty() && is_blocked(&delta.path) => Carried::No,
            (None, Some(_)) => match moves.from.get(&delta.path) {
                Some(from) => {
                    sources.insert(from);
                    Carried::MovedFrom(from.clone())
                }
                None => Carried::Content,
            },
            (Some(_), None) => Carried::Content,
            _ => Carried::No,
        })
        .collect();
    for (delta, carried) in deltas.iter().zip(&mut plan) {
        if sources.contains(&delta.path) {
            *carried = Carried::Moved;
        }
    }
    plan
}

/// One difference's part of the patch; none if the patch does not carry it, empty if another part
/// does.
fn patch_of(
    store: &Store,
    delta: &Delta,
    carried: &Carried,
    deltas: &[Delta],
) -> Result<Option<Vec<u8>>> {
    match carried {
        Carried::No => Ok(None),
        Carried::Moved => Ok(Some(Vec::new())),
        Carried::MovedFrom(from) => {
            let source = deltas.binary_search_by(|other| other.path.cmp(from)).ok();
            let old = source.and_then(|at| deltas[at].old.as_ref()).and_then(entries::mode);
            let new = delta.new.as_ref().and_then(entries::mode);
            Ok(Some(patch::rename(from, &delta.path, old, new)))
        }
        Carried::Content => {
            let old = content(store, &delta.old)?;
            let new = content(store, &delta.new)?;
            let binary =
                |content: &Option<Vec<u8>>| content.as_deref().is_some_and(patch::is_binary);
            let text = if binary(&old) || binary(&new) {
                Vec::new()
            } else {
                patch::file(&delta.path, side(&delta.old, &old), side(&delta.new, &new))
            };
            // A mode beyond the executable bit, or binary content: nothing that a patch can say.
            Ok(Some(text).filter(|text| !text.is_empty()))
        }
    }
}

fn side<'c>(node: &Option<Node>, content: &'c Option<Vec<u8>>) -> Option<Side<'c>> {
    let content = content.as_deref()?;
    Some(Side { mode: node.as_ref().and_then(entries::mode), content })
}

fn content(store: &Store, node: &Option<Node>) -> Result<Option<Vec<u8>>> {
    match node {
        Some(Node::File { size, content, .. }) => {
            let len = usize::try_from(*size).unwrap_or(usize::MAX);
            Ok(Some(store.read_file_range(*content, *size, 0, len)?))
        }
        Some(Node::Symlink { target }) => Ok(Some(target.as_bytes().to_vec())),
        _ => Ok(None),
    }
}
