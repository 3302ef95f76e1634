//! Differences: a short list, counts of lines, or a line for each entry.

use std::collections::HashMap;

use pyro_api::{ArtifactType, DiffEntry, DiffSummary, Hidden, Rename, Status};

use super::{count, shown, shown_path, size, table};

/// The widest graph of `+` and `-`, in characters.
const GRAPH: u64 = 40;

/// What a diff shows, wherever it came from.
#[derive(Debug, Clone, Copy)]
pub struct Changes<'a> {
    /// Counts.
    pub summary: &'a DiffSummary,
    /// Every path that differs.
    pub entries: &'a [DiffEntry],
    /// Directories that were moved.
    pub renames: &'a [Rename],
}

/// One line of a list for people.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Entry(&'a DiffEntry),
    /// An unchanged file or link at another path.
    Moved {
        from: &'a str,
        to: &'a str,
        kind: ArtifactType,
    },
    /// A directory at another path; what moved along unchanged has no lines of its own.
    MovedDirectory(&'a Rename),
}

/// What a diff does not show, if anything.
pub fn hidden(hidden: &Hidden) -> Option<String> {
    let counts = [
        (hidden.by_path, "at other paths"),
        (hidden.by_exclude, "by --exclude"),
        (hidden.by_gitignore, "by .gitignore"),
    ];
    let told: Vec<_> = counts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, by)| format!("{} {by}", count(*n, "change", "changes")))
        .collect();
    (!told.is_empty()).then(|| format!("not shown: {}", told.join(", ")))
}

fn letter(status: Status) -> char {
    match status {
        Status::Added => 'A',
        Status::Modified => 'M',
        Status::Deleted => 'D',
        Status::TypeChanged => 'T',
    }
}

fn slash(kind: ArtifactType) -> &'static str {
    if kind == ArtifactType::Directory { "/" } else { "" }
}

fn named(entry: &DiffEntry) -> String {
    path(entry) + slash(entry.artifact_type)
}

/// The exact path, even where JSON's text had to replace bytes.
fn path(entry: &DiffEntry) -> String {
    shown_path(&entry.path, entry.path_b64.as_deref())
}

/// Whether `path` is `top` or below it.
fn within(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Draws moves together: a pair of a deleted and an added entry that hold the same is one line, or
/// none when a directory that is listed moved with it.
fn lines(changes: Changes<'_>) -> Vec<Line<'_>> {
    let deleted: HashMap<&str, &DiffEntry> = changes
        .entries
        .iter()
        .filter(|entry| entry.status == Status::Deleted)
        .map(|entry| (entry.path.as_str(), entry))
        .collect();
    let mut partner: HashMap<&str, &str> = HashMap::new();
    for entry in changes.entries {
        let from = entry.renamed_from.as_deref().and_then(|from| deleted.get(from));
        if let Some(from) = from.filter(|from| is_same(from, entry)) {
            partner.insert(&entry.path, &from.path);
        }
    }
    let gone: std::collections::HashSet<&str> = partner.values().copied().collect();
    let along = |from: &str, to: &str| {
        changes.renames.iter().any(|rename| within(from, &rename.from) && within(to, &rename.to))
    };
    let mut lines: Vec<Line<'_>> = changes.renames.iter().map(Line::MovedDirectory).collect();
    for entry in changes.entries {
        match partner.get(entry.path.as_str()) {
            Some(from) if entry.status == Status::Added => {
                if !along(from, &entry.path) {
                    lines.push(Line::Moved { from, to: &entry.path, kind: entry.artifact_type });
                }
            }
            _ if entry.status == Status::Deleted && gone.contains(entry.path.as_str()) => {}
            _ => lines.push(Line::Entry(entry)),
        }
    }
    lines
}

/// Whether nothing but the path differs.
fn is_same(old: &DiffEntry, new: &DiffEntry) -> bool {
    new.status == Status::Added
        && old.artifact_type == new.artifact_type
        && old.old_hash == new.new_hash
        && old.old_mode == new.new_mode
        && old.old_target == new.new_target
}

/// What happened beyond the content, in brackets.
fn aside(entry: &DiffEntry) -> String {
    let mut notes = Vec::new();
    if let Some(old) = entry.old_artifact_type {
        notes.push(format!("{} -> {}", kind(old), kind(entry.artifact_type)));
    }
    if let (Some(old), Some(new)) = (&entry.old_mode, &entry.new_mode)
        && old != new
    {
        notes.push(format!("mode {old} -> {new}"));
    }
    if let Some(from) = &entry.renamed_from {
        notes.push(format!("from {}", shown(from)));
    }
    if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) }
}

fn kind(kind: ArtifactType) -> &'static str {
    match kind {
        ArtifactType::File => "file",
        ArtifactType::Directory => "directory",
        ArtifactType::Symlink => "link",
    }
}

/// The list and the counts.
pub fn short(changes: Changes<'_>) -> String {
    let mut text = String::new();
    for line in lines(changes) {
        text += &match line {
            Line::Entry(entry) => {
                format!("{}  {}{}\n", letter(entry.status), named(entry), aside(entry))
            }
            Line::Moved { from, to, kind } => {
                format!("R  {0}{2} -> {1}{2}\n", shown(from), shown(to), slash(kind))
            }
            Line::MovedDirectory(rename) => format!("R  {}\n", moved_directory(rename)),
        };
    }
    text + &totals(changes.summary)
}

fn moved_directory(rename: &Rename) -> String {
    let files = count(rename.file_count, "file", "files");
    format!("{}/ -> {}/ ({files} unchanged)", shown(&rename.from), shown(&rename.to))
}

/// A tab-separated line for each entry, nothing drawn together.
pub fn name_status(changes: Changes<'_>) -> String {
    let line = |entry: &DiffEntry| format!("{}\t{}\n", letter(entry.status), path(entry));
    changes.entries.iter().map(line).collect()
}

/// Lines gained and lost, file by file.
pub fn stat(changes: Changes<'_>) -> String {
    let lines = lines(changes);
    let counts = |line: &Line<'_>| match line {
        // A patch without lines tells of a mode or an empty file.
        Line::Entry(entry) => {
            entry.text_patch.as_deref().map(plus_minus).filter(|(plus, minus)| plus + minus > 0)
        }
        _ => None,
    };
    let widest = lines.iter().filter_map(counts).map(|(plus, minus)| plus + minus).max();
    let scale = |n: u64| match widest.unwrap_or(0) {
        widest if widest > GRAPH && n > 0 => (n * GRAPH / widest).max(1),
        _ => n,
    };
    let (mut plus, mut minus) = (0, 0);
    let mut rows = Vec::new();
    for line in &lines {
        let (name, what) = match line {
            Line::Entry(entry) => (named(entry), aside(entry)),
            Line::Moved { from, to, kind } => {
                (format!("{0}{2} -> {1}{2}", shown(from), shown(to), slash(*kind)), String::new())
            }
            Line::MovedDirectory(rename) => (moved_directory(rename), String::new()),
        };
        let change = match (counts(line), line) {
            (Some((p, m)), _) => {
                plus += p;
                minus += m;
                let graph = "+".repeat(scale(p) as usize) + &"-".repeat(scale(m) as usize);
                format!("{} {graph}{what}", p + m)
            }
            (None, Line::Entry(entry)) => format!("{}{what}", sizes(entry)),
            (None, _) => "moved".to_owned(),
        };
        rows.push(vec![format!(" {name}"), format!("| {}", change.trim())]);
    }
    let mut text = table(rows) + &totals(changes.summary);
    if plus + minus > 0 {
        text += &format!("{} added, {minus} removed\n", count(plus, "line", "lines"));
    }
    text
}

/// What happened to an entry that has no lines.
fn sizes(entry: &DiffEntry) -> String {
    if entry.artifact_type != ArtifactType::File {
        let verb = match entry.status {
            Status::Added => "new",
            Status::Modified => "changed",
            Status::Deleted => "deleted",
            Status::TypeChanged => "now a",
        };
        return format!("{verb} {}", kind(entry.artifact_type));
    }
    match (entry.old_size, entry.new_size) {
        (Some(old), Some(new)) if entry.old_hash == entry.new_hash && old == new => String::new(),
        (Some(old), Some(new)) => format!("{} -> {}", size(old), size(new)),
        (None, Some(new)) => format!("new, {}", size(new)),
        (Some(old), None) => format!("deleted, {}", size(old)),
        (None, None) => letter(entry.status).to_string(),
    }
}

/// Lines that one file's patch adds and removes.
fn plus_minus(patch: &str) -> (u64, u64) {
    let mut counts = (0, 0);
    // The header's own `+++` and `---` come before the first hunk.
    for line in patch.lines().skip_while(|line| !line.starts_with("@@")) {
        match line.as_bytes().first() {
            Some(b'+') => counts.0 += 1,
            Some(b'-') => counts.1 += 1,
            _ => {}
        }
    }
    counts
}

fn totals(summary: &DiffSummary) -> String {
    if summary.total == 0 {
        return "no changes\n".to_owned();
    }
    let parts = [
        (summary.added, "added"),
        (summary.modified, "modified"),
        (summary.deleted, "deleted"),
        (summary.type_changed, "of another type"),
    ];
    let parts = parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
    let parts = parts.collect::<Vec<_>>().join(", ");
    format!("{}: {parts}\n", count(summary.total, "entry differs", "entries differ"))
}

#[cfg(test)]
mod tests;
