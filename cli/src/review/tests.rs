use std::io::Cursor;

use pyro_api::{ArtifactType, DiffEntry, DiffSummary, Hidden, ReportStats, SkippedEntry, Status};

use super::*;

/// Names and content that a browser, a person or this page's own markup might take for more.
const HOSTILE: &[&str] = &[
    "<script>document.title='ran'</script>",
    "\"><img src=x onerror=\"document.title='ran'\">",
    "</style></code></details><h1>forged</h1>",
    "' autofocus onfocus='document.title=1",
    "\u{202e}txt.exe\u{2066}",
    "<!-- --><svg/onload=document.title=2>",
    "javascript:document.title=3",
    "&lt;script&gt;\0\u{1b}[2J\u{9b}",
];

fn reply(entries: Vec<DiffEntry>) -> DiffReply {
    DiffReply {
        workspace_id: "7dd519cfffb1".into(),
        changed: true,
        tree: "e4".repeat(32),
        pinned: true,
        from_tree: "d2".repeat(32),
        baseline_tree: "d2".repeat(32),
        summary: DiffSummary { total: entries.len() as u64, ..DiffSummary::default() },
        entries,
        renames: Vec::new(),
        skipped: vec![SkippedEntry { path: HOSTILE[1].into(), reason: "fifo".into() }],
        hidden: Hidden { by_path: 0, by_exclude: 2, by_gitignore: 0 },
        patch: String::new(),
        patch_b64: None,
        patch_truncated: false,
        report: ReportStats::default(),
        execution_mode: "qemu-kvm".into(),
    }
}

fn entry(path: &str) -> DiffEntry {
    DiffEntry {
        new_hash: Some("bb".into()),
        new_mode: Some("755".into()),
        ..crate::print::diff::tests::entry(Status::Modified, path)
    }
}

/// An entry with this part of the patch, which is appended.
fn patched(path: &str, patch: &mut String, part: &str) -> DiffEntry {
    let offset = patch.len() as u64;
    patch.push_str(part);
    let count = |sign| part.lines().filter(|line| line.starts_with(sign)).count() as u64;
    DiffEntry {
        lines_added: Some(count('+')),
        lines_removed: Some(count('-')),
        patch_offset: Some(offset),
        patch_len: Some(part.len() as u64),
        ..entry(path)
    }
}

fn page(reply: &DiffReply, patch: &str) -> String {
    let mut out = Vec::new();
    write(&mut out, reply, &mut Cursor::new(patch)).unwrap();
    String::from_utf8(out).unwrap()
}

/// Every tag with its attributes, in order; fails on anything that this page does not use.
fn tags(page: &str) -> Vec<&str> {
    let (head, body) = page.split_once("</style>").unwrap();
    assert_eq!(head.matches("<style>").count(), 1);
    let tags: Vec<&str> =
        body.split('<').skip(1).map(|rest| rest.split_once('>').unwrap().0).collect();
    const ELEMENTS: &[&str] = &[
        "a", "b", "bdi", "body", "code", "dd", "details", "div", "dl", "dt", "em", "h1", "head",
        "header", "html", "i", "input", "label", "li", "main", "mark", "nav", "p", "section",
        "span", "summary", "u", "ul",
    ];
    for tag in &tags {
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        assert!(ELEMENTS.contains(&name), "<{tag}>");
        let attributes = tag.split(' ').skip(1).filter_map(|part| part.split_once('='));
        for (attribute, value) in attributes {
            let known = ["class", "id", "for", "type", "name", "href", "aria-label"];
            assert!(known.contains(&attribute), "<{tag}>");
            assert!(attribute != "href" || value.starts_with("\"#f"), "<{tag}>");
        }
    }
    tags
}

#[test]
fn nothing_hostile_becomes_markup_wherever_it_stands() {
    let mut patch = String::new();
    let mut entries = Vec::new();
    for text in HOSTILE {
        let part = format!("@@ -1,2 +1,2 @@\n {text}\n-{text} old\n+{text} new\n");
        entries.push(patched(&format!("dir {text}/{text}"), &mut patch, &part));
        let mut moved = entry(text);
        moved.status = Status::Added;
        moved.renamed_from = Some((*text).into());
        (moved.old_target, moved.new_target) = (Some((*text).into()), Some(format!("{text}2")));
        entries.push(moved);
    }
    let mut reply = reply(entries);
    reply.renames.push(pyro_api::Rename {
        from: HOSTILE[0].into(),
        to: HOSTILE[1].into(),
        file_count: 1,
    });
    let page = page(&reply, &patch);
    tags(&page);
    let unseen = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    let bidi = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!page.chars().any(|c| unseen(c) || bidi(c)));
    assert!(page.contains("<u>\\u{202e}</u>txt.exe"));
}

#[test]
fn the_policy_allows_the_style_sheet_and_nothing_else() {
    let page = page(&reply(Vec::new()), "");
    let policy = page.split("content=\"").nth(1).unwrap().split('"').next().unwrap();
    let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let hash = STANDARD.encode(Sha256::digest(style));
    let allowed = format!("style-src 'sha256-{hash}'");
    assert_eq!(
        policy,
        format!("default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'")
    );
    for word in ["<script", "url(", "@import", "http:", "https:", "style="] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn the_page_names_its_tree_and_how_to_take_it_and_what_it_hides() {
    let page = page(&reply(vec![entry("f")]), "");
    let tree = "e4".repeat(32);
    let command = format!("pyro workspace export 7dd519cfffb1 . --output DIR --tree {tree}");
    assert!(page.contains(&command));
    assert!(page.contains("not shown: 2 changes by --exclude"));
    assert!(page.contains("left out: &quot;&gt;&lt;img"));
    assert!(page.contains("mode 644 → 755 · 10 B → 2.00 KiB"));
}

#[test]
fn a_page_stays_small_whatever_the_diff_holds() {
    let mut patch = String::new();
    let huge = format!("@@ -0,0 +1,200000 @@\n{}", "+<<<<<<<<\n".repeat(200_000));
    let mut entries: Vec<_> =
        (0..10).map(|n| patched(&format!("huge{n}"), &mut patch, &huge)).collect();
    entries.extend((0..CARDS + 100).map(|n| entry(&format!("n{n}"))));
    let page = page(&reply(entries), &patch);
    assert!(page.len() < 16 << 20, "{}", page.len());
    assert!(page.contains("the rest is too long for this page"));
    assert!(page.contains("110 more changes are not on this page"));
}

#[test]
fn deep_names_do_not_nest_without_end() {
    let deep = "d/x/".repeat(1000) + "f";
    let names = [deep.clone() + "1", deep + "2", "d/y".to_owned()];
    let page = page(&reply(names.iter().map(|name| entry(name)).collect()), "");
    let tags = tags(&page);
    let (mut depth, mut deepest) = (0i32, 0);
    for tag in tags {
        depth += i32::from(tag.starts_with("ul")) - i32::from(tag.starts_with("/ul"));
        deepest = deepest.max(depth);
    }
    assert!(deepest <= 14, "{deepest}");
}

#[test]
fn a_directory_that_came_with_its_files_has_no_card_of_its_own() {
    let dir = |path: &str, mode: &str| DiffEntry {
        status: Status::Added,
        artifact_type: ArtifactType::Directory,
        old_mode: None,
        new_mode: Some(mode.into()),
        old_size: None,
        new_size: None,
        ..entry(path)
    };
    let mut file = entry("full/f");
    file.status = Status::Added;
    let page =
        page(&reply(vec![dir("empty", "755"), dir("full", "755"), file, dir("odd", "700")]), "");
    let cards = page.matches("class=\"file\"").count();
    assert_eq!(cards, 3, "{page}");
    assert!(page.contains("</span>empty/") && page.contains("mode 700 · directory"));
}
