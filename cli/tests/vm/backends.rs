//! What holds on every backend: one list of claims, run on each of them.
//!
//! A backend that cannot run here is skipped, and why is what `pyro doctor` says of it. Where a backend
//! cannot do one thing by its nature, its claim says so by name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::{Beside, assert_nothing_remains, dir_of, kill_daemon, until};
use crate::support::{ENVIRONMENT, Home, check, doctor, told};
use crate::tree::{Listing, assert_changes, entry, str_of};

/// A backend, and the check of `pyro doctor` that tells whether it works.
struct Backend {
    name: &'static str,
    check: &'static str,
    /// What documents call it.
    mode: &'static str,
}

const QEMU_TCG: Backend = Backend { name: "qemu-tcg", check: "qemu", mode: "qemu-tcg" };
const QEMU_KVM: Backend = Backend { name: "qemu-kvm", check: "kvm", mode: "qemu-kvm" };
const FIRECRACKER: Backend =
    Backend { name: "firecracker", check: "firecracker", mode: "firecracker" };
const HOST_COMPAT: Backend =
    Backend { name: "host-compat", check: "host-compat", mode: "host_compat" };

/// A home on one backend.
struct Bench {
    home: Home,
    backend: &'static Backend,
    /// What `pyro doctor` says of it.
    reason: String,
}

fn run(backend: &'static Backend, claim: fn(&Bench)) {
    let report = doctor();
    match check(&report, backend.check) {
        Some(check) if check["status"] == "ok" => {
            let reason = str_of(check, "message").to_owned();
            claim(&Bench { home: Home::on(backend.name), backend, reason })
        }
        Some(check) => skipped(backend, str_of(check, "message")),
        None => skipped(backend, "pyro doctor does not know it"),
    }
}

fn skipped(backend: &Backend, reason: &str) {
    eprintln!("skipped: {}: {reason}", backend.name);
}

macro_rules! claims_on {
    ($module:ident, $backend:ident, [$($claim:ident),* $(,)?]) => {
        mod $module {
            $(
                #[test]
                fn $claim() {
                    super::run(&super::$backend, super::$claim);
                }
            )*
        }
    };
}

macro_rules! claims {
    ($claims:tt) => {
        claims_on!(qemu_tcg, QEMU_TCG, $claims);
        claims_on!(qemu_kvm, QEMU_KVM, $claims);
        claims_on!(firecracker, FIRECRACKER, $claims);
        claims_on!(host_compat, HOST_COMPAT, $claims);
    };
}

claims!([
    its_name_is_in_every_document_and_no_vm_is_never_silent,
    the_workspace_is_complete_when_create_returns,
    a_command_has_its_outputs_exit_code_directory_and_variables,
    a_timeout_kills_all_that_a_command_started,
    a_detached_command_is_killed_with_all_that_it_left_running,
    every_kind_of_change_is_reported_as_a_full_scan_sees_it,
    random_operations_are_reported_as_a_full_scan_sees_them,
    a_renamed_directory_is_one_record,
    a_push_replaces_what_is_there,
    shells_keep_their_state_and_end_as_a_whole,
    an_export_is_what_the_guest_sees,
    changes_are_applied_to_the_directory_they_came_from,
    snapshots_resets_and_forks_start_from_what_was_named,
    files_outlive_a_stop_and_commands_do_not,
    a_killed_daemon_is_not_noticed,
    what_is_shown_is_one_moment,
    the_environment_is_writable_and_each_workspace_has_its_own,
    the_guest_sees_nothing_of_the_host,
    a_command_that_floods_or_forks_harms_no_other_workspace,
    a_machine_that_dies_is_stopped_and_starts_again,
    nothing_is_left_after_delete,
    a_vm_for_one_command_is_gone_after_it,
]);

impl Bench {
    fn seed(&self) -> PathBuf {
        let seed = self.home.scratch("seed");
        fs::create_dir_all(seed.join("dir/sub")).unwrap();
        fs::write(seed.join("kept.txt"), "kept\n").unwrap();
        fs::write(seed.join("edited.txt"), "before\n").unwrap();
        fs::write(seed.join("removed.txt"), "removed\n").unwrap();
        fs::write(seed.join("dir/sub/deep"), "deep\n").unwrap();
        fs::write(seed.join("large"), vec![b'x'; 3 << 20]).unwrap();
        fs::write(seed.join("run"), "#!/bin/sh\necho it runs\n").unwrap();
        fs::set_permissions(seed.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("dir/sub", seed.join("link")).unwrap();
        seed
    }

    fn workspace(&self) -> String {
        self.home.workspace(&self.seed())
    }

    fn empty(&self) -> String {
        let created = self.home.json(["workspace", "create", ENVIRONMENT]);
        str_of(&created, "workspace_id").to_owned()
    }

    fn is_host_compat(&self) -> bool {
        self.backend.name == HOST_COMPAT.name
    }

    /// Runs a script that may fail: exit code, output, complaints. What pyro says itself is no part of
    /// them.
    fn sh(&self, id: &str, script: &str) -> (i32, String, String) {
        let output = self.home.output(["workspace", "exec", id, "--", "sh", "-c", script]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let complaints = text(&output.stderr);
        let own = |line: &&str| !line.starts_with("warning: host-compat:");
        let complaints = complaints.split_inclusive('\n').filter(own).collect();
        (output.status.code().unwrap(), text(&output.stdout), complaints)
    }

    /// Whether a process with these words runs in the guest.
    fn runs(&self, id: &str, words: &str) -> bool {
        let script = "for p in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $p 2>/dev/null; echo; done";
        self.sh(id, script).1.lines().any(|line| line.trim() == words)
    }

    /// The report's changes; those of a full scan must be the same.
    fn diff(&self, id: &str) -> Value {
        let diff = self.home.json(["workspace", "diff", id]);
        let full = self.home.json(["workspace", "diff", id, "--full"]);
        assert_eq!(diff["entries"], full["entries"]);
        assert_eq!(diff["tree"], full["tree"]);
        diff
    }
}

fn its_name_is_in_every_document_and_no_vm_is_never_silent(bench: &Bench) {
    let home = &bench.home;
    let id = bench.empty();
    let status = home.json(["workspace", "status", &id]);
    assert_eq!(status["execution_mode"], bench.backend.mode);
    let exec = home.json(["workspace", "exec", &id, "--", "true"]);
    assert_eq!(exec["execution_mode"], bench.backend.mode);
    let diff = home.json(["workspace", "diff", &id]);
    assert_eq!(diff["execution_mode"], bench.backend.mode);
    let commands: [&[&str]; 6] = [
        &["workspace", "create", ENVIRONMENT],
        &["workspace", "status", &id],
        &["workspace", "exec", &id, "--", "true"],
        &["workspace", "diff", &id],
        &["workspace", "list"],
        &["run", ENVIRONMENT, "--", "true"],
    ];
    for command in commands {
        let output = home.output(command);
        assert!(output.status.success(), "{}", told(&output));
        let warned = String::from_utf8_lossy(&output.stderr).contains("host-compat");
        assert_eq!(warned, bench.is_host_compat(), "{command:?}: {}", told(&output));
    }
}

fn the_workspace_is_complete_when_create_returns(bench: &Bench) {
    let id = bench.workspace();
    let seed = Listing::host(&bench.home.scratch("seed"));
    Listing::guest(&bench.home, &id).is(&seed);
    assert_eq!(bench.sh(&id, "./run; cat link/deep"), (0, "it runs\ndeep\n".into(), "".into()));
}

fn a_command_has_its_outputs_exit_code_directory_and_variables(bench: &Bench) {
    let id = bench.workspace();
    let home = &bench.home;
    assert_eq!(
        bench.sh(&id, "pwd; echo oops >&2; exit 7"),
        (7, "/workspace\n".into(), "oops\n".into())
    );
    assert_eq!(bench.sh(&id, "kill -TERM $$").0, 128 + 15);
    assert_eq!(
        home.output(["workspace", "exec", &id, "--", "no-such-program"]).status.code(),
        Some(127)
    );
    assert_eq!(
        home.output(["workspace", "exec", &id, "--", "/workspace/kept.txt"]).status.code(),
        Some(126)
    );
    let text = home.ok([
        "workspace",
        "exec",
        &id,
        "--cwd",
        "/workspace/dir",
        "--env",
        "WORD=a b",
        "--",
        "sh",
        "-c",
        "pwd; echo \"$WORD $HOME\"; id -u; hostname",
    ]);
    assert_eq!(text, format!("/workspace/dir\na b /root\n0\n{id}\n"));
    let numbers: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(home.sh(&id, "seq 1 200000"), numbers);
}

fn a_timeout_kills_all_that_a_command_started(bench: &Bench) {
    let id = bench.empty();
    let script = "setsid sleep 4711 & (setsid sh -c 'sleep 4712 & sleep 4713' &) ; sleep 4714";
    let args = ["workspace", "exec", &id, "--timeout-seconds", "1", "--", "sh", "-c", script];
    let output = bench.home.output(args);
    assert_eq!(output.status.code(), Some(124), "{}", told(&output));
    for n in 4711..=4714 {
        assert!(!bench.runs(&id, &format!("sleep {n}")), "sleep {n}");
    }
}

fn a_detached_command_is_killed_with_all_that_it_left_running(bench: &Bench) {
    let id = bench.empty();
    let home = &bench.home;
    // One that only left something running, and another one, which must not be harmed.
    home.sh(&id, "(setsid sleep 4721 > /dev/null 2>&1 &)");
    home.sh(&id, "(setsid sleep 4722 > /dev/null 2>&1 &)");
    assert!(bench.runs(&id, "sleep 4721") && bench.runs(&id, "sleep 4722"));
    home.json(["workspace", "exec", "kill", &id, "1"]);
    assert!(!bench.runs(&id, "sleep 4721"));
    assert!(bench.runs(&id, "sleep 4722"));
    let begun = home.json(["workspace", "exec", &id, "--detach", "--", "sleep", "4723"]);
    let sequence = begun["sequence"].to_string();
    assert!(bench.runs(&id, "sleep 4723"));
    assert_eq!(home.json(["workspace", "exec", "kill", &id, &sequence])["killed"], true);
    assert!(!bench.runs(&id, "sleep 4723"));
}

fn every_kind_of_change_is_reported_as_a_full_scan_sees_it(bench: &Bench) {
    let id = bench.workspace();
    bench.home.sh(
        &id,
        "echo after > edited.txt; rm removed.txt; touch kept.txt; chmod 600 run
         mkdir -p new/deep; echo 1 > new/deep/one; ln new/deep/one new/two; ln -sfn kept.txt link
         rm -r dir; mkdir dir; echo other > dir/other; mkfifo pipe; printf 'b\\377' > 'odd\nname'",
    );
    let diff = bench.diff(&id);
    assert_changes(
        &diff,
        &[
            ("dir/other", "added"),
            ("dir/sub", "deleted"),
            ("dir/sub/deep", "deleted"),
            ("edited.txt", "modified"),
            ("link", "modified"),
            ("new", "added"),
            ("new/deep", "added"),
            ("new/deep/one", "added"),
            ("new/two", "added"),
            ("odd\nname", "added"),
            ("removed.txt", "deleted"),
            ("run", "modified"),
        ],
    );
    assert_eq!(entry(&diff, "run")["new_mode"], "600");
    assert_eq!(entry(&diff, "link")["new_target"], "kept.txt");
    assert_eq!(diff["skipped"][0]["path"], "pipe", "{diff}");
}

fn random_operations_are_reported_as_a_full_scan_sees_them(bench: &Bench) {
    for seed in [1, 2, 3] {
        crate::property::case(&Home::on(bench.backend.name), seed, 2);
    }
}

fn a_renamed_directory_is_one_record(bench: &Bench) {
    let id = bench.workspace();
    // What `mv` does where a rename is refused must give the same tree.
    bench.home.sh(&id, "mv dir moved; mv moved/sub moved/below");
    let diff = bench.diff(&id);
    assert_changes(
        &diff,
        &[
            ("dir", "deleted"),
            ("dir/sub", "deleted"),
            ("dir/sub/deep", "deleted"),
            ("moved", "added"),
            ("moved/below", "added"),
            ("moved/below/deep", "added"),
        ],
    );
    assert_eq!(entry(&diff, "moved/below/deep")["renamed_from"], "dir/sub/deep");
    let renamed = "import os; os.rename('moved', 'again')";
    assert_eq!(bench.sh(&id, &format!("python3 -c \"{renamed}\"")).0, 0, "what is new is renamed");
    if bench.is_host_compat() {
        return skipped(
            bench.backend,
            "renaming a directory of the seed in one step: overlayfs refuses redirect_dir to a user namespace",
        );
    }
    let other = bench.home.workspace(&bench.home.scratch("seed"));
    let renamed = "import os; os.rename('dir', 'moved')";
    assert_eq!(bench.sh(&other, &format!("python3 -c \"{renamed}\"")).0, 0);
    let diff = bench.diff(&other);
    assert_eq!(diff["report"]["fetched_bytes"], 0, "{diff}");
    assert_eq!(diff["renames"][0]["to"], "moved");
}

fn a_push_replaces_what_is_there(bench: &Bench) {
    let id = bench.workspace();
    let home = &bench.home;
    let source = home.scratch("source");
    fs::create_dir_all(source.join("dir/sub")).unwrap();
    fs::write(source.join("dir/sub/deep"), "pushed\n").unwrap();
    fs::write(source.join("edited.txt"), "pushed\n").unwrap();
    fs::write(source.join("large"), vec![b'y'; 2 << 20]).unwrap();
    home.json(["workspace", "sync", "push", &id, source.to_str().unwrap()]);
    let sums = home.sh(&id, "cat dir/sub/deep edited.txt kept.txt; wc -c < large");
    assert_eq!(sums, "pushed\npushed\nkept\n2097152\n");
    let paths = ["dir/sub/deep", "edited.txt", "large"].map(|path| (path, "modified"));
    assert_changes(&bench.diff(&id), &paths);
    let escape = ["workspace", "sync", "push", &id, source.to_str().unwrap(), "--dest", "../x"];
    assert_eq!(home.fails(escape).1["code"], "outside_workspace");
}

fn shells_keep_their_state_and_end_as_a_whole(bench: &Bench) {
    let id = bench.workspace();
    let home = &bench.home;
    let shell = home.ok(["workspace", "shell", "open", &id, "--id-only"]).trim().to_owned();
    let write = |input: &str| {
        home.ok(["workspace", "shell", "write", &id, &shell, "--input", input]);
    };
    let printed = |wanted: &str| {
        let read = ["workspace", "shell", "read", &id, &shell, "--plain"];
        until(wanted, || str_of(&home.json(read), "output").contains(wanted));
    };
    write("cd dir; X=4; test -t 0 && tty");
    printed("/dev/pts/");
    write("echo $((X * 1000 + 4)) $PWD; setsid sleep 4731 &");
    printed("4004 /workspace/dir");
    until("it runs", || bench.runs(&id, "sleep 4731"));
    home.json(["workspace", "shell", "close", &id, &shell]);
    until("it is killed", || !bench.runs(&id, "sleep 4731"));
    assert_eq!(home.fails(["workspace", "shell", "read", &id, &shell]).1["code"], "unknown_shell");
}

fn an_export_is_what_the_guest_sees(bench: &Bench) {
    let id = bench.workspace();
    bench
        .home
        .sh(&id, "echo after > edited.txt; rm -r dir; mkdir -m 700 closed; echo 1 > closed/x");
    let out = bench.home.scratch("out");
    bench.home.json(["workspace", "export", &id, ".", "--output", out.to_str().unwrap()]);
    Listing::host(&out).timeless().is(&Listing::guest(&bench.home, &id).timeless());
}

fn changes_are_applied_to_the_directory_they_came_from(bench: &Bench) {
    let id = bench.workspace();
    let seed = bench.home.scratch("seed");
    bench.home.sh(&id, "echo after > edited.txt; rm removed.txt; mkdir new; echo 1 > new/x");
    fs::write(seed.join("kept.txt"), "of the host\n").unwrap();
    bench.home.json(["workspace", "apply", &id, seed.to_str().unwrap(), "--yes"]);
    assert_eq!(fs::read_to_string(seed.join("edited.txt")).unwrap(), "after\n");
    assert_eq!(fs::read_to_string(seed.join("kept.txt")).unwrap(), "of the host\n");
    assert_eq!(fs::read_to_string(seed.join("new/x")).unwrap(), "1\n");
    assert!(!seed.join("removed.txt").exists());
}

fn snapshots_resets_and_forks_start_from_what_was_named(bench: &Bench) {
    let id = bench.workspace();
    let home = &bench.home;
    home.sh(&id, "echo one > state; rm -r dir; touch /etc/of-this-sandbox");
    home.json(["workspace", "snapshot", "create", &id, "one"]);
    home.sh(&id, "echo two > state");
    let fork = home.json(["workspace", "fork", &id]);
    assert_eq!(fork["execution_mode"], bench.backend.mode);
    let fork = str_of(&fork, "workspace_id").to_owned();
    assert_eq!(home.sh(&fork, "cat state; ls -d dir 2>/dev/null || echo gone"), "two\ngone\n");
    home.json(["workspace", "reset", &id, "--snapshot", "one"]);
    assert_eq!(
        home.sh(&id, "cat state; ls /etc/of-this-sandbox 2>/dev/null || echo new"),
        "one\nnew\n"
    );
    home.json(["workspace", "reset", &id]);
    assert_eq!(bench.diff(&id)["changed"], false);
    assert_eq!(home.sh(&id, "cat dir/sub/deep edited.txt"), "deep\nbefore\n");
    assert_eq!(home.sh(&fork, "cat state"), "two\n");
}

fn files_outlive_a_stop_and_commands_do_not(bench: &Bench) {
    let id = bench.workspace();
    let home = &bench.home;
    home.sh(
        &id,
        "echo after > edited.txt; rm -r dir; echo kept > /root/file; (setsid sleep 4741 &)",
    );
    let before = bench.diff(&id);
    home.json(["workspace", "stop", &id]);
    assert_eq!(home.json(["workspace", "status", &id])["state"], "stopped");
    home.json(["workspace", "start", &id]);
    assert!(!bench.runs(&id, "sleep 4741"));
    assert_eq!(home.sh(&id, "cat edited.txt /root/file"), "after\nkept\n");
    assert_eq!(bench.diff(&id)["tree"], before["tree"]);
}

fn a_killed_daemon_is_not_noticed(bench: &Bench) {
    let id = bench.workspace();
    let home = &bench.home;
    home.sh(&id, "mkfifo /tmp/go");
    let mut exec = Beside::exec(home, &id, "echo begun; cat /tmp/go; md5sum < large; exit 7");
    exec.expect("begun");
    kill_daemon(home);
    home.sh(&id, "echo gone on > /tmp/go");
    let (status, stdout, stderr) = exec.end();
    assert_eq!(status.code(), Some(7), "{stderr}");
    assert!(stdout.starts_with("gone on\n"), "{stdout}");
    // Nobody follows, and the guest's own wish for content brings a daemon back.
    let mut exec = Beside::exec(home, &id, "echo begun; cat /tmp/go; cat dir/sub/deep; exit 3");
    exec.expect("begun");
    exec.signal(Signal::SIGSTOP);
    home.sh(&id, "(sleep 3; echo > /tmp/go) > /dev/null 2>&1 &");
    kill_daemon(home);
    exec.signal(Signal::SIGKILL);
    exec.child.wait().unwrap();
    until("a daemon is back", || home.output(["daemon", "status"]).status.success());
    until("the command ends", || {
        let view = home.json(["workspace", "exec", "read", &id, "4"]);
        view["exit_code"] == 3 && str_of(&view, "stdout") == "begun\n\ndeep\n"
    });
}

fn what_is_shown_is_one_moment(bench: &Bench) {
    let id = bench.empty();
    let counting = "n=0; while :; do n=$((n+1)); echo $n > a; echo $n > b; done";
    bench.home.json(["workspace", "exec", &id, "--detach", "--", "sh", "-c", counting]);
    let diff = bench.home.json(["workspace", "diff", &id]);
    if bench.reason.contains("cannot (no cgroup v2) be frozen") {
        assert_eq!(diff["report"]["frozen"], false, "{diff}");
        return skipped(bench.backend, "freezing takes a cgroup v2 that pyro may divide");
    }
    assert_eq!(diff["report"]["frozen"], true, "{diff}");
}

fn the_environment_is_writable_and_each_workspace_has_its_own(bench: &Bench) {
    let (one, other) = (bench.empty(), bench.empty());
    bench.home.sh(&one, "echo changed > /etc/motd; rm /etc/debian_version; echo x > /usr/bin/new");
    let look = "cat /etc/motd; ls /etc/debian_version; ls /usr/bin/new";
    assert!(!bench.sh(&other, look).1.contains("changed"));
    assert!(bench.sh(&other, look).1.contains("/etc/debian_version"));
    assert!(!bench.sh(&other, look).1.contains("/usr/bin/new"));
    let after = bench.empty();
    assert!(bench.sh(&after, look).1.contains("/etc/debian_version"));
}

fn the_guest_sees_nothing_of_the_host(bench: &Bench) {
    let id = bench.workspace();
    let home = &bench.home;
    let secret = home.scratch("secret");
    fs::write(&secret, "secret\n").unwrap();
    assert_ne!(bench.sh(&id, &format!("cat '{}'", secret.display())).0, 0);
    let pids = bench.sh(&id, "ls /proc | grep -c '^[0-9]*$'").1;
    assert!(pids.trim().parse::<u32>().unwrap() < 200, "{pids}");
    assert!(!bench.runs(&id, &format!("{} daemon run", env!("CARGO_BIN_EXE_pyro"))));
    // Listeners on the host's loopback, and one without a path.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let name = format!("pyro-test-{}", std::process::id());
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _abstract = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let script = format!(
        "import socket
for kind, address in ((socket.AF_INET, ('127.0.0.1', {port})), (socket.AF_UNIX, '\\0{name}')):
    try:
        socket.socket(kind).connect(address)
        print('reached', address)
    except OSError as error:
        print('refused')
print(sorted(name for _, name in socket.if_nameindex()))"
    );
    let told = home.ok(["workspace", "exec", &id, "--", "python3", "-c", &script]);
    assert_eq!(told, "refused\nrefused\n['lo']\n");
}

fn a_command_that_floods_or_forks_harms_no_other_workspace(bench: &Bench) {
    let (loud, quiet) = (bench.empty(), bench.empty());
    let home = &bench.home;
    let flood = "yes | head -c 20000000; for i in $(seq 200); do sleep 4751 & done; sleep 4752";
    let args =
        ["workspace", "exec", &loud, "--timeout-seconds", "5", "--json", "--", "sh", "-c", flood];
    let output = home.output(args);
    assert_eq!(output.status.code(), Some(124), "{}", told(&output));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["stdout_truncated"], true);
    assert!(!bench.runs(&loud, "sleep 4751") && !bench.runs(&loud, "sleep 4752"));
    assert_eq!(home.sh(&quiet, "echo quiet"), "quiet\n");
}

fn a_machine_that_dies_is_stopped_and_starts_again(bench: &Bench) {
    let id = bench.workspace();
    let home = &bench.home;
    home.sh(&id, "echo after > edited.txt; sync");
    let record = fs::read(dir_of(home, &id).join("shim.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    crate::process::kill_9(i32::try_from(record["pid"].as_i64().unwrap()).unwrap());
    until("it is stopped", || home.json(["workspace", "status", &id])["state"] == "stopped");
    let vmm = record["vmm"]["pid"].as_i64().unwrap();
    until("its VMM ends", || !Path::new(&format!("/proc/{vmm}/exe")).exists());
    home.json(["workspace", "start", &id]);
    assert_eq!(home.sh(&id, "cat edited.txt"), "after\n");
}

fn nothing_is_left_after_delete(bench: &Bench) {
    let id = bench.workspace();
    let home = &bench.home;
    home.sh(&id, "mkdir -p a/b; echo 1 > a/b/c; chmod 0 a/b a; mkdir /root/x; chmod 0 /root/x; (setsid sleep 4761 &)");
    home.json(["workspace", "stop", &id]);
    home.json(["workspace", "start", &id]);
    home.ok(["workspace", "delete", &id]);
    assert_nothing_remains(home);
}

fn a_vm_for_one_command_is_gone_after_it(bench: &Bench) {
    let home = &bench.home;
    let run = home.output(["run", ENVIRONMENT, "--", "sh", "-c", "echo ran; exit 5"]);
    assert_eq!((run.status.code(), &run.stdout[..]), (Some(5), &b"ran\n"[..]), "{}", told(&run));
    let run = home.output(["run", ENVIRONMENT, "--json", "--", "true"]);
    let document: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(document["execution_mode"], bench.backend.mode);
    assert_nothing_remains(home);
}
