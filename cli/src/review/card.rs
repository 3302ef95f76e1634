//! One change: what happened to which path, and its lines or what there is to say instead.

use std::io::{self, Read, Seek, SeekFrom};

use pyro_api::{ArtifactType, DiffEntry, Status};

use super::{hunks, named, text};
use crate::print::diff::{self, Line, kind};
use crate::print::{count, size};

/// Bytes of the patch on one page.
const PAGE: u64 = 4 << 20;
/// Bytes of one file's part.
const FILE: u64 = 512 << 10;
/// Lines of one file's part.
const LINES: usize = 3000;
/// A file with more lines than this is folded at first.
const FOLDED: u64 = 400;
/// Files from this size on are not compared line by line, in bytes.
const LARGE: u64 = 16 << 20;

/// How much of the patch the page still takes.
pub struct Budget(u64);

impl Default for Budget {
    fn default() -> Self {
        Self(PAGE)
    }
}

/// The card of one line of the list.
pub fn card(
    number: usize,
    line: &Line<'_>,
    patch: &mut (impl Read + Seek),
    budget: &mut Budget,
) -> io::Result<String> {
    let (letter, path) = named(line);
    let badge = format!("<b class=\"badge {letter}\">{letter}</b>");
    let came = |letter, from: &str| {
        let (what, from) = (diff::from_where(letter), text::line(from.as_bytes()));
        format!("<bdi class=\"from\">{what} {from}</bdi>")
    };
    let (name, note, entry) = match line {
        Line::Entry(entry) => {
            let from = diff::origin(entry).map(|(letter, (from, _))| came(letter, from));
            (from.unwrap_or_default(), notes(entry), Some(*entry))
        }
        Line::Same { letter, from, entry } => {
            let size = entry.new_size.map(size).unwrap_or_default();
            (came(*letter, from), format!("unchanged · {size}"), None)
        }
        Line::MovedDirectory(rename) => {
            let files = count(rename.file_count, "file unchanged", "files unchanged");
            (came('R', &format!("{}/", rename.from)), files, None)
        }
    };
    let slash = match line {
        Line::Entry(entry) | Line::Same { entry, .. } => diff::slash(entry.artifact_type),
        Line::MovedDirectory(_) => "/",
    };
    let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let (dir, file) = (text::line(&path[..at]), text::line(&path[at..]));
    let mut head = format!(
        "{badge}<span class=\"name\"><bdi><span>{dir}</span>{file}{slash}</bdi>{name}</span>\
         <span class=\"note\">{}</span>",
        text::line(note.trim().as_bytes())
    );
    if let Some((added, removed)) =
        entry.and_then(|entry| entry.lines_added.zip(entry.lines_removed))
    {
        let count = |class, sign, n| match n {
            0 => String::new(),
            n => format!(" <b class=\"{class}\">{sign}{n}</b>"),
        };
        let (added, removed) = (count("plus", '+', added), count("minus", '\u{2212}', removed));
        head += &format!("<span class=\"lines\">{added}{removed}</span>");
    }
    let body = match entry {
        Some(entry) => body(entry, patch, budget)?,
        None => None,
    };
    Ok(match body {
        None => {
            format!("<div class=\"file\" id=\"f{number}\"><div class=\"head\">{head}</div></div>\n")
        }
        Some((folded, body)) => {
            let open = if folded { "" } else { " open" };
            // What was added or deleted has but one side.
            let sides = match line {
                Line::Entry(entry) if entry.status == Status::Modified => "two",
                _ => "one",
            };
            format!(
                "<details class=\"file\" id=\"f{number}\"{open}><summary class=\"head\">{head}\
                 </summary>\n<div class=\"code {sides}\">\n{body}</div></details>\n"
            )
        }
    })
}

/// What happened beyond the lines.
fn notes(entry: &DiffEntry) -> String {
    let mut notes = Vec::new();
    if let Some(old) = entry.old_artifact_type {
        notes.push(format!("{} → {}", kind(old), kind(entry.artifact_type)));
    }
    let change = |old: &Option<String>, new: &Option<String>| match (old, new) {
        (Some(old), Some(new)) if old != new => Some(format!("{old} → {new}")),
        _ => None,
    };
    if let Some(modes) = change(&entry.old_mode, &entry.new_mode) {
        notes.push(format!("mode {modes}"));
    }
    // Of what comes or goes only a mode that is not the usual one is worth a word.
    let only = entry.old_mode.as_ref().xor(entry.new_mode.as_ref());
    let usual = if entry.artifact_type == ArtifactType::Directory { "755" } else { "644" };
    if let Some(mode) = only.filter(|mode| *mode != usual) {
        notes.push(format!("mode {mode}"));
    }
    let sizes = (entry.old_size.map(size), entry.new_size.map(size));
    match sizes {
        (Some(old), Some(new)) if entry.old_size != entry.new_size => {
            notes.push(format!("{old} → {new}"));
        }
        (Some(only), _) | (None, Some(only)) => notes.push(only),
        (None, None) if entry.old_artifact_type.is_none() => {
            notes.push(kind(entry.artifact_type).to_owned());
        }
        (None, None) => {}
    }
    notes.join(" · ")
}

/// What is below the head, and whether it is folded at first; nothing if the head says it all.
fn body(
    entry: &DiffEntry,
    patch: &mut (impl Read + Seek),
    budget: &mut Budget,
) -> io::Result<Option<(bool, String)>> {
    let lines = entry.lines_added.unwrap_or(0).saturating_add(entry.lines_removed.unwrap_or(0));
    if let (Some(at), Some(len)) = (entry.patch_offset, entry.patch_len)
        && lines > 0
        && entry.artifact_type == ArtifactType::File
    {
        if len > budget.0 {
            return Ok(Some((true, remark("Not shown: this page holds enough."))));
        }
        let len = len.min(FILE);
        budget.0 -= len;
        patch.seek(SeekFrom::Start(at))?;
        let mut part = Vec::new();
        patch.by_ref().take(len).read_to_end(&mut part)?;
        let (mut rows, more) = hunks::rows(&part, LINES);
        if more > 0 || entry.patch_len > Some(FILE) {
            rows += &remark("This is not all of it: the rest is too long for this page.");
        }
        return Ok(Some((lines > FOLDED, rows)));
    }
    let mut facts = String::new();
    let mut fact = |name: &str, old: &Option<String>, new: &Option<String>| {
        if old == new {
            return;
        }
        facts += &format!("<dt>{name}</dt>");
        for (class, value) in [("minus", old), ("plus", new)] {
            if let Some(value) = value {
                let value = text::line(value.as_bytes());
                facts += &format!("<dd class=\"{class}\"><code>{value}</code></dd>");
            }
        }
    };
    fact("BLAKE3", &entry.old_hash, &entry.new_hash);
    fact("Target", &entry.old_target, &entry.new_target);
    if facts.is_empty() {
        return Ok(None);
    }
    let largest = entry.old_size.max(entry.new_size);
    let what = match largest {
        Some(size) if size > LARGE => "Too large to be compared line by line.",
        Some(0) => "An empty file.",
        Some(_) if entry.artifact_type == ArtifactType::File => "Not shown as text.",
        _ => "",
    };
    Ok(Some((false, format!("{}<dl class=\"values\">{facts}</dl>\n", remark(what)))))
}

fn remark(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<p class=\"remark\">{text}</p>\n") }
}
