//! Bringing a workspace's changes home.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use pyro_api::{
    ApplyAction, ApplyEntry, ApplyReply, ApplySummary, ApplyUndoReply, BytesText, LeftEntry,
    WorkspaceApply, WorkspaceApplyUndo,
};
use pyro_apply::{About, Action, Host, Journals, Options, Plan};
use pyro_format::{Delta, TreePath, escape};

use super::capture::{Captured, Content};
use super::filter::Filter;
use super::record::Record;
use super::{Workspace, entries, hazards};
use crate::error::{Error, Result};
use crate::events::{Events, StoreProgress, blocking};
use crate::manager::Manager;
use crate::seed;

impl Workspace {
    /// Plans, and unless it is a dry run also does it.
    pub async fn apply(
        &self,
        journals: Arc<Journals>,
        call: &WorkspaceApply,
        events: &Events,
    ) -> Result<ApplyReply> {
        let filter = Filter::new(&call.paths, &call.exclude, call.gitignore)?;
        let record = self.record();
        let host = open(&seed::absolute(&call.host_path, "host directory")?)?;
        if !call.elsewhere {
            refuse_others(&record, host.path())?;
        }
        refuse_own(&self.dir, host.path())?;
        let _hold = self.store.hold();
        let (name, freeze) = (call.tree.as_deref(), !call.no_freeze);
        let captured = self.obtain(name, Content::All, freeze, events).await?;
        let Captured { tree, mut deltas, stats, .. } = captured;
        let about = About {
            workspace: record.id.clone(),
            name: record.name.clone(),
            tree: tree.id.to_string(),
            at: Timestamp::now().to_string(),
        };
        let options = Options { beside: call.beside };
        let (store, events, dry_run) = (self.store.clone(), events.clone(), call.dry_run);
        let (path, plan, deltas, hidden) = blocking(move |cancelled| {
            let progress = StoreProgress::new(&events, "write", cancelled);
            let hidden = filter.apply(&store, &tree.root, &mut deltas)?;
            let session = journals.open(host)?;
            let plan = session.plan(&store, &deltas, &tree.root, options)?;
            if !dry_run {
                session.apply(&store, &plan, about, &progress)?;
            }
            deltas.retain(|delta| takes(&plan, delta));
            Ok((session.path().to_owned(), plan, deltas, hidden))
        })
        .await?;
        Ok(ApplyReply {
            workspace_id: record.id,
            host_path: BytesText::from(&*path),
            tree: tree.id.to_string(),
            applied: !call.dry_run && !plan.is_empty(),
            summary: summary(&plan),
            entries: shown(&plan),
            hidden,
            bytes_written: plan.bytes(),
            bytes_fetched: stats.fetched_bytes,
            warnings: hazards::warnings(&deltas, &TreePath::root()),
            frozen: stats.frozen,
            paused_us: stats.paused_us,
            execution_mode: record.backend.name().to_owned(),
        })
    }
}

impl Manager {
    /// Takes back what was applied last to a directory.
    pub async fn apply_undo(&self, call: WorkspaceApplyUndo) -> Result<ApplyUndoReply> {
        let dir = seed::absolute(&call.host_path, "host directory")?;
        let wanted = self.lookup(&call.workspace_id).map(|workspace| workspace.id());
        let journals = self.journals();
        blocking(move |_| {
            let session = journals.open(open(&dir)?)?;
            let about = session.last()?;
            let named = about.name.as_deref() == Some(&*call.workspace_id);
            let meant = match &wanted {
                Some(id) => about.workspace == *id,
                None => named || about.workspace == call.workspace_id,
            };
            if !meant {
                return Err(not_the_last(&dir, &about));
            }
            let undone = session.undo()?;
            let left = undone.left.into_iter().map(|left| LeftEntry {
                path: String::from_utf8_lossy(left.path.as_bytes()).into_owned(),
                path_b64: entries::b64(left.path.as_bytes()),
                reason: left.reason,
                kept_at: left.kept.as_deref().map(BytesText::from),
            });
            Ok(ApplyUndoReply {
                workspace_id: about.workspace,
                host_path: BytesText::from(session.path()),
                tree: about.tree,
                applied_at: about.at,
                restored_count: undone.restored.len() as u64,
                left: left.collect(),
            })
        })
        .await
    }
}

fn open(dir: &Path) -> Result<Host> {
    match Host::open(dir) {
        Err(pyro_apply::Error::Io { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Err(Error::NoPath(escape(dir.as_os_str().as_encoded_bytes())))
        }
        host => Ok(host?),
    }
}

fn not_the_last(dir: &Path, found: &About) -> Error {
    Error::NotLastApplied {
        dir: dir.to_owned(),
        last: found.name.clone().unwrap_or_else(|| found.workspace.clone()),
    }
}

/// Changes come back to where the workspace came from. `dir` has its links resolved, here and below.
fn refuse_others(record: &Record, dir: &Path) -> Result<()> {
    let seed = record.seed.seed_path.as_ref().map(BytesText::to_path);
    let same = |seed: &PathBuf| seed.canonicalize().is_ok_and(|seed| seed == dir);
    match seed {
        Some(seed) if same(&seed) => Ok(()),
        seed => Err(Error::NotTheSeed { dir: dir.to_owned(), seed }),
    }
}

/// Nothing is written to pyro's own directory. `workspace` is one of a workspace in it.
fn refuse_own(workspace: &Path, dir: &Path) -> Result<()> {
    let home = workspace.ancestors().nth(2).and_then(|home| home.canonicalize().ok());
    if home.is_some_and(|home| dir.starts_with(home)) {
        return Err(Error::Invalid(format!(
            "{dir:?} is in PYRO_HOME, which nothing is applied to"
        )));
    }
    Ok(())
}

/// Whether a plan brings a difference's new side to the host.
fn takes(plan: &Plan, delta: &Delta) -> bool {
    let place = plan.entries.binary_search_by(|entry| entry.path.cmp(&delta.path));
    let taken = [Action::Create, Action::Replace, Action::Merge, Action::Mode];
    place.is_ok_and(|place| {
        let entry = &plan.entries[place];
        taken.contains(&entry.action) || entry.beside.is_some()
    })
}

fn shown(plan: &Plan) -> Vec<ApplyEntry> {
    let text = |path: &TreePath| {
        let bytes = if path.is_root() { b"." } else { path.as_bytes() };
        String::from_utf8_lossy(bytes).into_owned()
    };
    let entries = plan.entries.iter().filter_map(|entry| {
        Some(ApplyEntry {
            path: text(&entry.path),
            path_b64: entries::b64(entry.path.as_bytes()),
            action: match entry.action {
                Action::Create => ApplyAction::Create,
                Action::Replace => ApplyAction::Replace,
                Action::Merge => ApplyAction::Merge,
                Action::Mode => ApplyAction::Mode,
                Action::Delete => ApplyAction::Delete,
                Action::Same => return None,
                Action::Keep => ApplyAction::Keep,
                Action::Conflict => ApplyAction::Conflict,
                Action::Refused => ApplyAction::Refused,
            },
            reason: entry.reason.clone(),
            written_to: entry.beside.as_ref().map(text),
            size: entry.size,
        })
    });
    entries.collect()
}

fn summary(plan: &Plan) -> ApplySummary {
    let mut summary = ApplySummary::default();
    for entry in &plan.entries {
        *match entry.action {
            Action::Create => &mut summary.created,
            Action::Replace => &mut summary.replaced,
            Action::Merge => &mut summary.merged,
            Action::Mode => &mut summary.mode_changed,
            Action::Delete => &mut summary.deleted,
            Action::Same => &mut summary.unchanged,
            Action::Keep => &mut summary.kept,
            Action::Conflict => &mut summary.conflicts,
            Action::Refused => &mut summary.refused,
        } += 1;
    }
    summary.total = plan.entries.len() as u64 - summary.unchanged;
    summary
}
