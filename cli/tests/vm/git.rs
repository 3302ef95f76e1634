//! A guest's commits come home as a branch, and nothing else does.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::Home;
use crate::tree::{Listing, str_of};

fn git(repository: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository).args(["-c", "user.name=t", "-c", "user.email=t@localhost"]);
    let output = command.args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn repository(home: &Home) -> std::path::PathBuf {
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    git(&seed, &["init", "-q", "-b", "main"]);
    fs::write(seed.join("file"), "one\n").unwrap();
    git(&seed, &["add", "-A"]);
    git(&seed, &["commit", "-q", "-m", "first"]);
    git(&seed, &["repack", "-a", "-d", "-q"]);
    fs::write(seed.join("local"), "not committed\n").unwrap();
    seed
}

const COMMIT: &str = "git config user.name g; git config user.email g@localhost";

#[test]
fn commits_come_home_as_a_new_branch_and_nothing_else_does() {
    let home = Home::new();
    let seed = repository(&home);
    let id = home.workspace(&seed);
    let mark = home.scratch("ran").to_str().unwrap().to_owned();
    home.sh(
        &id,
        &format!(
            "{COMMIT}; echo two >> file; git commit -qam second; echo three > new; git add new
             git commit -qm third; echo left > uncommitted
             git config core.fsmonitor 'touch {mark}; :'; git config uploadpack.packObjectsHook 'touch {mark}'
             for hook in post-checkout reference-transaction post-update; do
                 printf '#!/bin/sh\\ntouch {mark} || :\\n' > .git/hooks/$hook; chmod +x .git/hooks/$hook
             done"
        ),
    );
    let hook = seed.join(".git/hooks/reference-transaction");
    fs::write(&hook, format!("#!/bin/sh\ntouch {mark}\n")).unwrap();
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let before = host_view(&seed);

    let reply = home.json(["workspace", "git", "fetch", &id]);
    let branch = format!("pyro/{id}");
    assert_eq!((str_of(&reply, "branch"), &reply["commit_count"]), (&*branch, &2.into()));
    assert_eq!(host_view(&seed), before, "HEAD, configuration, hooks, index, files");
    assert!(!Path::new(&mark).exists(), "nothing of the guest, and no hook, has run");
    assert_eq!(git(&seed, &["log", "--format=%s", &branch]), "third\nsecond\nfirst");
    assert_eq!(git(&seed, &["show", &format!("{branch}:file")]), "one\ntwo");
    assert_eq!(git(&seed, &["rev-parse", &branch]), str_of(&reply, "commit"));
    assert_eq!(git(&seed, &["symbolic-ref", "HEAD"]), "refs/heads/main");
    git(&seed, &["fsck", "--strict"]);

    // Again, packed and detached: moved only when asked to.
    home.sh(&id, "git checkout -q --detach; git commit -q --allow-empty -m fourth; git gc -q");
    let (exit, error) = home.fails(["workspace", "git", "fetch", &id]);
    assert_eq!((exit, str_of(&error, "code")), (4, "already_exists"), "{error}");
    let reply = home.json(["workspace", "git", "fetch", &id, "--force"]);
    assert_eq!(reply["commit_count"], 3);
    assert_eq!(git(&seed, &["log", "-1", "--format=%s", &branch]), "fourth");
    let reply = home.json(["workspace", "git", "fetch", &id, "--branch", "review/x"]);
    assert_eq!(reply["commit_count"], 0, "another branch has them all");
    assert_eq!(host_view(&seed).0, before.0);
    let left = home.path().join("workspaces").join(&id).join("git-fetch");
    assert!(!left.exists(), "nothing temporary is left");
}

/// What must not change: HEAD, configuration, hooks, the index, and the working tree.
fn host_view(seed: &Path) -> (Vec<Vec<u8>>, String) {
    let read = |name: &str| fs::read(seed.join(".git").join(name)).unwrap();
    let files = ["HEAD", "config", "index", "hooks/reference-transaction"].map(read).to_vec();
    let mut listing = Listing::host(seed);
    listing.0.retain(|path, _| !path.is_empty() && !path.starts_with(b".git"));
    (files, format!("{:?}", listing.0))
}

#[test]
fn what_is_no_sound_commit_makes_no_branch() {
    let home = Home::new();
    let seed = repository(&home);
    fs::write(seed.join(".git/hooks/reference-transaction"), "").unwrap();
    let id = home.workspace(&seed);
    let before = host_view(&seed);
    let fetch = |args: &[&str]| {
        let words = ["workspace", "git", "fetch", &id, "--json"].into_iter();
        let output = home.output(words.chain(args.iter().copied()));
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), document["error"].clone())
    };
    let none = ["--branch=no such", "--branch=a..b", "--branch=", "--branch=-x"];
    for branch in none {
        let (exit, error) = fetch(&[branch]);
        assert_eq!((exit, str_of(&error, "code")), (2, "invalid_argument"), "{branch}: {error}");
    }
    let elsewhere = home.scratch("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let (exit, error) = fetch(&["--repo", elsewhere.to_str().unwrap()]);
    assert_eq!((exit, str_of(&error, "code")), (4, "conflict"), "{error}");
    assert!(str_of(&error, "message").contains("elsewhere"), "{error}");

    // A tree that smuggles in a `.git`: every byte of it is an object that git made itself.
    let forged = "
        blob=$(echo evil | git hash-object -w --stdin)
        sub=$(printf '100644 config\\0' > /tmp/t; printf %s $blob | sed 's/../\\\\x&/g' > /tmp/h
              printf \"$(cat /tmp/h)\" >> /tmp/t; git hash-object -t tree -w --literally /tmp/t)
        top=$(printf '40000 .git\\0' > /tmp/t; printf %s $sub | sed 's/../\\\\x&/g' > /tmp/h
              printf \"$(cat /tmp/h)\" >> /tmp/t; git hash-object -t tree -w --literally /tmp/t)
        git update-ref refs/heads/main $(git commit-tree -p HEAD -m evil $top)";
    for (script, what) in [
        (format!("{COMMIT}; {forged}"), "a tree with a .git in it"),
        ("git update-ref refs/heads/main $(git rev-parse HEAD^ 2>/dev/null || git rev-parse HEAD); \
          echo 0123456789012345678901234567890123456789 > .git/refs/heads/main"
            .to_owned(), "a commit that is not there"),
        ("echo '--upload-pack=x' > .git/HEAD".to_owned(), "no id"),
        ("echo 'ref: ../../config' > .git/HEAD".to_owned(), "a ref outside"),
        ("rm -r .git/HEAD; mkdir .git/HEAD".to_owned(), "a directory"),
        ("rm -r .git; ln -s /etc .git".to_owned(), "a link"),
    ] {
        home.ok(["workspace", "exec", &id, "--", "bash", "-ec", &script]);
        let (exit, error) = fetch(&[]);
        assert_eq!((exit, str_of(&error, "code")), (4, "conflict"), "{what}: {error}");
        assert_eq!(git(&seed, &["branch", "--format=%(refname)"]), "refs/heads/main", "{what}");
        assert_eq!(host_view(&seed), before, "{what}");
    }
    git(&seed, &["fsck", "--strict"]);
}
