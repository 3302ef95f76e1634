//! What changed since the baseline.

use std::collections::HashSet;

use pyro_api::{DiffReply, OutputStream, WorkspaceDiff};
use pyro_format::{Delta, Node, RootNode, TreePath, diff};
use pyro_store::Store;

use super::capture::{BASELINE, Capture, Captured, Content};
use super::filter::Filter;
use super::nodes::StoredNodes;
use super::patch::{self, LARGEST, Part, Side, Way};
use super::record::StoredTree;
use super::renames::{self, Moves};
use super::{Workspace, entries};
use crate::error::{Error, Result};
use crate::events::{Events, blocking};

/// Bytes of patch in one JSON answer.
const PATCH_CAP: usize = 1 << 20;

/// How a patch carries one difference.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Carried {
    /// Not at all.
    No,
    /// By its content on both sides.
    Content,
    /// As the target of a move from here.
    MovedFrom(TreePath),
    /// As a copy of what was here.
    CopiedFrom(TreePath),
    /// As the source of a move.
    Moved,
}

/// What a patch is like.
#[derive(Clone, Copy, Debug)]
struct Form {
    context: u32,
    binary: bool,
}

impl Workspace {
    /// Compares two trees: `/workspace` as it is now with the baseline, unless others are named.
    pub async fn diff(&self, call: &WorkspaceDiff, events: &Events) -> Result<DiffReply> {
        if call.gitignore && call.no_pin {
            let text = "the .gitignore files are not read when content is left in the guest";
            return Err(Error::Invalid(text.to_owned()));
        }
        let filter = Filter::new(&call.paths, &call.exclude, call.gitignore)?;
        let _hold = self.store.hold();
        let wanted = if call.patch { Content::Patchable } else { Content::None };
        let shown = match &call.to {
            Some(name) => {
                if call.full || call.no_pin || call.no_freeze {
                    return Err(Error::Invalid(
                        "a tree that is stored already is not looked at again: leave out how to"
                            .to_owned(),
                    ));
                }
                self.named(name, &wanted).await?
            }
            None => {
                let _in_use = self.in_use().await?;
                let content = if call.no_pin { wanted.clone() } else { Content::All };
                let freeze = !call.no_freeze;
                self.capture(&Capture { full: call.full, freeze, content }, events).await?
            }
        };
        let from = call.from.as_deref().unwrap_or(BASELINE);
        let old = self.named(from, &wanted).await?.tree;
        self.answer(call, filter, old, shown, events).await
    }

    async fn answer(
        &self,
        call: &WorkspaceDiff,
        filter: Filter,
        old: StoredTree,
        mut shown: Captured,
        events: &Events,
    ) -> Result<DiffReply> {
        let (record, store, events) = (self.record(), self.store.clone(), events.clone());
        let (patch, stream) = (call.patch, call.stream);
        let form = Form { context: call.context.unwrap_or(patch::CONTEXT), binary: call.binary };
        blocking(move |_| {
            if old.id != record.baseline_tree.id {
                shown.deltas = deltas(&StoredNodes(&store), &old.root, &shown.tree.root)?;
            }
            let hidden = filter.apply(&store, &shown.tree.root, &mut shown.deltas)?;
            let moves = renames::find(&shown.deltas);
            let plan = match patch {
                true => plan_patch(&shown.deltas, &moves, &shown.unsteady),
                false => vec![Carried::No; shown.deltas.len()],
            };
            let mut listed: Vec<_> =
                shown.deltas.iter().map(|delta| entries::entry(delta, &moves)).collect();
            let mut summary = entries::summary(&listed);
            let mut whole = Vec::new();
            let (mut truncated, mut offset) = (false, 0u64);
            for ((delta, carried), entry) in shown.deltas.iter().zip(&plan).zip(&mut listed) {
                let part = patch_of(&store, delta, carried, &shown.deltas, form)?;
                let Some(Part { text, lines }) = part else { continue };
                summary.text_patched += 1;
                summary.non_text -= 1;
                if text.is_empty() {
                    continue;
                }
                entry.lines_added = lines.map(|lines| lines.added);
                entry.lines_removed = lines.map(|lines| lines.removed);
                entry.patch_offset = Some(offset);
                entry.patch_len = Some(text.len() as u64);
                if stream {
                    if !events.blocking_output(OutputStream::Stdout, offset, &text) {
                        return Err(Error::Cancelled);
                    }
                } else if truncated || whole.len() + text.len() > PATCH_CAP {
                    truncated = true;
                } else {
                    entry.text_patch = Some(String::from_utf8_lossy(&text).into_owned());
                    whole.extend_from_slice(&text);
                }
                offset += text.len() as u64;
            }
            Ok(DiffReply {
                workspace_id: record.id,
                changed: !listed.is_empty(),
                tree: shown.tree.id.to_string(),
                pinned: shown.whole,
                from_tree: old.id.to_string(),
                baseline_tree: record.baseline_tree.id.to_string(),
                summary,
                entries: listed,
                renames: entries::renames(&moves),
                skipped: shown.skipped,
                hidden,
                patch: String::from_utf8_lossy(&whole).into_owned(),
                patch_b64: entries::b64(&whole),
                patch_truncated: truncated,
                report: shown.stats,
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

/// Decides how a patch carries each difference. What never stood still is listed, without text.
fn plan_patch(deltas: &[Delta], moves: &Moves, unsteady: &[TreePath]) -> Vec<Carried> {
    let unsteady: HashSet<&TreePath> = unsteady.iter().collect();
    // A patch leaves files alone that became directories, so nothing can be put where one stays.
    let blocked: HashSet<&TreePath> = deltas
        .iter()
        .filter(|delta| delta.old.is_some() && !is_dir(&delta.old) && is_dir(&delta.new))
        .map(|delta| &delta.path)
        .collect();
    let is_blocked = |path: &TreePath| path.ancestors().any(|dir| blocked.contains(&dir));
    let mut sources = HashSet::new();
    let mut plan: Vec<Carried> = deltas
        .iter()
        .map(|delta| match (&delta.old, &delta.new) {
            (
                Some(Node::File { .. } | Node::Symlink { .. }),
                Some(Node::File { .. } | Node::Symlink { .. }),
            ) => Carried::Content,
            (None, Some(Node::Dir { .. })) | (Some(Node::Dir { .. }), None) => Carried::No,
            (None, Some(_)) if !blocked.is_empty() && is_blocked(&delta.path) => Carried::No,
            (None, Some(_)) => match moves.from.get(&delta.path) {
                Some(from) => {
                    sources.insert(from);
                    Carried::MovedFrom(from.clone())
                }
                None => match moves.copies.get(&delta.path) {
                    Some(from) => Carried::CopiedFrom(from.clone()),
                    None => Carried::Content,
                },
            },
            (Some(_), None) => Carried::Content,
            _ => Carried::No,
        })
        .collect();
    for (delta, carried) in deltas.iter().zip(&mut plan) {
        if sources.contains(&delta.path) {
            *carried = Carried::Moved;
        }
        let large = is_too_large(&delta.old) || is_too_large(&delta.new);
        if *carried == Carried::Content && (large || unsteady.contains(&delta.path)) {
            *carried = Carried::No;
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
    form: Form,
) -> Result<Option<Part>> {
    let same = |way, from: &TreePath| {
        let source = deltas.binary_search_by(|other| other.path.cmp(from)).ok();
        let old = source.and_then(|at| deltas[at].old.as_ref()).and_then(entries::mode);
        let new = delta.new.as_ref().and_then(entries::mode);
        Ok(Some(patch::same(way, from, &delta.path, old, new)))
    };
    match carried {
        Carried::No => Ok(None),
        Carried::Moved => Ok(Some(Part::default())),
        Carried::MovedFrom(from) => same(Way::Rename, from),
        Carried::CopiedFrom(from) => same(Way::Copy, from),
        Carried::Content => {
            let (old, new) = (content(store, &delta.old)?, content(store, &delta.new)?);
            let binary =
                |content: &Option<Vec<u8>>| content.as_deref().is_some_and(patch::is_binary);
            let binary = binary(&old) || binary(&new);
            let (old, new) = (side(&delta.old, &old), side(&delta.new, &new));
            let between = |old, new| match (binary, form.binary) {
                (false, _) => patch::file(&delta.path, old, new, form.context),
                (true, true) => patch::binary_file(&delta.path, old, new),
                (true, false) => Part::default(),
            };
            let part = match (old, new) {
                // A file that became a link, or the other way round: one goes, the other comes.
                (Some(was), Some(is)) if was.mode.is_none() != is.mode.is_none() => {
                    between(old, None).and(between(None, new))
                }
                _ => between(old, new),
            };
            // A mode beyond the executable bit, or binary content: nothing that a patch can say.
            Ok(Some(part).filter(|part| !part.text.is_empty()))
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

#[cfg(test)]
mod tests;
