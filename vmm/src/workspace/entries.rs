//! Differences as answers list them.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use pyro_api::{ArtifactType, DiffEntry, DiffSummary, Rename, Status};
use pyro_format::{Delta, LinkTarget, Mode, Node, TreePath, escape};

use super::renames::Moves;

/// The entry of a difference, without its patch.
pub fn entry(delta: &Delta, moves: &Moves) -> DiffEntry {
    let (old, new) = (delta.old.as_ref(), delta.new.as_ref());
    let (old_kind, new_kind) = (old.map(kind), new.map(kind));
    let status = match (old_kind, new_kind) {
        (None, _) => Status::Added,
        (_, None) => Status::Deleted,
        (a, b) if a == b => Status::Modified,
        _ => Status::TypeChanged,
    };
    let bytes = if delta.path.is_root() { b"." } else { delta.path.as_bytes() };
    let renamed_from = moves.from.get(&delta.path);
    let copied_from = moves.copies.get(&delta.path);
    let text = |path: &TreePath| String::from_utf8_lossy(path.as_bytes()).into_owned();
    DiffEntry {
        path: String::from_utf8_lossy(bytes).into_owned(),
        path_b64: b64(bytes),
        status,
        artifact_type: new_kind.or(old_kind).unwrap_or(ArtifactType::File),
        old_artifact_type: old_kind.filter(|_| status == Status::TypeChanged),
        text_patch: None,
        old_hash: old.and_then(hash),
        new_hash: new.and_then(hash),
        old_size: old.and_then(size),
        new_size: new.and_then(size),
        old_mode: old.and_then(mode).map(octal),
        new_mode: new.and_then(mode).map(octal),
        old_target: old.and_then(target).map(|target| escape(target.as_bytes())),
        new_target: new.and_then(target).map(|target| escape(target.as_bytes())),
        renamed_from: renamed_from.map(text),
        renamed_from_b64: renamed_from.and_then(|path| b64(path.as_bytes())),
        copied_from: copied_from.map(text),
        copied_from_b64: copied_from.and_then(|path| b64(path.as_bytes())),
        lines_added: None,
        lines_removed: None,
        patch_offset: None,
        patch_len: None,
    }
}

/// The moved directories of an answer.
pub fn renames(moves: &Moves) -> Vec<Rename> {
    let text = |path: &TreePath| String::from_utf8_lossy(path.as_bytes()).into_owned();
    moves
        .dirs
        .iter()
        .map(|dir| Rename { from: text(&dir.from), to: text(&dir.to), file_count: dir.files })
        .collect()
}

/// Counts entries by status. Which of them a patch carries is for the caller to say.
pub fn summary(entries: &[DiffEntry]) -> DiffSummary {
    let mut counts: BTreeMap<u8, u64> = BTreeMap::new();
    for entry in entries {
        *counts.entry(entry.status as u8).or_default() += 1;
    }
    let count = |status: Status| counts.get(&(status as u8)).copied().unwrap_or(0);
    DiffSummary {
        total: entries.len() as u64,
        added: count(Status::Added),
        modified: count(Status::Modified),
        deleted: count(Status::Deleted),
        type_changed: count(Status::TypeChanged),
        text_patched: 0,
        non_text: entries.len() as u64,
    }
}

/// What an entry of a tree is.
pub fn kind(node: &Node) -> ArtifactType {
    match node {
        Node::File { .. } => ArtifactType::File,
        Node::Dir { .. } => ArtifactType::Directory,
        Node::Symlink { .. } => ArtifactType::Symlink,
    }
}

/// BLAKE3 of a file's content, in hex.
pub fn hash(node: &Node) -> Option<String> {
    match node {
        Node::File { content, .. } => Some(content.to_string()),
        _ => None,
    }
}

/// A file's length in bytes.
pub fn size(node: &Node) -> Option<u64> {
    match node {
        Node::File { size, .. } => Some(*size),
        _ => None,
    }
}

/// Permission bits; a link has none.
pub fn mode(node: &Node) -> Option<Mode> {
    match node {
        Node::File { mode, .. } | Node::Dir { mode, .. } => Some(*mode),
        Node::Symlink { .. } => None,
    }
}

/// Where a link points.
pub fn target(node: &Node) -> Option<&LinkTarget> {
    match node {
        Node::Symlink { target } => Some(target),
        _ => None,
    }
}

/// Permission bits as people write them.
pub fn octal(mode: Mode) -> String {
    format!("{:03o}", mode.bits())
}

/// Base64 of bytes that are not UTF-8.
pub fn b64(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).is_err().then(|| STANDARD.encode(bytes))
}
