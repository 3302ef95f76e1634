//! What crosses to a guest, and when.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::push::random;
use crate::support::{Home, told};
use crate::tree::str_of;

/// What the kernel reads ahead in a long file, and the largest file that is fetched whole.
const READ_AHEAD: u64 = 128 << 10;

fn served(home: &Home, id: &str) -> u64 {
    home.json(["workspace", "status", id])["served"]["content_bytes"].as_u64().unwrap()
}

#[test]
fn content_crosses_when_it_is_read_and_only_that() {
    let home = Home::new();
    let seed = home.scratch("seed");
    for dir in 0..20 {
        let path = seed.join(format!("dir{dir}"));
        fs::create_dir_all(&path).unwrap();
        for file in 0..20 {
            fs::write(path.join(format!("f{file}")), random(dir * 100 + file, 10_000)).unwrap();
        }
    }
    fs::write(seed.join("big"), random(10_001, 10 << 20)).unwrap();
    fs::write(seed.join("small"), random(10_002, 100_000)).unwrap();
    let id = home.workspace(&seed);
    assert_eq!(served(&home, &id), 0, "not one byte before the first command");
    home.sh(&id, "find . -type f -size +1 | wc -l; stat big; ls -lR > /dev/null");
    assert_eq!(served(&home, &id), 0, "looking at names and sizes reads nothing");
    home.json(["workspace", "diff", &id]);
    assert_eq!(served(&home, &id), 0, "a diff reads nothing of the baseline in the guest");
    home.sh(&id, "head -c 1 small > /dev/null");
    assert_eq!(served(&home, &id), 100_000, "a small file comes whole");
    home.sh(&id, "cat small small > /dev/null");
    assert_eq!(served(&home, &id), 100_000, "and once");
    home.sh(&id, "dd if=big of=/dev/null bs=1 count=1 skip=5000000 2> /dev/null");
    let one = served(&home, &id) - 100_000;
    assert!((1..=READ_AHEAD + 4096).contains(&one), "{one} bytes for one byte");
    home.sh(&id, "cat big > /dev/null");
    let all = served(&home, &id) - 100_000;
    assert!(((10 << 20)..=(10 << 20) + READ_AHEAD + 4096).contains(&all), "{all} bytes for 10 MiB");
    assert_eq!(home.sh(&id, "cat dir3/f7 | wc -c").trim(), "10000");
    assert_eq!(served(&home, &id) - 100_000 - all, 10_000);

    let before = home.json(["store", "stats"]);
    let second =
        home.json(["workspace", "create", "debian:12", "--seed-path", seed.to_str().unwrap()]);
    assert_eq!(second["workspace_seed"]["bytes_stored"], 0, "{second}");
    let after = home.json(["store", "stats"]);
    for field in ["pack_bytes", "chunk_count", "object_count", "baseline_count"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    let second = str_of(&second, "workspace_id");
    assert_eq!(served(&home, second), 0);
    assert_eq!(
        home.sh(second, "cksum < big; cksum < dir19/f19"),
        home.sh(&id, "cksum < big; cksum < dir19/f19")
    );
}

fn git(dir: &Path, args: &[&str]) {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@t"])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", dir.parent().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn the_first_git_status_reads_next_to_nothing() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir_all(seed.join("src")).unwrap();
    for file in 0..300 {
        fs::write(seed.join(format!("src/f{file}")), random(file, 50_000)).unwrap();
    }
    // As in any repository of yesterday: no file as young as the index.
    let touched = Command::new("find")
        .arg(&seed)
        .args(["-exec", "touch", "-d", "2024-05-05", "{}", "+"])
        .output()
        .unwrap();
    assert!(touched.status.success());
    git(&seed, &["init", "-q"]);
    git(&seed, &["add", "."]);
    git(&seed, &["commit", "-qm", "all"]);
    let id = home.workspace(&seed);
    assert_eq!(home.sh(&id, "git status --porcelain"), "");
    let content = home.json(["workspace", "status", &id])["workspace_seed"]["bytes_written"]
        .as_u64()
        .unwrap();
    let read = served(&home, &id);
    assert!(read * 100 < content, "{read} of {content} bytes");
    home.sh(&id, "echo x >> src/f7");
    assert_eq!(home.sh(&id, "git status --porcelain"), " M src/f7\n");
}
