//! Everything up to a guest's first instruction: requests against the published description, and the boot
//! with a stand-in, which is a process of its own and runs no machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::description::Description;
use super::*;
use crate::BackendKind;
use crate::spec::tests::example;

pub(super) fn spec() -> MachineSpec {
    MachineSpec { backend: BackendKind::Firecracker, ..example() }
}

/// The stand-in, told to fail in this way: a script, because Firecracker gets no environment.
pub(super) fn stand_in(dir: &Path, fail: &str) -> PathBuf {
    // Beside this test's `deps`; `cargo test` builds examples before it runs tests.
    let own = std::env::current_exe().unwrap();
    let program = own.parent().unwrap().with_file_name("examples/firecracker-stand-in");
    assert!(program.is_file(), "build it: cargo build -p pyro-machine --examples");
    let script = dir.join("firecracker");
    let (pid, program) = (dir.join("pid"), program.display());
    let text = format!(
        "#!/bin/sh\n{{ echo $$ >'{}'; }} 2>/dev/null\nSTAND_IN_FAIL='{fail}' exec '{program}' \"$@\"\n",
        pid.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// Boots with the stand-in in a new directory.
fn try_boot(fail: &str) -> (tempfile::TempDir, Result<RunningVm>) {
    let base = new_machine();
    let vm = boot_in(&base, &spec(), fail);
    (base, vm)
}

fn boot_in(base: &tempfile::TempDir, spec: &MachineSpec, fail: &str) -> Result<RunningVm> {
    let facts = facts(stand_in(base.path(), fail), None);
    boot(&facts, spec, &machine_dir(base), Box::new(|| {}))
}

/// That these requests and no others were accepted.
pub(super) fn assert_accepted(console: impl Read, requests: &[api::Request]) {
    let mut console = BufReader::new(console);
    for request in requests {
        let mut line = String::new();
        console.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), format!("{} {}", request.step(), request.body));
    }
}

pub(super) fn end(mut vm: RunningVm) {
    vm.child.kill().unwrap();
    vm.child.wait().unwrap();
}

pub(super) fn facts(path: PathBuf, jailer: Option<PathBuf>) -> FirecrackerFacts {
    FirecrackerFacts { path, version: "1.17.0".into(), jailer }
}

/// A new directory of a machine, in one for what else a test has.
fn new_machine() -> tempfile::TempDir {
    let base = tempfile::tempdir().unwrap();
    fs::create_dir(machine_dir(&base)).unwrap();
    base
}

/// Longer than a socket's name may be.
fn machine_dir(base: &tempfile::TempDir) -> PathBuf {
    base.path().join("d".repeat(120))
}

/// That neither a process is left, not even one to be waited for, nor a file that is no log.
fn assert_nothing_left(base: &tempfile::TempDir) {
    let pid = fs::read_to_string(base.path().join("pid")).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "process {pid} is left");
    assert_eq!(left(base), Vec::<String>::new());
}

/// Names in the machine's directory that are no logs.
fn left(base: &tempfile::TempDir) -> Vec<String> {
    crate::backend::remove_cgroup(&machine_dir(base)).unwrap();
    let entries = fs::read_dir(machine_dir(base)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != LOG && name != METRICS).collect()
}

#[test]
fn every_request_is_one_that_the_published_description_allows() {
    let description = Description::read();
    let requests = api::boot(&spec());
    for request in &requests {
        description.check(request.method, &request.path, &request.body).unwrap();
    }
    let steps: Vec<_> = requests.iter().map(api::Request::step).collect();
    assert_eq!(
        steps,
        [
            "PUT /logger",
            "PUT /metrics",
            "PUT /machine-config",
            "PUT /boot-source",
            "PUT /drives/root",
            "PUT /drives/scratch",
            "PUT /vsock",
            "PUT /entropy",
            "PUT /actions",
        ]
    );
    let root = &requests[4].body;
    assert_eq!((&root["is_read_only"], &root["is_root_device"]), (&true.into(), &false.into()));
    let words = requests[3].body["boot_args"].as_str().unwrap();
    assert!(words.contains("reboot=k pci=off") && words.ends_with("pyro.x=1"), "{words}");
}

#[test]
fn the_description_refuses_what_it_does_not_have() {
    let description = Description::read();
    let refused = |method: &str, path: &str, body: serde_json::Value, why: &str| {
        let problem = description.check(method, path, &body).unwrap_err();
        assert!(problem.contains(why), "{problem}");
    };
    use serde_json::json;
    refused("PUT", "/nothing", json!({}), "there is no");
    refused("POST", "/vsock", json!({}), "there is no");
    refused("PUT", "/vsock", json!({"guest_cid": 3}), "lacks");
    refused("PUT", "/vsock", json!({"guest_cid": 2, "uds_path": "x"}), "out of range");
    refused("PUT", "/vsock", json!({"guest_cid": "3", "uds_path": "x"}), "no integer");
    refused("PUT", "/vsock", json!({"guest_cid": 3, "uds_path": "x", "cid": 3}), "unknown field");
    refused("PUT", "/actions", json!({"action_type": "Explode"}), "not one of");
}

#[test]
fn a_boot_makes_every_request_and_leaves_nothing_at_its_end() {
    let (base, vm) = try_boot("");
    let mut vm = vm.unwrap();
    assert_accepted(&mut vm.console, &api::boot(&spec()));
    // Clients of the host reach its sockets by the machine's own, however long the name.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(crate::Machine::open(&machine_dir(&base)).connect(1024)).unwrap();
    end(vm);
    remove_left(&machine_dir(&base)).unwrap();
    assert_eq!(left(&base), [SOCKET]);
}

/// Has the stand-in answer these requests with each failure that is documented; `attempt` gives what came
/// of it. How many there are.
fn try_failures(
    requests: &[api::Request],
    attempt: impl Fn(&str) -> (tempfile::TempDir, Result<RunningVm>),
) -> usize {
    let description = Description::read();
    let mut tried = 0;
    for request in requests {
        for status in description.failures(request.method, &request.path) {
            let (base, vm) = attempt(&format!("{}={status}", request.step()));
            let error = vm.err().expect("it fails");
            let text = error.to_string();
            assert!(matches!(error, Error::FirecrackerRefused { .. }), "{text}");
            for part in [request.step(), status.to_string(), "told to answer".to_owned()] {
                assert!(text.contains(&part), "{text}");
            }
            assert_nothing_left(&base);
            tried += 1;
        }
    }
    tried
}

#[test]
fn every_failure_that_is_documented_names_its_step_and_leaves_nothing() {
    assert_eq!(try_failures(&api::boot(&spec()), try_boot), 17, "failures that are documented");
}

/// One whose disk is in its directory.
fn with_disk(base: &tempfile::TempDir, restore: Option<PathBuf>) -> MachineSpec {
    let scratch = machine_dir(base).join("scratch.img");
    fs::write(&scratch, "a disk").unwrap();
    MachineSpec { root_image: "/dev/null".into(), scratch, restore, ..spec() }
}

/// A machine that was booted and saved in `saved` beside its directory.
fn saved() -> tempfile::TempDir {
    let base = new_machine();
    let vm = boot_in(&base, &with_disk(&base, None), "").unwrap();
    fs::create_dir(base.path().join("saved")).unwrap();
    save(&machine_dir(&base), &base.path().join("saved")).unwrap();
    end(vm);
    base
}

/// Goes on as the machine that was saved there.
fn try_restore(saved: &tempfile::TempDir, fail: &str) -> (tempfile::TempDir, Result<RunningVm>) {
    let base = new_machine();
    let spec = with_disk(&base, Some(saved.path().join("saved")));
    let vm = boot_in(&base, &spec, fail);
    fs::remove_file(spec.scratch).unwrap();
    (base, vm)
}

#[test]
fn a_machine_is_saved_and_others_go_on_as_it() {
    let description = Description::read();
    for request in api::restore().iter().chain([&api::pause(), &api::save(), &api::resume()]) {
        description.check(request.method, &request.path, &request.body).unwrap();
    }
    let saved = saved();
    let memory = fs::metadata(saved.path().join("saved").join(saved::MEMORY)).unwrap();
    assert_eq!(memory.len(), (1 << 20) + 6);
    assert!(std::os::unix::fs::MetadataExt::blocks(&memory) * 512 < 1 << 17, "no holes");
    for _ in 0..2 {
        let (base, vm) = try_restore(&saved, "");
        let mut vm = vm.unwrap();
        assert_accepted(&mut vm.console, &api::restore());
        let names = left(&base);
        assert!(names.iter().all(|name| !name.starts_with("saved.")), "{names:?}");
        end(vm);
    }
}

#[test]
fn a_restore_that_fails_names_its_step_and_leaves_nothing() {
    let saved = saved();
    let tried = try_failures(&api::restore(), |fail| try_restore(&saved, fail));
    assert_eq!(tried, 8, "failures that are documented");
    fs::remove_file(saved.path().join("saved").join(saved::STATE)).unwrap();
    let (base, vm) = try_restore(&saved, "");
    assert!(vm.err().expect("it fails").to_string().contains(saved::STATE));
    assert_eq!(left(&base), Vec::<String>::new());
}

#[test]
fn saving_that_fails_tells_its_step() {
    let description = Description::read();
    for request in [api::pause(), api::save()] {
        for status in description.failures(request.method, &request.path) {
            let (base, vm) = try_boot(&format!("{}={status}", request.step()));
            let vm = vm.unwrap();
            fs::create_dir(base.path().join("saved")).unwrap();
            let error = save(&machine_dir(&base), &base.path().join("saved")).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(&request.step()) && text.contains(&status.to_string()), "{text}");
            assert_eq!(fs::read_dir(base.path().join("saved")).unwrap().count(), 0);
            end(vm);
        }
    }
}

#[test]
fn one_that_ends_at_once_is_told_with_its_words() {
    let (base, vm) = try_boot("exit");
    let text = vm.err().expect("it fails").to_string();
    assert!(text.contains("connect") && text.contains("told to fail"), "{text}");
    assert_nothing_left(&base);
}

#[test]
fn one_that_never_answers_is_given_up() {
    let (base, vm) = try_boot("silence");
    let text = vm.err().expect("it fails").to_string();
    assert!(text.contains("PUT /logger") && text.contains("longer than"), "{text}");
    assert_nothing_left(&base);
}

#[test]
fn the_stand_in_is_no_firecracker_that_pyro_would_use() {
    let base = tempfile::tempdir().unwrap();
    let program = stand_in(base.path(), "");
    let output = Command::new(&program).arg("--version").output().unwrap();
    let says = String::from_utf8(output.stdout).unwrap();
    assert!(says.starts_with("Firecracker stand-in"), "{says}");
    assert_eq!(version::supported(says.lines().next().unwrap()), None);
}

#[test]
fn what_the_guest_asks_for_is_started_and_reached() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vsock_1025");
    let called = Arc::<AtomicUsize>::default();
    let (count, late) = (called.clone(), path.clone());
    // The hook starts the service, as it starts a daemon.
    let missing = move || {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            let listener = UnixListener::bind(&late).unwrap();
            std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut word = [0; 5];
                stream.read_exact(&mut word).unwrap();
                stream.write_all(&word.map(|byte| byte.to_ascii_uppercase())).unwrap();
            });
        }
    };
    let dirs = (dir.path(), dir.path());
    let relay = relay::start(dirs, None, &[1025], Box::new(missing), Vec::new()).unwrap();
    let mut guest = UnixStream::connect(dir.path().join(format!("{VSOCK}_1025"))).unwrap();
    guest.write_all(b"hello").unwrap();
    let mut answer = String::new();
    guest.read_to_string(&mut answer).unwrap();
    assert_eq!((answer.as_str(), called.load(Ordering::SeqCst)), ("HELLO", 1));
    drop(relay);
}
