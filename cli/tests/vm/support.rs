//! A home of its own for each test, with everything that runs in it ended afterwards.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// Who has no rights.
pub const NOBODY: u32 = 65534;
/// The environment that tests use.
pub const ENVIRONMENT: &str = "debian:12";

/// The binary under test.
pub fn pyro() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pyro"))
}

/// The binary under test, run by somebody else.
pub fn as_user(user: u32) -> Command {
    let mut command = Command::new("setpriv");
    let [user, group] = [format!("--reuid={user}"), format!("--regid={user}")];
    command.args([&user, &group, "--clear-groups", env!("CARGO_BIN_EXE_pyro")]);
    command
}

/// Runs the command that is added with this in place of `/dev/fuse`.
fn with_fuse(device: &Path) -> Command {
    let mut command = Command::new("unshare");
    let script = r#"mount --bind "$0" /dev/fuse && exec "$@""#;
    command.args(["--mount", "--", "sh", "-ec", script]).arg(device);
    command
}

/// Installed environments, shared by all tests: `PYRO_TEST_HOME`, else one in the target directory,
/// which the first test fills.
fn environments() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let home = std::env::var_os("PYRO_TEST_HOME").map(PathBuf::from).unwrap_or_else(|| {
            Path::new(env!("CARGO_TARGET_TMPDIR"))
                .parent()
                .expect("tmp is in target")
                .join("test-home")
        });
        // A pull verifies what is there; one at a time, across all test processes.
        let pulled = pyro().args(["env", "pull", ENVIRONMENT]).env("PYRO_HOME", &home).output();
        let pulled = pulled.expect("pyro runs");
        assert!(pulled.status.success(), "env pull: {}", String::from_utf8_lossy(&pulled.stderr));
        home
    })
}

/// What the installed `pyro` says of this machine.
pub fn doctor() -> Value {
    let told = pyro().args(["doctor", "--json"]).env("PYRO_HOME", environments()).output();
    serde_json::from_slice(&told.expect("pyro runs").stdout).expect("a document")
}

/// The check `name` of what `pyro doctor` says, if it makes that check.
pub fn check<'r>(report: &'r Value, name: &str) -> Option<&'r Value> {
    report["checks"].as_array().expect("checks").iter().find(|check| check["name"] == name)
}

/// A home with its daemon; both are gone when dropped.
pub struct Home {
    dir: tempfile::TempDir,
    /// Every workspace's backend, where it is not left to pyro.
    backend: Option<String>,
    /// Whose it is, and who runs everything in it, unless that is who runs the test.
    owner: Option<u32>,
}

impl Home {
    /// An empty home with environments installed.
    pub fn new() -> Self {
        Self::new_in(&std::env::temp_dir())
    }

    /// The same on the file system of `dir`.
    pub fn new_in(dir: &Path) -> Self {
        let dir = tempfile::tempdir_in(dir).expect("a temporary directory");
        let backend = std::env::var("PYRO_TEST_BACKEND").ok();
        let home = Self { dir, backend, owner: None };
        fs::create_dir(home.path()).expect("the home is new");
        symlink(environments().join("environments"), home.path().join("environments"))
            .expect("the home is empty");
        home
    }

    /// An empty home in which everything runs on this backend.
    pub fn on(backend: &str) -> Self {
        let mut home = Self::new();
        home.backend = Some(backend.to_owned());
        home
    }

    /// The same as somebody without rights, `nobody` where the test has root's.
    pub fn unprivileged(backend: &str) -> Self {
        let mut home = Self::on(backend);
        if !nix::unistd::geteuid().is_root() {
            return home;
        }
        let own = home.path().join("environments");
        let shared = fs::read_link(&own).expect("it is a link");
        fs::remove_file(&own).expect("it can be removed");
        let copied = Command::new("cp").arg("-a").arg(shared).arg(&own).status();
        assert!(copied.expect("cp runs").success());
        home.owner = Some(NOBODY);
        home.give(home.dir.path());
        let fuse =
            Command::new("mknod").arg("-m666").arg(home.fuse()).args(["c", "10", "229"]).status();
        assert!(fuse.expect("mknod runs").success());
        home
    }

    /// The device of FUSE as systems have it that udev sets up: anybody may use it.
    fn fuse(&self) -> PathBuf {
        self.scratch("fuse")
    }

    /// Gives a directory with all it holds to the home's owner.
    pub fn give(&self, dir: &Path) {
        let Some(owner) = self.owner else { return };
        let given =
            Command::new("chown").arg("-hR").arg(format!("{owner}:{owner}")).arg(dir).status();
        assert!(given.expect("chown runs").success());
    }

    /// The backend that everything runs on, if it is not left to pyro.
    pub fn backend(&self) -> Option<&str> {
        self.backend.as_deref()
    }

    /// The same with environments that no other test sees: files of other names, the same content.
    pub fn with_own_environments() -> Self {
        let home = Self::new();
        let own = home.path().join("environments");
        let shared = fs::read_link(&own).expect("it is a link");
        fs::remove_file(&own).expect("it can be removed");
        fs::create_dir(&own).expect("nothing is there");
        for name in ["kernels", "scratch", "debian%3A12"] {
            let copied = Command::new("cp").arg("-al").arg(shared.join(name)).arg(&own).status();
            assert!(copied.expect("cp runs").success());
        }
        home
    }

    /// `PYRO_HOME`.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// A place for the test's own files.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command in this home.
    pub fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = match self.owner {
            None => pyro(),
            Some(owner) => {
                let mut command = with_fuse(&self.fuse());
                let own = as_user(owner);
                command.arg(own.get_program()).args(own.get_args());
                command
            }
        };
        let mut args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        if let Some(backend) = &self.backend {
            command.env("PYRO_BACKEND", backend);
            let makes = match args.first().and_then(|word| word.to_str()) {
                Some("run" | "here") => Some(1),
                Some("workspace" | "vm") if args.get(1).is_some_and(|word| word == "create") => {
                    Some(2)
                }
                _ => None,
            };
            if let Some(at) = makes.filter(|_| backend == "host-compat") {
                args.insert(at, "--allow-host-compat".into());
            }
        }
        command.args(args).env("PYRO_HOME", self.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn output(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        self.command(args).output().expect("pyro runs")
    }

    /// Runs a command that must succeed; its standard output.
    pub fn ok(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8(output.stdout).expect("pyro prints text")
    }

    /// Runs a command with `--json` that must succeed; its document.
    pub fn json<const N: usize>(&self, args: [&str; N]) -> Value {
        let text = self.ok(with_json(&args));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Runs a command with `--json` that must fail; its exit code and its error.
    pub fn fails<const N: usize>(&self, args: [&str; N]) -> (i32, Value) {
        let output = self.output(with_json(&args));
        assert!(!output.status.success(), "{}", told(&output));
        let document: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", told(&output)));
        (output.status.code().expect("an exit code"), document["error"].clone())
    }

    /// A new workspace with this seed; its id.
    pub fn workspace(&self, seed: &Path) -> String {
        let seed = seed.to_str().expect("a test's seed has a plain name");
        let created = self.json(["workspace", "create", ENVIRONMENT, "--seed-path", seed]);
        created["workspace_id"].as_str().expect("an id").to_owned()
    }

    /// Runs a shell script in a workspace; its standard output. It must succeed.
    pub fn sh(&self, workspace: &str, script: &str) -> String {
        self.ok(["workspace", "exec", workspace, "--", "sh", "-ec", script])
    }

    /// The daemon's process id.
    pub fn daemon_pid(&self) -> i32 {
        let status = self.json(["daemon", "status"]);
        i32::try_from(status["pid"].as_u64().expect("a pid")).expect("a pid")
    }

    /// Command lines of living processes that name this home.
    pub fn processes(&self) -> Vec<String> {
        let home = self.path();
        let home = home.as_os_str().as_encoded_bytes();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("procfs").flatten() {
            let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let holds = |bytes: &[u8]| bytes.windows(home.len()).any(|window| window == home);
            if holds(&line) || holds(&environment) {
                found.push(String::from_utf8_lossy(&line).replace('\0', " "));
            }
        }
        found
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for (kind, all, id) in [("workspace", "workspaces", "workspace_id"), ("vm", "vms", "vm_id")]
        {
            let listed = self.output([kind, "list", "--json"]);
            if let Ok(listed) = serde_json::from_slice::<Value>(&listed.stdout) {
                for listed in listed[all].as_array().into_iter().flatten() {
                    if let Some(id) = listed[id].as_str() {
                        self.output([kind, "delete", id]);
                    }
                }
            }
        }
        self.output(["daemon", "stop"]);
    }
}

fn with_json<'a, const N: usize>(args: &[&'a str; N]) -> Vec<&'a str> {
    // Behind `--` everything belongs to the guest's command.
    let at = args.iter().position(|arg| *arg == "--").unwrap_or(N);
    [&args[..at], &["--json"], &args[at..]].concat()
}

/// Everything a command said.
pub fn told(output: &Output) -> String {
    format!(
        "{}\nstdout: {}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
