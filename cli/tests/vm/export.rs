//! What an export writes, what it takes, and what crosses for it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use crate::push::random;
use crate::support::Home;
use crate::tree::{Listing, names, str_of};

#[test]
fn files_directories_and_links_appear_whole_or_not_at_all() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir_all(seed.join("d/e")).unwrap();
    fs::write(seed.join("d/e/f"), "deep\n").unwrap();
    fs::write(seed.join("tool"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(seed.join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("../../outside", seed.join("link")).unwrap();
    let id = home.workspace(&seed);
    home.sh(
        &id,
        "echo new > d/new; chown 1234:1234 d/new; chmod 4755 tool
         mkdir -p .git/hooks .vscode; echo x > .git/hooks/pre-commit; echo x > .vscode/tasks.json",
    );
    let out = home.scratch("out");
    fs::create_dir(&out).unwrap();
    let target = |name: &str| out.join(name).to_str().unwrap().to_owned();
    let export = |path: &str, name: &str| {
        home.json(["workspace", "export", &id, path, "--output", &target(name)])
    };

    let file = export("tool", "tool");
    assert_eq!((str_of(&file, "artifact_type"), &file["entry_count"]), ("file", &1.into()));
    let meta = fs::metadata(target("tool")).unwrap();
    assert_eq!(meta.mode() & 0o7777, 0o755, "setuid never leaves a workspace");
    let dir = export("/workspace/d", "d");
    assert_eq!((str_of(&dir, "artifact_type"), &dir["entry_count"]), ("directory", &3.into()));
    assert_eq!(str_of(&dir, "workspace_path"), "/workspace/d");
    let me = fs::metadata(&out).unwrap();
    let new = fs::metadata(out.join("d/new")).unwrap();
    assert_eq!((new.uid(), new.gid()), (me.uid(), me.gid()), "owned by the caller");
    let link = export("link", "link");
    assert_eq!(str_of(&link, "artifact_type"), "symlink");
    assert_eq!(fs::read_link(target("link")).unwrap().to_str(), Some("../../outside"));
    let whole = export(".", "whole");
    let warned = whole["warnings"].to_string();
    for name in [".git/hooks/pre-commit", ".vscode/tasks.json"] {
        assert!(warned.contains(name), "{warned}");
    }
    let mut view = Listing::guest(&home, &id);
    view.0.get_mut(&b"tool"[..]).unwrap().mode = "755".to_owned();
    Listing::host(&out.join("whole")).is(&view);

    let present = names(&out);
    for (path, name) in [("tool", "tool"), (".", "whole"), ("d", "link"), ("link", "d")] {
        let (exit, error) =
            home.fails(["workspace", "export", &id, path, "--output", &target(name)]);
        assert_eq!((str_of(&error, "code"), exit), ("already_exists", 4), "{error}");
        assert!(str_of(&error, "message").contains(&target(name)), "{error}");
        assert!(str_of(&error, "hint").contains("--force"), "{error}");
    }
    Listing::host(&out.join("whole")).is(&view);

    home.sh(&id, "rm -r d/e; echo changed > tool");
    for (path, name) in [("d", "whole"), ("tool", "link"), ("link", "tool"), ("d", "d")] {
        home.json(["workspace", "export", &id, path, "--output", &target(name), "--force"]);
    }
    assert_eq!(names(&out.join("whole")), [b"new"]);
    assert_eq!(names(&out.join("d")), [b"new"]);
    assert_eq!(fs::read_to_string(target("link")).unwrap(), "changed\n");
    assert!(fs::symlink_metadata(target("tool")).unwrap().is_symlink());
    assert_eq!(names(&out), present, "nothing temporary is left");

    // What is replaced by a failing export stays.
    let (_, error) =
        home.fails(["workspace", "export", &id, "d/e/f", "--output", &target("d"), "--force"]);
    assert_eq!(str_of(&error, "code"), "path_not_found");
    assert_eq!(names(&out.join("d")), [b"new"]);
    assert_eq!(names(&out), present);
}

#[test]
fn a_reviewed_tree_is_exported_exactly_or_not_at_all() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    fs::write(seed.join("text"), "one\n").unwrap();
    fs::write(seed.join("binary"), b"\0one").unwrap();
    let id = home.workspace(&seed);
    let target = |name: &str| home.scratch(name).to_str().unwrap().to_owned();

    home.sh(&id, "echo two > text");
    let first = home.json(["workspace", "diff", &id]);
    let reviewed = str_of(&first, "tree");
    home.json(["workspace", "export", &id, ".", "--output", &target("now"), "--tree", reviewed]);

    // The guest goes on; the review's content was fetched by then.
    home.sh(&id, "echo evil > text; echo evil > more");
    let out = target("then");
    let exported =
        home.json(["workspace", "export", &id, ".", "--output", &out, "--tree", reviewed]);
    assert_eq!(str_of(&exported, "tree"), reviewed);
    assert_eq!(names(out.as_ref()), [&b"binary"[..], b"text"]);
    assert_eq!(fs::read_to_string(home.scratch("then").join("text")).unwrap(), "two\n");

    // Content that was left in the guest: the host never had what was reviewed.
    home.sh(&id, "{ printf '\\000'; yes two | head -c 100000; } > binary");
    let second = home.ok(["workspace", "diff", &id, "--no-pin"]);
    let reviewed = second.lines().find_map(|line| line.strip_prefix("tree ")).unwrap();
    home.sh(&id, "{ printf '\\000'; yes evil | head -c 100000; } > binary");
    let (exit, error) = home.fails([
        "workspace",
        "export",
        &id,
        ".",
        "--output",
        &target("gone"),
        "--tree",
        reviewed,
    ]);
    assert_eq!((str_of(&error, "code"), exit), ("tree_changed", 4), "{error}");
    assert!(str_of(&error, "message").contains("binary"), "it names what changed: {error}");
    assert!(!home.scratch("gone").exists());
    // A part of that tree that did not change is still to be had.
    home.json([
        "workspace",
        "export",
        &id,
        "more",
        "--output",
        &target("more"),
        "--tree",
        reviewed,
    ]);
    assert_eq!(fs::read_to_string(home.scratch("more")).unwrap(), "evil\n");

    let unknown = "0".repeat(64);
    for (tree, code) in [(unknown.as_str(), "tree_changed"), ("xyz", "invalid_argument")] {
        let (_, error) = home.fails([
            "workspace",
            "export",
            &id,
            ".",
            "--output",
            &out,
            "--tree",
            tree,
            "--force",
        ]);
        assert_eq!(str_of(&error, "code"), code, "{error}");
    }
    assert_eq!(fs::read_to_string(home.scratch("then").join("text")).unwrap(), "two\n");
}

/// Bytes in a few chunks of the largest size.
const FEW: u64 = 4 * (256 << 10);

#[test]
fn only_what_is_not_accounted_for_crosses() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    fs::write(seed.join("big"), random(1, 10 << 20)).unwrap();
    fs::write(seed.join("mid"), random(2, 2 << 20)).unwrap();
    fs::write(seed.join("mid2"), random(3, 2 << 20)).unwrap();
    let id = home.workspace(&seed);
    let fetched = |path: &str| {
        let out = home.scratch("fetched");
        let call = ["workspace", "export", &id, path, "--output", out.to_str().unwrap(), "--force"];
        home.json(call)["bytes_fetched"].as_u64().unwrap()
    };

    home.sh(&id, "cp mid copy; mkdir d; mv mid2 d/moved; cat mid mid > twice");
    assert_eq!(fetched("copy"), 0);
    assert_eq!(fetched("d"), 0);
    // Chunks end where the content says: where two copies meet, a few are new.
    let twice = fetched("twice");
    assert!(twice <= FEW, "{twice} bytes crossed");

    home.sh(&id, "printf X | dd of=big bs=1 seek=5000000 conv=notrunc 2>&1");
    let edited = fetched("big");
    assert!((1..=FEW).contains(&edited), "{edited} bytes crossed");
    assert_eq!(fetched("."), 0, "all of it was fetched before");
    Listing::host(&home.scratch("fetched")).is(&Listing::guest(&home, &id));

    home.json([
        "workspace",
        "sync",
        "push",
        &id,
        seed.join("mid").to_str().unwrap(),
        "--dest",
        "p",
    ]);
    assert_eq!(fetched("p"), 0, "what was pushed is accounted for");

    // The store has this content, but not from this workspace: a claim proves nothing.
    let other = home.scratch("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("f"), "secret\n".repeat(3000)).unwrap();
    home.json(["store", "ingest", other.to_str().unwrap()]);
    home.sh(&id, "yes secret | head -n 3000 > guessed");
    assert_eq!(fetched("guessed"), 21_000);
    assert_eq!(home.json(["store", "verify"])["clean"], true);
}

#[test]
fn several_paths_and_what_changed_become_directories_archives_and_patches() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir_all(seed.join("a/b")).unwrap();
    fs::create_dir_all(seed.join("kept")).unwrap();
    for (name, text) in [("a/b/one", "one\n"), ("a/two", "two\n"), ("kept/same", "same\n")] {
        fs::write(seed.join(name), text).unwrap();
    }
    let id = home.workspace(&seed);
    let long = "long-".repeat(30);
    home.sh(
        &id,
        &format!(
            "echo more >> a/b/one; rm a/two; mkdir -p new/empty '{long}'
             ln -s '../{long}/{long}' new/link; echo x > '{long}/{long}'; chmod 4755 '{long}/{long}'
             printf 'caf\\351' > new/latin; touch kept/same"
        ),
    );
    let to = |name: &str| home.scratch(name).to_str().unwrap().to_owned();
    let (some, changed, tar) = (to("some"), to("changed"), to("changed.tar"));
    home.json(["workspace", "export", &id, "a/b", "kept/same", "--output", &some]);
    assert_eq!(names(some.as_ref()), [&b"a"[..], b"kept"]);
    assert_eq!(names(home.scratch("some/a").as_path()), [b"b"]);

    let reply = home.json(["workspace", "export", &id, "--changed", "--output", &changed]);
    assert_eq!(reply["deleted"], serde_json::json!(["a/two"]));
    assert_eq!(names(changed.as_ref()), [&b"a"[..], long.as_bytes(), b"new"]);
    assert_eq!(names(home.scratch("changed/new").as_path()), [&b"empty"[..], b"latin", b"link"]);

    home.json(["workspace", "export", &id, "--changed", "--format", "tar", "--output", &tar]);
    let (whole, single) = (home.scratch("whole"), home.scratch("single"));
    for dir in [&whole, &single] {
        fs::create_dir(dir).unwrap();
    }
    let untar = |archive: &[u8], dir: &std::path::Path| {
        let path = home.scratch("archive");
        fs::write(&path, archive).unwrap();
        let run = std::process::Command::new("tar").arg("-xf").arg(&path).current_dir(dir).status();
        assert!(run.unwrap().success());
    };
    untar(&fs::read(&tar).unwrap(), &whole);
    // The format has whole seconds.
    let seconds = |dir: &std::path::Path| {
        let mut listing = Listing::host(dir);
        listing.0.values_mut().for_each(|item| item.mtime.truncate(10));
        listing
    };
    let mut unpacked = seconds(&whole);
    let mut plain = seconds(changed.as_ref());
    for listing in [&mut unpacked, &mut plain] {
        listing.0.remove(&b""[..]);
    }
    unpacked.is(&plain);
    let piped =
        home.output(["workspace", "export", &id, "new/latin", "--format", "tar", "--output", "-"]);
    assert!(piped.status.success());
    untar(&piped.stdout, &single);
    assert_eq!(fs::read(single.join("latin")).unwrap(), b"caf\xe9");

    let patch = to("patch");
    let words = ["workspace", "export", &id, "a", "--changed", "--format", "patch", "--output"];
    home.ok(words.iter().copied().chain([&*patch]));
    let text = fs::read_to_string(&patch).unwrap();
    assert!(
        text.contains("+more\n") && text.contains("-two\n") && !text.contains("latin"),
        "{text}"
    );
    assert_eq!(home.ok(words.iter().copied().chain(["-"])), text);
    let again = home.output(words.iter().copied().chain([&*patch]));
    assert!(!again.status.success(), "nothing is overwritten unasked");
    for refused in [
        &["--output", "-", "."][..],
        &["--output", "x", ".", "--format", "patch"],
        &["--output", "x"],
    ] {
        let words = ["workspace", "export", &id].into_iter().chain(refused.iter().copied());
        assert_eq!(home.output(words).status.code(), Some(2), "{refused:?}");
    }
    let (_, error) =
        home.fails(["workspace", "export", &id, "a", "none", "--output", &to("missing")]);
    assert_eq!(str_of(&error, "code"), "path_not_found", "{error}");
}
