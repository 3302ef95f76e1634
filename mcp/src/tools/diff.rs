//! What changed, in parts that a model can take.

use base64::{Engine, engine::general_purpose::STANDARD};
use pyro_api::{
    BytesText, DiffEntry, DiffReply, DiffSummary, ErrorBody, Event, Hidden, Rename, ReportStats,
    SkippedEntry, WorkspaceDiff,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds::{self, CHARS};
use crate::server::Calling;
use crate::tool::{Hints, Tool};

/// Entries in one answer when the caller does not say.
const LIMIT: u32 = 100;

/// Arguments of `workspace_diff`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Diff {
    /// Workspace id or name.
    workspace_id: String,
    /// Entries to pass over: 0, or `next_entries_offset` of the answer before.
    #[serde(default)]
    entries_offset: u64,
    /// Most entries in the answer; 100 when absent.
    #[schemars(range(min = 1, max = 10000))]
    entries_limit: Option<u32>,
    /// First byte of the patch wanted: 0, or `next_patch_offset` of the answer before.
    #[serde(default)]
    patch_offset: u64,
    /// Most characters of the patch, and of all `text_patch` together; 16384 when absent.
    #[schemars(range(min = 1, max = 1048576))]
    max_chars: Option<u32>,
    /// Look at every file instead of trusting the changed layer; slow.
    #[serde(default)]
    full: bool,
    /// The older side: a snapshot's name or the id of a tree; the baseline when absent.
    from: Option<String>,
    /// The newer side: likewise; `/workspace` as it is now when absent.
    to: Option<String>,
    /// Show only what is at these paths or below them.
    #[serde(default)]
    paths: Vec<BytesText>,
    /// Patterns (as in a `.gitignore`) of what not to show.
    #[serde(default)]
    exclude: Vec<String>,
    /// Do not show what was added and the tree's `.gitignore` files name.
    #[serde(default)]
    gitignore: bool,
    /// Lines of context in the patch; 3 when absent.
    context: Option<u32>,
    /// Have the patch carry binary files, too, as only `git apply` takes them.
    #[serde(default)]
    binary: bool,
}

/// Answer of `workspace_diff`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Shown {
    /// The workspace.
    workspace_id: String,
    /// Whether anything differs.
    changed: bool,
    /// Id of the tree that is shown here: other tools take exactly this one as `tree`. Parts of one
    /// diff have one tree.
    tree: String,
    /// The host holds all of that tree, whatever becomes of the guest.
    pinned: bool,
    /// Id of the tree that it is compared with.
    from_tree: String,
    /// Tree id of the baseline.
    baseline_tree: String,
    /// Counts, of all entries.
    summary: DiffSummary,
    /// Paths that differ, sorted. A `text_patch` that is null may be in `patch`.
    entries: Vec<DiffEntry>,
    /// Where the next entries begin; null at the end.
    next_entries_offset: Option<u64>,
    /// Directories that were moved, outermost only; the first hundred.
    renames: Vec<Rename>,
    /// What a tree cannot hold; the first of it.
    skipped: Vec<SkippedEntry>,
    /// How many differences are not shown, by what hides them.
    hidden: Hidden,
    /// Remarks on what is not listed here.
    warnings: Vec<String>,
    /// Unified patch of the text files from `patch_offset` on.
    patch: String,
    /// Exact bytes of `patch` (base64) where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_b64: Option<String>,
    /// Position of the first byte of `patch`.
    patch_offset: u64,
    /// There is more of the patch: ask again with `patch_offset` set to `next_patch_offset`.
    patch_truncated: bool,
    /// Where the next part of the patch begins; null at the end.
    next_patch_offset: Option<u64>,
    /// What finding out has cost.
    report: ReportStats,
    /// What the guest runs on.
    execution_mode: String,
}

impl Tool for Diff {
    const NAME: &'static str = "workspace_diff";
    const TITLE: &'static str = "Show what changed in a workspace";
    const DESCRIPTION: &'static str = "\
        Compare /workspace as it is now with the baseline of workspace_create, whatever was pushed or \
        run since: entries (added, modified, deleted, type_changed, with hashes, sizes, modes) and a \
        unified patch of the text files. Long lists and patches come in parts: read on with \
        entries_offset or patch_offset. Review it before workspace_export, and pass its tree there.";
    const HINTS: Hints = Hints::LOOKS;
    type Output = Shown;

    async fn run(self, call: &Calling) -> Result<Shown, ErrorBody> {
        let max = bounds::max_chars(self.max_chars, CHARS)?;
        let limit = bounds::within("entries_limit", self.entries_limit, LIMIT, 1..=10_000)?;
        let ask = |stream| WorkspaceDiff {
            full: self.full,
            patch: true,
            stream,
            from: self.from.clone(),
            to: self.to.clone(),
            paths: self.paths.clone(),
            exclude: self.exclude.clone(),
            gitignore: self.gitignore,
            context: self.context,
            binary: self.binary,
            ..WorkspaceDiff::of(self.workspace_id.clone())
        };
        if self.patch_offset == 0 {
            let mut reply = call.daemon(&ask(false)).await?;
            let whole = exact(&mut reply);
            if !reply.patch_truncated || whole.len() > max {
                let (part, next) = bounds::window(&whole, 0, max);
                // Beyond its cap the daemon's patch ends, the whole one goes on.
                return Ok(shown(reply, &self, limit, max, part, next));
            }
        }
        // One byte more tells whether there is more.
        let mut window = Window::new(self.patch_offset, max + 1);
        let reply = call.stream(&ask(true), |event| window.take(event)).await?;
        let (part, next) = bounds::window(&window.bytes, 0, max);
        let next = next.map(|next| self.patch_offset.saturating_add(next));
        Ok(shown(reply, &self, limit, max, part, next))
    }
}

/// The bytes of the reply's patch.
fn exact(reply: &mut DiffReply) -> Vec<u8> {
    let text = std::mem::take(&mut reply.patch);
    let bytes = reply.patch_b64.take().and_then(|b64| STANDARD.decode(b64).ok());
    bytes.unwrap_or_else(|| text.into_bytes())
}

fn shown(
    mut reply: DiffReply,
    asked: &Diff,
    limit: u32,
    max: usize,
    part: &[u8],
    next_patch_offset: Option<u64>,
) -> Shown {
    let mut warnings = Vec::new();
    let more = reply.renames.len().saturating_sub(LIMIT as usize);
    if more > 0 {
        warnings.push(format!("{more} more moved directories are not listed here"));
        reply.renames.truncate(LIMIT as usize);
    }
    bounds::remarks(&mut reply.skipped, &mut warnings);
    let (mut entries, next_entries_offset) =
        bounds::page(reply.entries, asked.entries_offset, limit);
    keep_texts(&mut entries, max);
    Shown {
        workspace_id: reply.workspace_id,
        changed: reply.changed,
        tree: reply.tree,
        pinned: reply.pinned,
        from_tree: reply.from_tree,
        baseline_tree: reply.baseline_tree,
        summary: reply.summary,
        entries,
        next_entries_offset,
        renames: reply.renames,
        skipped: reply.skipped,
        hidden: reply.hidden,
        warnings,
        patch: String::from_utf8_lossy(part).into_owned(),
        patch_b64: std::str::from_utf8(part).is_err().then(|| STANDARD.encode(part)),
        patch_offset: asked.patch_offset,
        patch_truncated: next_patch_offset.is_some(),
        next_patch_offset,
        report: reply.report,
        execution_mode: reply.execution_mode,
    }
}

/// Entries keep their part of the patch as long as all of these together are not too long.
fn keep_texts(entries: &mut [DiffEntry], max: usize) {
    let mut left = max;
    for entry in entries {
        match &entry.text_patch {
            Some(text) if text.len() <= left => left -= text.len(),
            Some(_) => entry.text_patch = None,
            None => {}
        }
    }
}

/// Part of what a call streams.
struct Window {
    start: u64,
    max: usize,
    bytes: Vec<u8>,
}

impl Window {
    fn new(start: u64, max: usize) -> Self {
        Self { start, max, bytes: Vec::new() }
    }

    fn take(&mut self, event: Event) {
        let Event::Output { offset, data_b64, .. } = event else { return };
        let Ok(data) = STANDARD.decode(data_b64) else { return };
        let wanted = self.start.saturating_add(self.bytes.len() as u64);
        let skip = usize::try_from(wanted.saturating_sub(offset)).unwrap_or(usize::MAX);
        let new = data.get(skip..).unwrap_or_default();
        let room = self.max - self.bytes.len();
        self.bytes.extend_from_slice(&new[..new.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_api::OutputStream;

    #[test]
    fn a_window_takes_its_part_and_no_more() {
        let whole = b"0123456789";
        for start in 0..12u64 {
            for max in 1..12 {
                let mut window = Window::new(start, max);
                for (at, piece) in whole.chunks(3).enumerate() {
                    window.take(Event::Output {
                        stream: OutputStream::Stdout,
                        offset: at as u64 * 3,
                        data_b64: STANDARD.encode(piece),
                    });
                }
                let from = (start as usize).min(whole.len());
                let to = (from + max).min(whole.len());
                assert_eq!(window.bytes, &whole[from..to], "{start} {max}");
            }
        }
    }
}
