//! The small kernel, built for real: minutes, and more than a gigabyte of temporary space.

use std::fs;

use crate::support::{ENVIRONMENT, Home};

#[test]
fn every_environment_boots_the_small_kernel_until_it_is_removed() {
    let home = Home::with_own_environments();
    let release = || home.ok(["run", ENVIRONMENT, "--", "uname", "-r"]);
    assert_eq!(home.json(["env", "kernel", "show"])["small"], serde_json::Value::Null);
    let debians = release();

    let built = home.json(["env", "kernel", "build"]);
    let small = built["small"]["release"].as_str().unwrap();
    assert!(small.ends_with("-pyro"), "{small}");
    assert_eq!(release().trim(), small);
    // It is there and whole: nothing is built, and nothing that is unused is pruned.
    let inode = |path: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let path = built["small"]["path"].as_str().unwrap();
    let before = inode(path);
    home.ok(["env", "prune"]);
    assert_eq!(home.json(["env", "kernel", "build"]), built);
    assert_eq!(inode(path), before);

    // Disks, the lower layer, overlay, cgroups, terminals, network.
    let seed = home.scratch("seed");
    fs::create_dir_all(seed.join("dir/deep")).unwrap();
    fs::write(seed.join("dir/deep/file"), "one\n").unwrap();
    let id = home.workspace(&seed);
    home.sh(&id, "mv dir moved; echo two > added; test -w /dev/ptmx; ls /sys/fs/cgroup/pyro");
    let diff = home.json(["workspace", "diff", &id]);
    assert_eq!(diff["renames"].as_array().map(Vec::len), Some(1), "{diff}");
    assert_eq!(diff["tree"], home.json(["workspace", "diff", &id, "--full"])["tree"]);
    home.ok(["workspace", "stop", &id]);
    home.ok(["workspace", "start", &id]);
    assert_eq!(home.sh(&id, "cat moved/deep/file added"), "one\ntwo\n");
    home.ok(["workspace", "delete", &id]);
    let routes = home.ok(["run", ENVIRONMENT, "--network", "--", "cat", "/proc/net/route"]);
    assert!(routes.contains("eth0"), "{routes}");

    // A damaged one is told, and is no reason not to boot.
    fs::write(path, "no kernel").unwrap();
    let (code, error) = home.fails(["env", "kernel", "show"]);
    assert_ne!(code, 0);
    assert!(error["message"].as_str().unwrap().contains("vmlinux"), "{error}");
    assert_eq!(release(), debians);
    assert_eq!(home.json(["env", "kernel", "remove"])["removed"], true);
    assert_eq!(home.json(["env", "kernel", "remove"])["removed"], false);
    assert_eq!(release(), debians);
}
