use super::*;

/// A file; of one that is on both sides nothing but the size differs.
pub fn entry(status: Status, path: &str) -> DiffEntry {
    let (old, new) = match status {
        Status::Added => (None, Some("644")),
        Status::Deleted => (Some("644"), None),
        _ => (Some("644"), Some("644")),
    };
    DiffEntry {
        path: path.into(),
        path_b64: None,
        status,
        artifact_type: ArtifactType::File,
        old_artifact_type: None,
        text_patch: None,
        old_hash: old.map(|_| "aa".into()),
        new_hash: new.map(|_| "aa".into()),
        old_size: old.map(|_| 10),
        new_size: new.map(|_| 2048),
        old_mode: old.map(Into::into),
        new_mode: new.map(Into::into),
        old_target: None,
        new_target: None,
        renamed_from: None,
        renamed_from_b64: None,
        copied_from: None,
        copied_from_b64: None,
        lines_added: None,
        lines_removed: None,
        patch_offset: None,
        patch_len: None,
    }
}

fn summary(entries: &[DiffEntry]) -> DiffSummary {
    let n = |status| entries.iter().filter(|e| e.status == status).count() as u64;
    DiffSummary {
        total: entries.len() as u64,
        added: n(Status::Added),
        modified: n(Status::Modified),
        deleted: n(Status::Deleted),
        type_changed: n(Status::TypeChanged),
        ..DiffSummary::default()
    }
}

fn with(entries: &[DiffEntry], renames: &[Rename], form: fn(Changes<'_>) -> String) -> String {
    form(Changes { summary: &summary(entries), entries, renames })
}

fn moved(from: &str, to: &str) -> [DiffEntry; 2] {
    let mut new = entry(Status::Added, to);
    new.renamed_from = Some(from.into());
    [entry(Status::Deleted, from), new]
}

#[test]
fn a_moved_directory_is_one_line_and_its_edited_files_are_listed() {
    let mut edited = moved("old/edited", "new/edited");
    edited[1].new_hash = Some("bb".into());
    let entries = [
        moved("old/a", "new/a"),
        moved("old/sub/b", "new/sub/b"),
        edited,
        [entry(Status::Deleted, "old/lost"), entry(Status::Added, "new/found")],
    ]
    .concat();
    let renames = [Rename { from: "old".into(), to: "new".into(), file_count: 2 }];
    insta::assert_snapshot!(with(&entries, &renames, short), @r"
    R  old/ -> new/ (2 files unchanged)
    D  old/edited
    A  new/edited (from old/edited)
    D  old/lost
    A  new/found
    8 entries differ: 4 added, 4 deleted
    ");
}

#[test]
fn a_moved_file_is_one_line_unless_its_mode_changed_too() {
    let mut chmodded = moved("c", "d");
    chmodded[1].new_mode = Some("755".into());
    let entries = [moved("a", "b"), chmodded].concat();
    insta::assert_snapshot!(with(&entries, &[], short), @r"
    R  a -> b
    D  c
    A  d (from c)
    4 entries differ: 2 added, 2 deleted
    ");
}

#[test]
fn a_copy_names_its_source_and_both_stay_listed() {
    let mut source = entry(Status::Modified, "a");
    source.new_hash = Some("bb".into());
    let mut copy = entry(Status::Added, "b");
    copy.copied_from = Some("a".into());
    let mut other_mode = copy.clone();
    other_mode.path = "c".into();
    other_mode.new_mode = Some("755".into());
    insta::assert_snapshot!(with(&[source, copy, other_mode], &[], short), @r"
    M  a
    C  a -> b
    A  c (copy of a)
    3 entries differ: 2 added, 1 modified
    ");
}

#[test]
fn names_and_letters_are_those_of_git() {
    let mut copy = entry(Status::Added, "copy");
    copy.copied_from = Some("a".into());
    let mut kind = entry(Status::TypeChanged, "link");
    kind.artifact_type = ArtifactType::Symlink;
    let others = [entry(Status::Modified, "m"), entry(Status::Deleted, "d"), copy, kind];
    let entries = [&moved("a", "b")[..], &others].concat();
    let expected = "R100\ta\tb\nM\tm\nD\td\nC100\ta\tcopy\nT\tlink\n";
    assert_eq!(with(&entries, &[], name_status), expected);
}

#[test]
fn paths_that_look_alike_when_replaced_are_told_apart() {
    let mut entries = moved("\u{fffd}", "to");
    entries[0].path_b64 = Some("/w==".into());
    entries[1].renamed_from_b64 = Some("/g==".into());
    // What came from 0xfe is no move of 0xff.
    insta::assert_snapshot!(with(&entries, &[], short), @r"
    D  \xff
    A  to (from \xfe)
    2 entries differ: 1 added, 1 deleted
    ");
}

#[test]
fn modes_and_types_are_told() {
    let mut mode = entry(Status::Modified, "run.sh");
    mode.new_mode = Some("755".into());
    let mut kind = entry(Status::TypeChanged, "link");
    kind.old_artifact_type = Some(ArtifactType::File);
    kind.artifact_type = ArtifactType::Symlink;
    let mut dir = entry(Status::Added, "dir");
    dir.artifact_type = ArtifactType::Directory;
    insta::assert_snapshot!(with(&[mode, kind, dir], &[], short), @r"
    M  run.sh (mode 644 -> 755)
    T  link (file -> link)
    A  dir/
    3 entries differ: 1 added, 1 modified, 1 of another type
    ");
}

#[test]
fn nothing_is_said_in_words() {
    assert_eq!(with(&[], &[], short), "no changes\n");
    assert_eq!(with(&[], &[], stat), "no changes\n");
    assert_eq!(with(&[], &[], name_status), "");
}

#[test]
fn stat_counts_lines_of_text_and_bytes_of_the_rest() {
    let mut text = entry(Status::Modified, "notes.md");
    (text.lines_added, text.lines_removed) = (Some(2), Some(1));
    let mut mode = entry(Status::Modified, "run.sh");
    mode.new_size = mode.old_size;
    mode.text_patch = Some("old mode 100644\nnew mode 100755\n".into());
    mode.new_mode = Some("755".into());
    let mut binary = entry(Status::Modified, "logo.png");
    binary.new_hash = Some("bb".into());
    insta::assert_snapshot!(with(&[binary, text, mode], &[], stat), @r"
     logo.png  | 10 B -> 2.00 KiB
     notes.md  | 3 ++-
     run.sh    | (mode 644 -> 755)
    3 entries differ: 3 modified
    2 lines added, 1 removed
    ");
}

#[test]
fn a_wide_graph_is_scaled_but_never_loses_a_side() {
    let mut text = entry(Status::Added, "big");
    (text.lines_added, text.lines_removed) = (Some(4000), Some(1));
    let graph = with(&[text], &[], stat);
    let graph = graph.lines().next().unwrap();
    assert!(graph.ends_with("+-") && graph.len() < 60, "{graph}");
}

#[test]
fn a_hostile_name_cannot_forge_a_line() {
    let entries = [entry(Status::Added, "x\nD\timportant")];
    assert_eq!(with(&entries, &[], name_status), "A\tx\\nD\\timportant\n");
}
