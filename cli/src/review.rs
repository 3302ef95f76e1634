//! A diff as one page to review in a browser.
//!
//! Names and content come from a guest, and whoever opens the page trusts it. So it has no script and
//! loads nothing, and its policy forbids both: the only thing allowed is the one style sheet, by its
//! hash. All foreign bytes go through [`text`], which leaves no markup, no control character and
//! nothing invisible. What is shown is bounded, whatever the diff holds, and the page says what it
//! does not show.
//!
//! ```text
//! reply ─▶ lines (moves drawn together) ─▶ tree of names
//!    └──── where its part of the patch is ─▶ card for each ─▶ hunks, side by side or unified
//! ```

mod card;
mod hunks;
mod text;
mod tree;

use std::collections::HashSet;
use std::io::{self, Read, Seek, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use pyro_api::{ArtifactType, DiffReply, Status};
use sha2::{Digest, Sha256};

use crate::print::count;
use crate::print::diff::{self, Changes, Line};

const STYLE: &str = include_str!("review/page.css");
/// Changes on one page.
const CARDS: usize = 3000;
/// Names of what is left out that are shown.
const SKIPPED: usize = 50;

/// Writes the page. `patch` is the whole patch of the reply.
pub fn write(
    out: &mut impl Write,
    reply: &DiffReply,
    patch: &mut (impl Read + Seek),
) -> io::Result<()> {
    let lines = worth_a_card(diff::lines(Changes::from(reply)));
    let shown = &lines[..lines.len().min(CARDS)];
    let mut page = head(reply);
    let (added, removed) = reply.entries.iter().fold((0, 0), |(added, removed), entry| {
        (added + entry.lines_added.unwrap_or(0), removed + entry.lines_removed.unwrap_or(0))
    });
    page += &top(reply, added, removed);
    page += "<div class=\"page\">\n<nav aria-label=\"Changed files\">\n";
    tree::write(&mut page, shown);
    page += "</nav>\n<main>\n";
    page += &facts(reply, lines.len() - shown.len());
    out.write_all(page.as_bytes())?;
    let mut budget = card::Budget::default();
    for (number, line) in shown.iter().enumerate() {
        let card = card::card(number, line, patch, &mut budget)?;
        out.write_all(card.as_bytes())?;
    }
    out.write_all(b"</main>\n</div>\n</body>\n</html>\n")
}

fn head(reply: &DiffReply) -> String {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let title = format!(
        "{} in workspace {}",
        count(reply.summary.total, "change", "changes"),
        reply.workspace_id
    );
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        text::line(title.as_bytes())
    )
}

fn top(reply: &DiffReply, added: u64, removed: u64) -> String {
    let total = count(reply.summary.total, "change", "changes");
    format!(
        "<input class=\"choice\" type=\"radio\" name=\"view\" id=\"split\" checked>\n\
         <input class=\"choice\" type=\"radio\" name=\"view\" id=\"unified\">\n\
         <input class=\"choice\" type=\"checkbox\" id=\"names\">\n\
         <header>\n<h1>{total} <span>in workspace {}</span></h1>\n\
         <p class=\"sum\"><b class=\"plus\">+{added}</b> <b class=\"minus\">\u{2212}{removed}</b></p>\n\
         <div class=\"views\"><label for=\"split\">Side by side</label>\
         <label for=\"unified\">Unified</label></div>\n\
         <label class=\"names\" for=\"names\">Files</label>\n</header>\n",
        text::line(reply.workspace_id.as_bytes())
    )
}

/// What is shown, what is not, and how to get exactly this.
fn facts(reply: &DiffReply, more: usize) -> String {
    let summary = &reply.summary;
    let mut page = "<section class=\"facts\">\n<ul class=\"kinds\">".to_owned();
    for (n, letter, what) in [
        (summary.added, "A", "added"),
        (summary.modified, "M", "modified"),
        (summary.deleted, "D", "deleted"),
        (summary.type_changed, "T", "of another type"),
    ] {
        if n > 0 {
            page += &format!("<li><b class=\"badge {letter}\">{letter}</b>{n} {what}</li>");
        }
    }
    if summary.total == 0 {
        page += "<li>Nothing differs.</li>";
    }
    page += "</ul>\n<dl>\n";
    let id = |id: &str| format!("<code>{}</code>", text::line(id.as_bytes()));
    page += &format!("<dt>Tree</dt><dd>{}</dd>\n", id(&reply.tree));
    let what = if reply.from_tree == reply.baseline_tree { " (the baseline)" } else { "" };
    page += &format!("<dt>Compared with</dt><dd>{}{what}</dd>\n", id(&reply.from_tree));
    let (workspace, tree) = (&reply.workspace_id, &reply.tree);
    for (what, command) in [
        ("Bring exactly this home", format!("pyro workspace apply {workspace} DIR --tree {tree}")),
        ("Copy it", format!("pyro workspace export {workspace} . --output DIR --tree {tree}")),
    ] {
        let command = text::line(command.as_bytes());
        page += &format!("<dt>{what}</dt><dd><code class=\"command\">{command}</code></dd>\n");
    }
    page += "</dl>\n";
    let mut remarks = Vec::new();
    remarks.extend(diff::hidden(&reply.hidden).map(|hidden| format!("not shown: {hidden}")));
    if more > 0 {
        remarks.push(format!("{more} more changes are not on this page"));
    }
    for entry in reply.skipped.iter().take(SKIPPED) {
        remarks.push(format!("left out: {} ({})", entry.path, entry.reason));
    }
    if reply.skipped.len() > SKIPPED {
        remarks.push(format!("left out: {} more", reply.skipped.len() - SKIPPED));
    }
    if !remarks.is_empty() {
        page += "<ul class=\"remarks\">";
        for remark in remarks {
            page += &format!("<li>{}</li>", text::line(remark.as_bytes()));
        }
        page += "</ul>\n";
    }
    page + "</section>\n"
}

/// Leaves out directories that came or went with something that has a card, unless their mode is
/// unusual: the tree of names shows them.
fn worth_a_card(lines: Vec<Line<'_>>) -> Vec<Line<'_>> {
    let mut parents = HashSet::new();
    for line in &lines {
        let (_, path) = named(line);
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        parents.extend(ends.map(|(end, _)| path[..end].to_vec()));
    }
    let says_all = |line: &Line<'_>| match line {
        Line::Entry(entry) => {
            let mode = entry.old_mode.as_ref().xor(entry.new_mode.as_ref());
            entry.artifact_type == ArtifactType::Directory
                && matches!(entry.status, Status::Added | Status::Deleted)
                && mode.is_some_and(|mode| mode == "755")
                && parents.contains(&named(line).1)
        }
        _ => false,
    };
    lines.into_iter().filter(|line| !says_all(line)).collect()
}

/// The letter and the exact path of a line of the list.
fn named(line: &Line<'_>) -> (char, Vec<u8>) {
    let exact = |entry: &pyro_api::DiffEntry| {
        let decoded = entry.path_b64.as_ref().and_then(|b64| STANDARD.decode(b64).ok());
        decoded.unwrap_or_else(|| entry.path.clone().into_bytes())
    };
    match line {
        Line::Entry(entry) => (diff::letter(entry.status), exact(entry)),
        Line::Same { letter, entry, .. } => (*letter, exact(entry)),
        Line::MovedDirectory(rename) => ('R', rename.to.clone().into_bytes()),
    }
}

#[cfg(test)]
mod tests;
