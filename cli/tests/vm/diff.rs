//! What a diff lists, and what its patch does.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Home, told};
use crate::tree::{Listing, assert_changes, changes, entry, str_of};

/// A numbered text.
fn text(lines: std::ops::Range<u32>) -> String {
    lines.map(|line| format!("line {line}\n")).collect()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn export(home: &Home, id: &str) -> PathBuf {
    let output = home.scratch("out");
    home.ok(["workspace", "export", id, ".", "--output", output.to_str().unwrap()]);
    output
}

/// A copy of the seed with the patch of the workspace applied to it.
fn patched(home: &Home, id: &str, seed: &Path, name: &str, program: &[&str]) -> PathBuf {
    patched_with(home, id, seed, name, program, &["--patch"])
}

fn patched_with(
    home: &Home,
    id: &str,
    seed: &Path,
    name: &str,
    program: &[&str],
    options: &[&str],
) -> PathBuf {
    let copy = home.scratch(name);
    let copied = Command::new("cp").arg("-a").args([seed, &copy]).output().unwrap();
    assert!(copied.status.success(), "{}", told(&copied));
    let patch = home.scratch("the.patch");
    fs::write(&patch, home.output([&["workspace", "diff", id], options].concat()).stdout).unwrap();
    let applied = Command::new(program[0])
        .args(&program[1..])
        .arg(&patch)
        .current_dir(&copy)
        .env("GIT_CEILING_DIRECTORIES", copy.parent().unwrap())
        .output()
        .unwrap();
    assert!(applied.status.success(), "{}", told(&applied));
    copy
}

const GIT: &[&str] = &["git", "apply", "--whitespace=nowarn"];
const GNU: &[&str] = &["patch", "-p1", "--binary", "-s", "-i"];

#[test]
fn a_days_work_is_listed_exactly_and_its_patch_makes_it_again() {
    let home = Home::new();
    let seed = home.scratch("seed");
    for number in 0..1200 {
        let dir = seed.join(format!("old/part{}", number % 12));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("{number}.txt")), format!("file {number}\n")).unwrap();
    }
    fs::create_dir(seed.join("src")).unwrap();
    for name in ["a.txt", "b.txt", "c.txt", "touched.txt", "mode.sh", "gone.txt"] {
        fs::write(seed.join("src").join(name), text(0..100)).unwrap();
    }
    let id = home.workspace(&seed);
    home.sh(
        &id,
        "sed -i 's/line 50$/line fifty/' src/a.txt
         sed -i 1d src/b.txt
         echo more >> src/c.txt
         rm src/gone.txt
         echo new > src/new.txt
         mkdir made; printf 'no newline' > made/other.txt
         mv old moved
         chmod 755 src/mode.sh
         touch src/touched.txt",
    );
    let diff = home.json(["workspace", "diff", &id]);
    let inside = |path: &[u8]| path.starts_with(b"old") || path.starts_with(b"moved");
    let mut apart = diff.clone();
    let entries = apart["entries"].as_array_mut().unwrap();
    let moved: Vec<Value> =
        entries.extract_if(.., |entry| inside(str_of(entry, "path").as_bytes())).collect();
    assert_changes(
        &apart,
        &[
            ("made", "added"),
            ("made/other.txt", "added"),
            ("src/a.txt", "modified"),
            ("src/b.txt", "modified"),
            ("src/c.txt", "modified"),
            ("src/gone.txt", "deleted"),
            ("src/mode.sh", "modified"),
            ("src/new.txt", "added"),
        ],
    );
    // A directory of 12 directories of 100 files, gone here and come there.
    assert_eq!(moved.len(), 2 * (1 + 12 + 1200));
    for entry in &moved {
        match str_of(entry, "path").strip_prefix("moved") {
            Some(rest) => {
                let from = format!("old{rest}");
                assert_eq!(
                    (str_of(entry, "status"), str_of(entry, "renamed_from")),
                    ("added", from.as_str())
                );
            }
            None => assert_eq!(entry["status"], "deleted"),
        }
    }
    let renames = serde_json::json!([{ "from": "old", "to": "moved", "file_count": 1200 }]);
    assert_eq!(diff["renames"], renames);
    assert_eq!(diff["summary"]["total"], moved.len() + 8);
    let mode = entry(&diff, "src/mode.sh");
    assert_eq!((str_of(mode, "old_mode"), str_of(mode, "new_mode")), ("644", "755"));
    assert_eq!(mode["old_hash"], mode["new_hash"]);
    // A directory that moved is one record, however much it holds.
    assert!(diff["report"]["records"].as_u64().unwrap() < 40, "{}", diff["report"]);
    assert_eq!(home.json(["workspace", "diff", &id, "--full"])["tree"], diff["tree"]);

    let output = export(&home, &id);
    let exported = Listing::host(&output);
    exported.is(&Listing::guest(&home, &id));
    let by_git = patched(&home, &id, &seed, "by-git", GIT);
    Listing::host(&by_git).patchable().is(&exported.patchable());
}

#[test]
fn text_changes_suit_every_patch_program() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir_all(seed.join("with space")).unwrap();
    let files = [
        ("crlf.txt", "one\r\ntwo\r\nthree\r\n"),
        ("bare.txt", "one\ntwo\nno newline"),
        ("mixed.txt", "a\r\nb\nc\r\n"),
        ("gains.txt", "no newline yet"),
        ("with space/f g.txt", "one\ntwo\n"),
        ("long.txt", &text(0..500)),
        ("gone.txt", "bye\n"),
        ("empty-to-full.txt", ""),
    ];
    for (name, content) in files {
        fs::write(seed.join(name), content).unwrap();
    }
    fs::write(seed.join("latin1.txt"), b"caf\xe9\n").unwrap();
    let id = home.workspace(&seed);
    home.sh(
        &id,
        r"printf 'one\r\nTWO\r\nthree\r\n' > crlf.txt
          printf 'one\n2\nno newline' > bare.txt
          printf 'a\nb\nc\r\n' > mixed.txt
          echo >> gains.txt
          echo three >> 'with space/f g.txt'
          sed -i -e '10s/line/row/' -e '250d' -e '400i extra' long.txt
          rm gone.txt
          echo full > empty-to-full.txt
          printf 'th\351\n' >> latin1.txt
          printf 'new\r\nno end' > 'new file.txt'",
    );
    let diff = home.json(["workspace", "diff", &id]);
    let listed = changes(&diff);
    assert_eq!(listed.len(), 10, "{listed:?}");
    assert_eq!(diff["summary"]["text_patched"], 10);
    assert_eq!(diff["summary"]["non_text"], 0);
    assert!(diff["patch_b64"].is_string(), "the patch holds bytes that are not UTF-8");
    assert!(str_of(entry(&diff, "crlf.txt"), "text_patch").contains("+TWO\r\n"));

    let exported = Listing::host(&export(&home, &id)).timeless();
    for (name, program) in [("by-git", GIT), ("by-gnu", GNU)] {
        let copy = patched(&home, &id, &seed, name, program);
        Listing::host(&copy).timeless().is(&exported);
    }
}

#[test]
fn kinds_modes_and_binaries_are_entries_and_no_change_is_none() {
    let home = Home::new();
    let seed = home.scratch("seed");
    for dir in ["dir/sub", "to-file", "stays", "emptied"] {
        fs::create_dir_all(seed.join(dir)).unwrap();
    }
    for name in ["to-dir", "to-link", "same", "private", "dir/sub/f", "to-file/x", "emptied/f"] {
        fs::write(seed.join(name), format!("{name}\n")).unwrap();
    }
    fs::write(seed.join("binary"), b"\0\x01\x02").unwrap();
    symlink("same", seed.join("link")).unwrap();
    symlink("same", seed.join("link-to-file")).unwrap();
    set_mode(&seed.join("same"), 0o644);
    set_mode(&seed.join("private"), 0o644);
    let id = home.workspace(&seed);

    home.sh(
        &id,
        "touch -d 2001-01-01 same stays .
         cat same > /tmp/same; cat /tmp/same > same; cp same x; mv x same
         chmod 600 private; chmod 644 private
         mv dir away; mv away dir; mv to-dir t; mv t to-dir
         rm emptied/f; printf 'emptied/f\\n' > emptied/f
         ln same other; rm other
         rm link; ln -s same link",
    );
    let nothing = home.json(["workspace", "diff", &id]);
    assert_eq!((&nothing["changed"], changes(&nothing).len()), (&false.into(), 0), "{nothing}");
    assert_eq!(nothing["tree"], nothing["baseline_tree"]);
    assert_eq!(nothing["patch"], "");

    home.sh(
        &id,
        "rm to-dir; mkdir to-dir; echo in > to-dir/in
         rm -r to-file; echo file > to-file
         rm to-link; ln -s same to-link
         rm link-to-file; echo file > link-to-file
         ln -sfn away link
         chmod 600 private; chmod 700 stays
         printf '\\000new' > binary; mkdir empty
         rm -r dir; rm emptied/f",
    );
    let diff = home.json(["workspace", "diff", &id]);
    assert_changes(
        &diff,
        &[
            ("binary", "modified"),
            ("dir", "deleted"),
            ("dir/sub", "deleted"),
            ("dir/sub/f", "deleted"),
            ("emptied/f", "deleted"),
            ("empty", "added"),
            ("link", "modified"),
            ("link-to-file", "type_changed"),
            ("private", "modified"),
            ("stays", "modified"),
            ("to-dir", "type_changed"),
            ("to-dir/in", "added"),
            ("to-file", "type_changed"),
            ("to-file/x", "deleted"),
            ("to-link", "type_changed"),
        ],
    );
    let kinds = |path| {
        let entry = entry(&diff, path);
        (str_of(entry, "old_artifact_type"), str_of(entry, "artifact_type"))
    };
    assert_eq!(kinds("to-dir"), ("file", "directory"));
    assert_eq!(kinds("to-file"), ("directory", "file"));
    assert_eq!(kinds("to-link"), ("file", "symlink"));
    assert_eq!(kinds("link-to-file"), ("symlink", "file"));
    for path in ["binary", "private", "stays", "to-dir", "empty"] {
        assert!(entry(&diff, path)["text_patch"].is_null(), "{path}");
    }
    let private = entry(&diff, "private");
    assert_eq!((str_of(private, "old_mode"), str_of(private, "new_mode")), ("644", "600"));
    let link = entry(&diff, "link");
    assert_eq!((str_of(link, "old_target"), str_of(link, "new_target")), ("same", "away"));
    let binary = entry(&diff, "binary");
    assert_ne!(binary["old_hash"], binary["new_hash"]);
    assert_eq!((&binary["old_size"], &binary["new_size"]), (&3.into(), &4.into()));
    let summary = &diff["summary"];
    assert_eq!(
        ["total", "added", "modified", "deleted", "type_changed"].map(|field| &summary[field]),
        [15, 2, 4, 5, 4].map(Value::from).each_ref(),
    );
    assert_eq!(home.json(["workspace", "diff", &id, "--full"])["tree"], diff["tree"]);
    Listing::host(&export(&home, &id)).is(&Listing::guest(&home, &id));
    // What the patch does carry applies, whatever else changed.
    let by_git = patched(&home, &id, &seed, "by-git", GIT);
    assert_eq!(fs::read_link(by_git.join("to-link")).unwrap(), Path::new("same"));
    assert!(by_git.join("link-to-file").symlink_metadata().unwrap().is_file());
}

/// `document` has these fields.
#[track_caller]
fn has(document: &Value, fields: &[&str]) {
    for field in fields {
        assert!(document.get(field).is_some(), "no {field} in {document}");
    }
}

#[test]
fn every_document_has_the_fields_of_the_contract() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    fs::write(seed.join("f"), "one\n").unwrap();
    let created =
        home.json(["workspace", "create", "debian:12", "--seed-path", seed.to_str().unwrap()]);
    let id = str_of(&created, "workspace_id");
    home.json(["workspace", "exec", id, "--", "sh", "-c", "echo two >> f; echo err >&2; exit 0"]);
    let output = home.output(["workspace", "exec", id, "--json", "--", "sh", "-c", "exit 3"]);
    assert_eq!(output.status.code(), Some(3), "the guest's exit code passes through");
    let status = home.json(["workspace", "status", id]);
    for workspace in [&created, &status] {
        has(
            workspace,
            &[
                "workspace_id",
                "environment",
                "state",
                "workspace_path",
                "execution_mode",
                "vcpu_count",
                "mem_mib",
                "disk_mib",
                "command_count",
                "last_command",
                "workspace_seed",
            ],
        );
        let seed = &workspace["workspace_seed"];
        has(seed, &["mode", "seed_path", "destination", "entry_count", "bytes_written"]);
    }
    assert_eq!(status["state"], "started");
    assert_eq!(status["workspace_path"], "/workspace");
    assert_eq!((&status["vcpu_count"], &status["mem_mib"]), (&1.into(), &1024.into()));
    assert_eq!(status["command_count"], 2);
    assert_eq!(
        status["last_command"],
        serde_json::json!({ "command": "sh -c 'exit 3'", "exit_code": 3 })
    );

    let logs = home.json(["workspace", "logs", id]);
    for entry in logs["entries"].as_array().unwrap() {
        has(
            entry,
            &[
                "sequence",
                "command",
                "cwd",
                "stdout",
                "stderr",
                "exit_code",
                "duration_ms",
                "execution_mode",
            ],
        );
    }
    assert_eq!(logs["entries"][0]["stderr"], "err\n");

    let diff = home.json(["workspace", "diff", id]);
    has(&diff, &["workspace_id", "changed", "summary", "entries", "patch", "tree", "renames"]);
    let counts =
        ["total", "added", "modified", "deleted", "type_changed", "text_patched", "non_text"];
    has(&diff["summary"], &counts);
    let fields = ["path", "status", "artifact_type", "text_patch", "old_hash", "new_hash"];
    has(&diff["entries"][0], &fields);
    has(&diff["entries"][0], &["old_size", "new_size", "old_mode", "new_mode"]);

    let target = home.scratch("f");
    let exported =
        home.json(["workspace", "export", id, "f", "--output", target.to_str().unwrap()]);
    has(
        &exported,
        &[
            "workspace_id",
            "workspace_path",
            "output_path",
            "artifact_type",
            "entry_count",
            "bytes_written",
            "execution_mode",
        ],
    );
    let after = home.json(["workspace", "logs", id]);
    assert_eq!(after, logs, "diff and export leave no trace in the log");
    let deleted = home.json(["workspace", "delete", id]);
    assert_eq!(deleted["workspace_id"], *id);
    assert!(!home.path().join("workspaces").join(id).exists());
}

#[test]
fn what_a_filter_hides_is_counted() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir_all(seed.join("src")).unwrap();
    fs::write(seed.join("src/main"), "1\n2\n3\n4\n5\n6\n7\n8\n9\n").unwrap();
    fs::write(seed.join("tracked.log"), "old\n").unwrap();
    fs::write(seed.join(".gitignore"), "*.log\n/out/\n").unwrap();
    let id = home.workspace(&seed);
    home.sh(
        &id,
        "sed -i s/5/five/ src/main; echo new > tracked.log; echo x > new.log; mkdir -p out/deep
         echo x > out/deep/file; echo '!keep.log' > src/.gitignore; echo x > src/keep.log",
    );
    let paths = |args: &[&str]| {
        let words = ["workspace", "diff", &id, "--json"].into_iter().chain(args.iter().copied());
        let reply: serde_json::Value = serde_json::from_str(&home.ok(words)).unwrap();
        let entries = reply["entries"].as_array().unwrap();
        let paths: Vec<_> = entries.iter().map(|entry| str_of(entry, "path").to_owned()).collect();
        assert_eq!(reply["summary"]["total"], paths.len());
        (paths.join(" "), reply["hidden"].clone())
    };
    let hidden = |by_path: u64, by_exclude: u64, by_gitignore: u64| {
        serde_json::json!({
            "by_path": by_path, "by_exclude": by_exclude, "by_gitignore": by_gitignore
        })
    };
    let all = "new.log out out/deep out/deep/file src/.gitignore src/keep.log src/main tracked.log";
    assert_eq!(paths(&[]), (all.to_owned(), hidden(0, 0, 0)));
    assert_eq!(
        paths(&["--gitignore"]),
        ("src/.gitignore src/keep.log src/main tracked.log".to_owned(), hidden(0, 0, 4))
    );
    assert_eq!(
        paths(&["--exclude", "out", "--exclude", "*.log"]),
        ("src/.gitignore src/main".to_owned(), hidden(0, 6, 0))
    );
    assert_eq!(paths(&["src/main", "/workspace/out/deep"]).1, hidden(5, 0, 0));
    let told = home.output(["workspace", "diff", &id, "src", "--exclude", "*.log"]);
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("not shown: 5 changes at other paths, 1 change by --exclude"), "{told}");
    let patch = home.ok(["workspace", "diff", &id, "--patch", "-U1", "src/main"]);
    assert!(patch.ends_with("@@ -4,3 +4,3 @@\n 4\n-5\n+five\n 6\n"), "{patch}");
    let (_, error) = home.fails(["workspace", "diff", &id, "--exclude", "a["]);
    assert_eq!(str_of(&error, "code"), "invalid_argument", "{error}");
}

#[test]
fn binary_files_moves_and_copies_travel_in_a_patch_for_git() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir_all(seed.join("a")).unwrap();
    fs::write(seed.join("a/lib.c"), text(0..50)).unwrap();
    fs::write(seed.join("a/moves.txt"), text(0..9)).unwrap();
    let binary: Vec<u8> = (0..2000u32).map(|n| (n * n % 251) as u8).collect();
    for name in ["changes.bin", "goes.bin"] {
        fs::write(seed.join(name), &binary).unwrap();
    }
    let id = home.workspace(&seed);
    home.sh(
        &id,
        "cp a/lib.c a/lib2.c; sed -i 's/line 7$/line seven/' a/lib.c
         mkdir b; mv a/moves.txt b/; chmod 755 b/moves.txt
         printf 'x\\0y' >> changes.bin; rm goes.bin; head -c 300 /dev/zero > comes.bin",
    );
    let letters = home.ok(["workspace", "diff", &id, "--name-status"]);
    let expected = "M\ta/lib.c\nC100\ta/lib.c\ta/lib2.c\nA\tb\nR100\ta/moves.txt\tb/moves.txt\n\
                    M\tchanges.bin\nA\tcomes.bin\nD\tgoes.bin\n";
    assert_eq!(letters, expected);

    let diff = home.json(["workspace", "diff", &id, "--binary"]);
    assert_eq!(diff["summary"]["non_text"], 1, "a directory: {diff}");
    assert_eq!(str_of(entry(&diff, "a/lib2.c"), "copied_from"), "a/lib.c");
    let lib = entry(&diff, "a/lib.c");
    assert_eq!((&lib["lines_added"], &lib["lines_removed"]), (&1.into(), &1.into()));
    let patch = home.output(["workspace", "diff", &id, "--binary"]);
    let told = String::from_utf8_lossy(&patch.stderr).into_owned();
    assert!(told.contains(str_of(&diff, "tree")), "{told}");
    let whole = String::from_utf8(patch.stdout).unwrap();
    assert_eq!(whole, str_of(&diff, "patch"), "what a pipe gets is what JSON says");
    for entry in diff["entries"].as_array().unwrap() {
        let Some(at) = entry["patch_offset"].as_u64() else { continue };
        let end = at + entry["patch_len"].as_u64().unwrap();
        assert_eq!(&whole[at as usize..end as usize], str_of(entry, "text_patch"));
    }

    let exported = Listing::host(&export(&home, &id));
    let by_git = patched_with(&home, &id, &seed, "by-git", GIT, &["--binary"]);
    Listing::host(&by_git).patchable().is(&exported.patchable());
}
