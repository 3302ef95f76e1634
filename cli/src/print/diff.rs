//! Differences: a short list, counts of lines, or a line for each entry.

use std::collections::{HashMap, HashSet};

use pyro_api::{ArtifactType, DiffEntry, DiffReply, DiffSummary, Hidden, Rename, Status};

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

impl<'a> From<&'a DiffReply> for Changes<'a> {
    fn from(reply: &'a DiffReply) -> Self {
        Self { summary: &reply.summary, entries: &reply.entries, renames: &reply.renames }
    }
}

/// One line of a list for people.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A path that differs.
    Entry(&'a DiffEntry),
    /// An unchanged file or link at another path, or at one more.
    Same {
        /// `R` or `C`.
        letter: char,
        /// Where it was, safe to show.
        from: String,
        /// The new path.
        entry: &'a DiffEntry,
    },
    /// A directory at another path; what moved along unchanged has no lines of its own.
    MovedDirectory(&'a Rename),
}

/// How many changes are left out and by what, if any.
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
    (!told.is_empty()).then(|| told.join(", "))
}

/// Git's letter.
pub fn letter(status: Status) -> char {
    match status {
        Status::Added => 'A',
        Status::Modified => 'M',
        Status::Deleted => 'D',
        Status::TypeChanged => 'T',
    }
}

/// What ends the name of a directory.
pub fn slash(kind: ArtifactType) -> &'static str {
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

/// The exact bytes of a path, as JSON has them.
pub type Exact<'a> = (&'a str, Option<&'a str>);

fn exact(entry: &DiffEntry) -> Exact<'_> {
    (&entry.path, entry.path_b64.as_deref())
}

/// Where an added entry came from: `R` or `C`, and the path.
pub fn origin(entry: &DiffEntry) -> Option<(char, Exact<'_>)> {
    let moved = entry.renamed_from.as_deref().map(|from| (from, entry.renamed_from_b64.as_deref()));
    let copied = entry.copied_from.as_deref().map(|from| (from, entry.copied_from_b64.as_deref()));
    moved.map(|from| ('R', from)).or_else(|| copied.map(|from| ('C', from)))
}

/// What stands before the path that an entry came from.
pub fn from_where(letter: char) -> &'static str {
    if letter == 'C' { "copy of" } else { "from" }
}

fn shown_exact((text, b64): Exact<'_>) -> String {
    shown_path(text, b64)
}

/// Draws moves and copies together: a pair of an old and an added entry that hold the same is one
/// line, or none when a directory that is listed moved with it.
pub fn lines(changes: Changes<'_>) -> Vec<Line<'_>> {
    let old: HashMap<Exact<'_>, &DiffEntry> =
        changes.entries.iter().map(|entry| (exact(entry), entry)).collect();
    // Whether an entry is what it came from.
    let same = |entry: &DiffEntry| {
        let from = origin(entry).and_then(|(_, from)| old.get(&from));
        from.is_some_and(|from| is_same(from, entry))
    };
    let gone: HashSet<Exact<'_>> = changes
        .entries
        .iter()
        .filter(|entry| entry.renamed_from.is_some() && same(entry))
        .filter_map(|entry| origin(entry).map(|(_, from)| from))
        .collect();
    let along = |from: &str, to: &str| {
        changes.renames.iter().any(|rename| within(from, &rename.from) && within(to, &rename.to))
    };
    let mut lines: Vec<Line<'_>> = changes.renames.iter().map(Line::MovedDirectory).collect();
    for entry in changes.entries {
        match origin(entry).filter(|_| same(entry)) {
            Some(('R', from)) if along(from.0, &entry.path) => {}
            Some((letter, from)) => {
                lines.push(Line::Same { letter, from: shown_exact(from), entry });
            }
            None if entry.status == Status::Deleted && gone.contains(&exact(entry)) => {}
            None => lines.push(Line::Entry(entry)),
        }
    }
    lines
}

/// Whether nothing but the path differs.
fn is_same(old: &DiffEntry, new: &DiffEntry) -> bool {
    new.status == Status::Added
        && old.old_artifact_type.unwrap_or(old.artifact_type) == new.artifact_type
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
    if let Some((letter, from)) = origin(entry) {
        notes.push(format!("{} {}", from_where(letter), shown_exact(from)));
    }
    if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) }
}

/// A word for it.
pub fn kind(kind: ArtifactType) -> &'static str {
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
            Line::Same { letter, from, entry } => format!("{letter}  {}\n", arrow(&from, entry)),
            Line::MovedDirectory(rename) => format!("R  {}\n", moved_directory(rename)),
        };
    }
    text + &totals(changes.summary)
}

fn arrow(from: &str, entry: &DiffEntry) -> String {
    format!("{from}{} -> {}", slash(entry.artifact_type), named(entry))
}

fn moved_directory(rename: &Rename) -> String {
    let files = count(rename.file_count, "file", "files");
    format!("{}/ -> {}/ ({files} unchanged)", shown(&rename.from), shown(&rename.to))
}

/// Tab-separated lines as git prints them: a letter and a path, or both paths of what was moved
/// (`R100`) or copied (`C100`) with its content as it was.
pub fn name_status(changes: Changes<'_>) -> String {
    let moved = changes.entries.iter().filter(|entry| entry.renamed_from.is_some());
    let gone: HashSet<Exact<'_>> =
        moved.filter_map(|entry| origin(entry).map(|(_, from)| from)).collect();
    let line = |entry: &DiffEntry| match origin(entry) {
        Some((letter, from)) => {
            Some(format!("{letter}100\t{}\t{}\n", shown_exact(from), path(entry)))
        }
        None if entry.status == Status::Deleted && gone.contains(&exact(entry)) => None,
        None => Some(format!("{}\t{}\n", letter(entry.status), path(entry))),
    };
    changes.entries.iter().filter_map(line).collect()
}

/// Lines gained and lost, file by file.
pub fn stat(changes: Changes<'_>) -> String {
    let lines = lines(changes);
    let counts = |line: &Line<'_>| match line {
        Line::Entry(entry) => entry.lines_added.zip(entry.lines_removed),
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
            Line::Same { from, entry, .. } => (arrow(from, entry), String::new()),
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
            (None, Line::Same { letter: 'C', .. }) => "copied".to_owned(),
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
pub mod tests;
