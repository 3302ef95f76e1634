//! Plans of what comes home.

use pyro_api::{ApplyAction, ApplyEntry, ApplyReply, ApplySummary, ApplyUndoReply};

use super::{count, diff, shown, size};

/// What is done about each path.
pub fn plan(reply: &ApplyReply) -> String {
    let mut lines: String = reply.entries.iter().map(line).collect();
    if let Some(hidden) = diff::hidden(&reply.hidden) {
        lines += &format!("left out: {hidden}\n");
    }
    let (host, tree) = (shown(&reply.host_path.lossy()), shown(&reply.tree));
    match reply.entries.is_empty() {
        true => format!("{lines}{host} has all that comes of tree {tree}\n"),
        false => format!("{lines}{}: tree {tree} to {host}\n", counts(&reply.summary)),
    }
}

fn line(entry: &ApplyEntry) -> String {
    let action = match entry.action {
        ApplyAction::Create => "create",
        ApplyAction::Replace => "replace",
        ApplyAction::Merge => "merge",
        ApplyAction::Mode => "mode",
        ApplyAction::Delete => "delete",
        ApplyAction::Keep => "keep",
        ApplyAction::Conflict => "conflict",
        ApplyAction::Refused => "refused",
    };
    let reason = entry.reason.as_ref().map(|reason| format!(": {}", shown(reason)));
    let beside = entry.written_to.as_ref().map(|path| format!(" \u{2192} {}", shown(path)));
    format!(
        "{action:<8} {}{}{}\n",
        shown(&entry.path),
        reason.unwrap_or_default(),
        beside.unwrap_or_default()
    )
}

fn counts(summary: &ApplySummary) -> String {
    let kinds = [
        (summary.created, "to create"),
        (summary.replaced, "to replace"),
        (summary.merged, "to merge"),
        (summary.mode_changed, "to give another mode"),
        (summary.deleted, "to delete"),
        (summary.kept, "kept"),
        (summary.conflicts, "in conflict"),
        (summary.refused, "refused"),
        (summary.unchanged, "as they should be already"),
    ];
    let kinds = kinds.iter().filter(|(n, _)| *n > 0);
    kinds.map(|(n, what)| format!("{n} {what}")).collect::<Vec<_>>().join(", ")
}

/// What was done.
pub fn applied(reply: &ApplyReply) -> String {
    let (id, host) = (shown(&reply.workspace_id), shown(&reply.host_path.lossy()));
    let mut text = match reply.applied {
        true => format!(
            "applied to {host}, {} written\nto take it back: pyro workspace apply {id} {host} --undo\n",
            size(reply.bytes_written)
        ),
        false => format!("nothing was to be done in {host}\n"),
    };
    if reply.summary.conflicts > 0 {
        let conflicts = count(reply.summary.conflicts, "conflict is", "conflicts are");
        text += &format!("{conflicts} left: --beside writes the workspace's side beside yours\n");
    }
    if reply.summary.refused > 0 {
        text += &format!("commits come home with: pyro workspace git fetch {id}\n");
    }
    text
}

/// What was taken back.
pub fn undone(reply: &ApplyUndoReply) -> String {
    let host = shown(&reply.host_path.lossy());
    let restored = count(reply.restored_count, "path", "paths");
    let mut text =
        format!("took back the apply of {}: {restored} of {host}\n", shown(&reply.applied_at));
    for left in &reply.left {
        let kept = left.kept_at.as_ref().map(|kept| format!("; it was {}", shown(&kept.lossy())));
        let (path, reason) = (shown(&left.path), shown(&left.reason));
        text += &format!("left     {path}: {reason}{}\n", kept.unwrap_or_default());
    }
    text
}
