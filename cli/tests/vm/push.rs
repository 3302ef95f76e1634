//! What a push brings, and what it leaves alone.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::Value;

use crate::support::Home;
use crate::tree::{Listing, assert_changes, python, str_of};

fn push(home: &Home, id: &str, source: &Path, dest: &str) -> Value {
    home.json(["workspace", "sync", "push", id, source.to_str().unwrap(), "--dest", dest])
}

#[test]
fn a_push_merges_files_directories_and_archives() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir_all(seed.join("d")).unwrap();
    for (name, content) in [("a", "old\n"), ("same", "same\n"), ("d/keep", "keep\n")] {
        fs::write(seed.join(name), content).unwrap();
    }
    let id = home.workspace(&seed);
    let before = home.json(["workspace", "status", &id]);
    home.sh(&id, "echo guest > d/guest; mkdir hollow; ln -s a l");

    let source = home.scratch("source");
    fs::create_dir_all(source.join("d/deeper")).unwrap();
    fs::create_dir(source.join("empty")).unwrap();
    for (name, content) in [
        ("a", "new\n"),
        ("same", "same\n"),
        ("d/deeper/f", "f\n"),
        ("hollow", "a file for an empty directory\n"),
        ("l", "a file for a link\n"),
        ("script", "#!/bin/sh\n"),
    ] {
        fs::write(source.join(name), content).unwrap();
    }
    fs::set_permissions(source.join("script"), fs::Permissions::from_mode(0o750)).unwrap();
    symlink("../anywhere", source.join("link")).unwrap();
    let pushed = home.json(["workspace", "sync", "push", &id, source.to_str().unwrap()]);
    assert_eq!(str_of(&pushed, "destination"), "/workspace");
    assert!(pushed["bytes_sent"].as_u64().unwrap() > 0);
    let diff = home.json(["workspace", "diff", &id]);
    assert_changes(
        &diff,
        &[
            ("a", "modified"),
            ("d/deeper", "added"),
            ("d/deeper/f", "added"),
            ("d/guest", "added"),
            ("empty", "added"),
            ("hollow", "added"),
            ("l", "added"),
            ("link", "added"),
            ("script", "added"),
        ],
    );
    let pushed_view = Listing::host(&source);
    let view = Listing::guest(&home, &id);
    for path in ["a", "d/deeper/f", "empty", "hollow", "l", "link", "script", "d/deeper"] {
        let path = path.as_bytes();
        assert_eq!(view.0.get(path), pushed_view.0.get(path), "{}", path.escape_ascii());
    }

    let again = home.json(["workspace", "sync", "push", &id, source.to_str().unwrap()]);
    assert_eq!((&again["bytes_sent"], &again["changed_count"]), (&0.into(), &0.into()), "{again}");
    Listing::guest(&home, &id).is(&view);

    let file = home.scratch("file.txt");
    fs::write(&file, "a file\n").unwrap();
    assert_eq!(
        str_of(&push(&home, &id, &file, "made/for/it/"), "destination"),
        "/workspace/made/for/it"
    );
    push(&home, &id, &file, "/workspace/d");
    push(&home, &id, &file, "named/else.txt");
    push(&home, &id, &file, "a");
    assert_eq!(
        home.sh(&id, "cat made/for/it/file.txt d/file.txt named/else.txt a"),
        "a file\n".repeat(4)
    );
    let archive = home.scratch("more.tar.gz");
    let pack = "import sys, tarfile
with tarfile.open(sys.argv[1], 'w:gz') as archive: archive.add(sys.argv[2], 'packed')";
    python(pack, [&archive, &source]);
    push(&home, &id, &archive, "from-archive");
    assert_eq!(
        home.sh(&id, "cat from-archive/packed/a from-archive/packed/d/deeper/f"),
        "new\nf\n"
    );

    let after = home.json(["workspace", "status", &id]);
    for field in ["baseline", "baseline_tree", "workspace_seed"] {
        assert_eq!(after[field], before[field]);
    }
    let commands = home.json(["workspace", "logs", &id])["entries"].as_array().unwrap().len();
    assert_eq!(commands, 5, "pushes are not in the log");
}

#[test]
fn a_push_that_cannot_be_done_changes_nothing() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir_all(seed.join("full/of")).unwrap();
    fs::write(seed.join("full/of/things"), "x\n").unwrap();
    fs::write(seed.join("file"), "x\n").unwrap();
    symlink("/etc", seed.join("link")).unwrap();
    let id = home.workspace(&seed);
    let before = Listing::guest(&home, &id);

    // Everything else in it could be pushed.
    let source = home.scratch("source");
    fs::create_dir_all(source.join("z")).unwrap();
    for name in ["a", "file", "full", "z/z"] {
        fs::write(source.join(name), "new\n").unwrap();
    }
    let source = source.to_str().unwrap().to_owned();
    let plain = home.scratch("plain");
    fs::write(&plain, "plain\n").unwrap();
    let plain = plain.to_str().unwrap().to_owned();
    let push = |source: &str, dest: &str| {
        home.fails(["workspace", "sync", "push", &id, source, "--dest", dest])
    };
    for (source, dest, word) in [
        (&source, ".", "full"),
        (&source, "file", "file"),
        (&plain, "file/", "file"),
        (&plain, "file/below", "file"),
        (&plain, "link/passwd", "link"),
        (&source, "link", "link"),
    ] {
        let (exit, error) = push(source, dest);
        assert_eq!((str_of(&error, "code"), exit), ("conflict", 4), "{dest}: {error}");
        assert!(str_of(&error, "message").contains(&format!("'{word}'")), "{error}");
        assert!(error["hint"].is_string(), "{error}");
    }
    for dest in ["../x", "a/../../x", "/etc/x", "/workspace/../x", ".."] {
        // Refused before the source is looked at.
        for source in [plain.as_str(), "/nowhere/at/all"] {
            let (exit, error) = push(source, dest);
            assert_eq!((str_of(&error, "code"), exit), ("outside_workspace", 2), "{dest}: {error}");
            assert!(str_of(&error, "message").contains(dest), "{error}");
        }
    }
    Listing::guest(&home, &id).is(&before);

    // A disk with no room for it.
    let big = home.scratch("big");
    fs::write(&big, random(1, 3 << 20)).unwrap();
    home.sh(
        &id,
        "stat -f -c '%a %S' . | { read blocks size; fallocate -l $((blocks * size - (2 << 20))) ballast; }",
    );
    let before = Listing::guest(&home, &id);
    let (exit, error) = push(big.to_str().unwrap(), "big");
    assert_eq!((str_of(&error, "code"), exit), ("no_space", 5), "{error}");
    Listing::guest(&home, &id).is(&before);
    home.sh(&id, "rm ballast");
    push_ok(&home, &id, &big);
    assert_eq!(home.sh(&id, "wc -c < big").trim(), (3 << 20).to_string());
}

fn push_ok(home: &Home, id: &str, source: &Path) {
    home.json(["workspace", "sync", "push", id, source.to_str().unwrap()]);
}

/// Bytes that neither compress nor repeat, the same at each run.
pub fn random(seed: u64, len: usize) -> Vec<u8> {
    // xorshift64*
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut word = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    };
    let mut bytes: Vec<u8> =
        std::iter::repeat_with(&mut word).take(len / 8 + 1).flatten().collect();
    bytes.truncate(len);
    bytes
}
