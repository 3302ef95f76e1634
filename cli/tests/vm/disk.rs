//! What a workspace takes on the host's disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use crate::support::Home;

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
