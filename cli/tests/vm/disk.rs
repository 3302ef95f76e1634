//! What a workspace takes on the host's disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use crate::support::{ENVIRONMENT, Home};
use crate::tree::str_of;

/// Long enough for a guest on a busy host to write out what it deleted.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn what_is_deleted_in_the_guest_is_free_on_the_host() {
    const WRITTEN: u64 = 64 << 20;
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    let id = home.workspace(&seed);
    let disk = home.path().join("workspaces").join(&id).join("scratch.img");
    let taken = || fs::metadata(&disk).unwrap().blocks() * 512;

    home.sh(&id, "head -c 67108864 /dev/urandom > big; sync");
    assert!(taken() > WRITTEN, "{} bytes", taken());

    home.sh(&id, "rm big");
    let deadline = Instant::now() + PATIENCE;
    while taken() > WRITTEN / 2 {
        assert!(Instant::now() < deadline, "{} bytes are still taken", taken());
        home.sh(&id, "sync");
    }
}

#[test]
fn a_guest_writes_no_more_than_it_may() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    fs::write(seed.join("file"), "here\n").unwrap();
    let seed = seed.to_str().unwrap();
    let create = ["workspace", "create", ENVIRONMENT, "--seed-path", seed, "--disk-mib", "256"];
    let made = home.json(create);
    assert_eq!(made["disk_mib"], 256);
    let id = str_of(&made, "workspace_id");
    let full =
        home.sh(id, "head -c 400M /dev/zero | tr '\\0' x > big 2>&1 || echo full; stat -c %s big");
    let written: u64 = full.lines().last().unwrap().parse().unwrap();
    assert!(full.starts_with("full") || full.contains("No space"), "{full}");
    assert!(written < 256 << 20, "{full}");
    let disk = fs::metadata(home.path().join("workspaces").join(id).join("scratch.img")).unwrap();
    assert!(disk.len() == 256 << 20 && disk.blocks() * 512 <= 256 << 20);
    // It is still of use, also after a reset and in a fork.
    assert_eq!(home.sh(id, "rm big; cat file"), "here\n");
    assert_eq!(home.json(["workspace", "reset", id])["disk_mib"], 256);
    let fork = home.json(["workspace", "fork", id, "--disk-mib", "512"]);
    assert_eq!(fork["disk_mib"], 512);
    let fork = str_of(&fork, "workspace_id");
    let size = home.sh(fork, "df -B1M --output=size /tmp | tail -1");
    assert!((300..512).contains(&size.trim().parse::<u64>().unwrap()), "{size}");
}
