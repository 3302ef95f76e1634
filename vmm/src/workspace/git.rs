//! Bringing a guest's commits home, into a new branch of a host repository.
//!
//! ```text
//! /workspace/.git ─ capture ─▶ HEAD's commit, objects that the baseline has not
//!        a bare repository of nothing but those ─ git fetch, every object checked ─▶ refs/heads/pyro/NAME
//! ```
//!
//! Nothing of the guest's repository but objects is ever seen by the host's git: no configuration, no
//! hooks, no alternates, no indexes of packs. The host's HEAD, configuration, hooks, working tree and
//! other branches stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use pyro_api::{BytesText, GitFetch, GitFetchReply};
use pyro_format::{Delta, EntryName, Node, RootNode, TreePath, escape};
use pyro_store::{CheckoutOptions, Store};
use tokio::process::Command;

use super::Workspace;
use super::capture::{Captured, Content};
use super::merge::TimedTree;
use super::nodes::{item, start_of_file};
use super::select::Selection;
use crate::error::{Error, Result};
use crate::events::{Events, StoreProgress, blocking};
use crate::seed;

/// Directory of a workspace in which the bare repository is made.
const SCRATCH: &str = "git-fetch";
/// The bare repository's only branch.
const BRANCH: &str = "refs/heads/fetched";
/// Bytes of a file of refs that are read: they come from a guest.
const REFS: usize = 16 << 20;

impl Workspace {
    /// Makes a branch of the host's repository of the commit that the guest has checked out.
    pub async fn git_fetch(&self, call: &GitFetch, events: &Events) -> Result<GitFetchReply> {
        let record = self.record();
        let given = call.repository.clone().or(record.seed.seed_path.clone());
        let given = given.ok_or_else(|| Error::Git {
            what: "the workspace was not seeded from a directory".into(),
            hint: "name the repository with --repo".into(),
        })?;
        let repository = Repository::open(&seed::absolute(&given, "repository")?).await?;
        let short = record.name.clone().unwrap_or(record.id.clone());
        let branch = call.branch.clone().unwrap_or_else(|| format!("pyro/{short}"));
        repository.check_branch(&branch, call.force).await?;

        let _alone = self.fetching.lock().await;
        let _hold = self.store.hold();
        let inside = TreePath::parse(b".git").map_err(|error| Error::Invalid(error.to_string()))?;
        let content = Content::Below(vec![inside]);
        let (name, freeze) = (call.tree.as_deref(), !call.no_freeze);
        let captured = self.obtain(name, content, freeze, events).await?;
        let Captured { tree, deltas, stats, .. } = captured;
        let dir = self.dir.join(SCRATCH);
        let cleared = ScratchDir::new(dir.clone())?;
        let bare = dir.join("repository");
        repository
            .git_in(None, &["init", "--quiet", "--bare", "--template="])
            .arg(format!("--object-format={}", repository.format))
            .arg(&bare)
            .told("a repository cannot be made")
            .await?;
        let (store, objects, events) = (self.store.clone(), bare.join("objects"), events.clone());
        let commit = blocking(move |cancelled| {
            let progress = StoreProgress::new(&events, "write", cancelled);
            let head = Refs { store: &store, root: &tree.root }.head()?;
            take_objects(&store, &tree.into(), deltas, &objects, &progress)?;
            Ok(head)
        })
        .await?;
        let commit = repository.check_id(&commit)?;
        let borrowed = format!("{}\n", repository.objects);
        write(&bare.join("objects/info"), "alternates", &borrowed)?;
        write(&bare.join("refs/heads"), "fetched", &format!("{commit}\n"))?;
        for pack in packs(&bare.join("objects/pack"))? {
            let index = ["index-pack", "--fsck-objects"];
            repository.git_in(Some(&bare), &index).arg(pack).told("a pack is damaged").await?;
        }
        repository.fetch(&bare, &branch, call.force).await?;
        let new = repository.count_new(&branch).await?;
        drop(cleared);
        Ok(GitFetchReply {
            workspace_id: record.id,
            repository: BytesText::from(repository.dir.as_path()),
            branch,
            commit,
            commit_count: new,
            tree: tree.id.to_string(),
            bytes_fetched: stats.fetched_bytes,
            frozen: stats.frozen,
            paused_us: stats.paused_us,
        })
    }
}

/// Writes the objects that a tree's repository has and the baseline had not: loose ones, and packs
/// without their indexes.
fn take_objects(
    store: &Store,
    tree: &TimedTree,
    deltas: Vec<Delta>,
    to: &Path,
    progress: &StoreProgress,
) -> Result<()> {
    let new: Vec<Delta> = deltas
        .into_iter()
        .filter(|delta| matches!(delta.new, Some(Node::File { .. })) && is_object(&delta.path))
        .collect();
    fs::remove_dir_all(to).map_err(Error::io("remove", to))?;
    if new.is_empty() {
        return fs::create_dir(to).map_err(Error::io("create", to));
    }
    let part = Selection::of_changes(&new, &[TreePath::root()]).take(store, tree)?;
    let inside = TreePath::parse(b".git/objects").map_err(|e| Error::Invalid(e.to_string()))?;
    let objects = store.resolve(&item(&part), &inside)?;
    let options = CheckoutOptions { durable: false, ..CheckoutOptions::default() };
    store.checkout(&objects, to, &options, progress)?;
    Ok(())
}

/// Whether git keeps an object, or a pack of them, under this name.
fn is_object(path: &TreePath) -> bool {
    let names: Vec<EntryName> = path.names().collect();
    let [git, objects, dir, file] = &names[..] else { return false };
    let hex = |bytes: &[u8]| bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let (dir, file) = (dir.as_bytes(), file.as_bytes());
    let loose = dir.len() == 2 && hex(dir) && [38, 62].contains(&file.len()) && hex(file);
    let pack = file.strip_prefix(b"pack-").and_then(|name| name.strip_suffix(b".pack"));
    git.as_bytes() == b".git"
        && objects.as_bytes() == b"objects"
        && (loose || dir == b"pack" && pack.is_some_and(hex))
}

/// The refs of a guest's repository, as files of a stored tree.
struct Refs<'a> {
    store: &'a Store,
    root: &'a RootNode,
}

impl Refs<'_> {
    /// The commit that is checked out, as the guest writes it.
    fn head(&self) -> Result<String> {
        let none = |what: &str| Error::Git {
            what: format!("/workspace has {what}"),
            hint: "commit in the workspace first: 'git init', 'git add -A', 'git commit'".into(),
        };
        let head = self.read(b".git/HEAD")?.ok_or_else(|| none("no git repository"))?;
        let Some(name) = head.strip_prefix("ref: ") else { return Ok(head) };
        if let Some(id) = self.read(&[b".git/", name.as_bytes()].concat())? {
            return Ok(id);
        }
        let packed = self.read(b".git/packed-refs")?.unwrap_or_default();
        let mut lines = packed.lines().filter_map(|line| line.split_once(' '));
        let found = lines.find(|(_, other)| *other == name).map(|(id, _)| id.to_owned());
        found.ok_or_else(|| none("a branch without a commit"))
    }

    fn read(&self, path: &[u8]) -> Result<Option<String>> {
        let Ok(path) = TreePath::parse(path) else { return Ok(None) };
        let bytes = start_of_file(self.store, self.root, &path, REFS)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }
}

/// A repository of the host.
struct Repository {
    dir: PathBuf,
    objects: String,
    format: String,
}

impl Repository {
    async fn open(dir: &Path) -> Result<Self> {
        let mut found = Self { dir: dir.to_owned(), objects: String::new(), format: String::new() };
        let ask = ["rev-parse", "--path-format=absolute", "--git-path", "objects"];
        found.objects = found.git(&ask).told("there is no git repository").await?;
        let ask = ["rev-parse", "--show-object-format"];
        found.format = found.git(&ask).told("the repository is of an unknown format").await?;
        Ok(found)
    }

    fn git(&self, args: &[&str]) -> Git {
        self.git_in(Some(&self.dir), args)
    }

    /// Git with nothing of the caller's environment that would turn it elsewhere, and no hooks.
    fn git_in(&self, dir: Option<&Path>, args: &[&str]) -> Git {
        let mut command = Command::new("git");
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"GIT_") {
                command.env_remove(&name);
            }
        }
        if let Some(dir) = dir {
            command.arg("-C").arg(dir);
        }
        for setting in ["core.hooksPath=/dev/null", "core.fsmonitor=false", "gc.auto=0"] {
            command.args(["-c", setting]);
        }
        command.args(args).env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        command.stdin(Stdio::null()).kill_on_drop(true);
        Git { command, about: escape(self.dir.as_os_str().as_encoded_bytes()) }
    }

    async fn check_branch(&self, branch: &str, force: bool) -> Result<()> {
        let name = format!("refs/heads/{branch}");
        let good = self.git(&["check-ref-format", &name]).told("").await;
        if good.is_err() || branch.starts_with('-') {
            let branch = escape(branch.as_bytes());
            return Err(Error::Invalid(format!("'{branch}' is no name of a branch")));
        }
        let there = self.git(&["rev-parse", "--quiet", "--verify", &name]).told("").await;
        if there.is_ok() && !force {
            return Err(Error::BranchExists(branch.to_owned()));
        }
        Ok(())
    }

    /// The id, if it is one.
    fn check_id(&self, id: &str) -> Result<String> {
        let len = if self.format == "sha256" { 64 } else { 40 };
        if id.len() == len && id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(id.to_ascii_lowercase());
        }
        Err(Error::Git {
            what: format!("the workspace's HEAD names no commit of a {} repository", self.format),
            hint: "look at .git/HEAD in the workspace".into(),
        })
    }

    async fn fetch(&self, from: &Path, branch: &str, force: bool) -> Result<()> {
        let plus = if force { "+" } else { "" };
        let checked = ["-c", "fetch.fsckObjects=true", "-c", "transfer.fsckObjects=true"];
        let fetch = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            "--refmap=",
        ];
        self.git(&[&checked[..], &fetch].concat())
            .arg(from)
            .arg(format!("{plus}{BRANCH}:refs/heads/{branch}"))
            .told("the workspace's commits were refused")
            .await
            .map(drop)
    }

    /// How many commits only this branch has.
    async fn count_new(&self, branch: &str) -> Result<u64> {
        let (of, but) = (format!("refs/heads/{branch}"), format!("--exclude=refs/heads/{branch}"));
        let count = ["rev-list", "--count", &of, "--not", &but, "--all"];
        let count = self.git(&count).told("the new commits cannot be counted").await?;
        Ok(count.parse().unwrap_or(0))
    }
}

/// A run of git.
struct Git {
    command: Command,
    about: String,
}

impl Git {
    fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// What it prints; `failed` says what it means that it fails.
    async fn told(mut self, failed: &str) -> Result<String> {
        let output = self.command.output().await.map_err(|source| Error::Git {
            what: format!("git cannot be run: {source}"),
            hint: "install git".into(),
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<_> = said.lines().map(|line| escape(line.as_bytes())).collect();
        let what = format!("{failed} ({}): {}", self.about, said.join("; "));
        Err(Error::Git { what, hint: "--repo names another repository".into() })
    }
}

/// A directory that is gone afterwards.
struct ScratchDir(PathBuf);

impl ScratchDir {
    fn new(dir: PathBuf) -> Result<Self> {
        // A killed daemon may have left one.
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", dir)(error));
            }
            _ => {}
        }
        fs::create_dir(&dir).map_err(Error::io("create", &dir))?;
        Ok(Self(dir))
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    let path = dir.join(name);
    fs::write(&path, text).map_err(Error::io("write", path))
}

fn packs(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::io("read", dir)(source)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<Result<Vec<_>, _>>().map_err(Error::io("read", dir))?;
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "pack"));
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_objects_is_taken() {
        let takes = |text: &str| is_object(&TreePath::parse(text.as_bytes()).unwrap());
        let (loose, pack) = ("a".repeat(38), "b".repeat(40));
        assert!(takes(&format!(".git/objects/0f/{loose}")));
        assert!(takes(&format!(".git/objects/pack/pack-{pack}.pack")));
        for other in [
            format!(".git/objects/pack/pack-{pack}.idx"),
            format!(".git/objects/pack/pack-{pack}.promisor"),
            format!(".git/objects/0f/{loose}/x"),
            format!("sub/.git/objects/0f/{loose}"),
            format!(".git/objects/0F/{loose}"),
            ".git/objects/info/alternates".to_owned(),
            ".git/config".to_owned(),
            ".git/hooks/post-checkout".to_owned(),
        ] {
            assert!(!takes(&other), "{other}");
        }
    }
}
