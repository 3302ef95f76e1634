//! Workspaces without a VM: only when they are asked for, and what their commands cannot do. What they
//! have in common with VMs is in `backends.rs`.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::support::{ENVIRONMENT, Home, check, doctor, told};
use crate::tree::str_of;

/// Tries what must be refused; prints the names of what was not.
const ATTEMPTS: &str = r#"
import ctypes, os, signal, socket, stat
libc = ctypes.CDLL(None, use_errno=True)
def call(*words):
    if libc.syscall(*words) < 0:
        raise OSError(ctypes.get_errno(), 'refused')
def fork_and(work):
    if (pid := os.fork()) == 0:
        try:
            work()
            os._exit(0)
        except OSError:
            os._exit(1)
    if os.waitpid(pid, 0)[1]:
        raise OSError('refused')
def write(path, text):
    with open(path, 'w') as file:
        file.write(text)
def device(path):
    if not stat.S_ISCHR(os.stat(path).st_mode):
        raise OSError('no device')
NEWNS, NEWUSER, NEWCGROUP, NEWNET = 0x20000, 0x10000000, 0x2000000, 0x40000000
attempts = {
    'mount': lambda: call(165, b'none', b'/mnt', b'tmpfs', 0, None),
    'bind mount': lambda: call(165, b'/', b'/mnt', None, 4096, None),
    'remount': lambda: call(165, None, b'/proc/sys', None, 4096 | 32, None),
    'umount': lambda: call(166, b'/workspace', 2),
    'open_tree': lambda: call(428, -100, b'/', 1),
    'pivot_root': lambda: call(155, b'/', b'/'),
    'unshare user': lambda: fork_and(lambda: call(272, NEWUSER)),
    'unshare mounts': lambda: fork_and(lambda: call(272, NEWNS)),
    'unshare cgroup': lambda: fork_and(lambda: call(272, NEWCGROUP)),
    'clone user': lambda: call(56, NEWUSER | 17, None, None, None, None),
    'clone3': lambda: call(435, None, 0),
    'setns': lambda: call(308, os.open('/proc/self/ns/mnt', os.O_RDONLY), 0),
    'x32': lambda: call(0x40000000 + 39),
    'device': lambda: os.mknod('/workspace/mem', 0o20666, os.makedev(1, 1)),
    'disk': lambda: os.mknod('/tmp/disk', 0o60666, os.makedev(254, 0)),
    'trace the agent': lambda: call(101, 16, 1, None, None),
    'memory of the agent': lambda: open('/proc/1/mem', 'rb'),
    'root of the agent': lambda: os.listdir('/proc/1/root'),
    'descriptors of the agent': lambda: [os.readlink(f'/proc/1/fd/{n}') for n in os.listdir('/proc/1/fd')],
    'core_pattern': lambda: write('/proc/sys/kernel/core_pattern', 'x'),
    'sysrq': lambda: write('/proc/sysrq-trigger', 'h'),
    'hostname': lambda: socket.sethostname('x'),
    'clock': lambda: call(227, 0, (ctypes.c_long * 2)(1, 0)),
    'keyring': lambda: call(250, 0, -3, 1),
    'bpf': lambda: call(321, 0, None, 0),
    'perf': lambda: call(298, None, 0, -1, -1, 0),
    'io_uring': lambda: call(425, 1, (ctypes.c_char * 120)()),
    'userfaultfd': lambda: call(323, 1),
    'module': lambda: call(313, -1, b'', 0),
    'raw socket': lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    'fuse': lambda: device('/dev/fuse'),
}
for name, attempt in attempts.items():
    try:
        attempt()
        print(name)
    except OSError:
        pass
os.kill(1, signal.SIGKILL)
os.kill(1, signal.SIGTERM)
for line in open('/proc/self/status'):
    if line.startswith(('CapEff', 'CapBnd', 'NoNewPrivs', 'Seccomp:')):
        print(*line.split())
"#;

/// A home without VMs, unless this machine cannot have one.
fn home() -> Option<Home> {
    let report = doctor();
    let check = check(&report, "host-compat").expect("it is checked");
    if check["status"] != "ok" {
        eprintln!("skipped: host-compat: {}", str_of(check, "message"));
        return None;
    }
    Some(Home::on("host-compat"))
}

#[test]
fn commands_cannot_leave_their_sandbox_or_harm_the_agent() {
    let Some(home) = home() else { return };
    let created = home.json(["workspace", "create", ENVIRONMENT]);
    let id = str_of(&created, "workspace_id");
    let told = home.ok(["workspace", "exec", id, "--", "python3", "-c", ATTEMPTS]);
    let rights = "CapEff: 00000000800405fb\nCapBnd: 00000000800405fb\n";
    assert_eq!(told, format!("{rights}NoNewPrivs: 1\nSeccomp: 2\n"));
    assert_eq!(home.sh(id, "echo alive"), "alive\n");
}

#[test]
fn a_shell_is_confined_as_a_command_is() {
    let Some(home) = home() else { return };
    let created = home.json(["workspace", "create", ENVIRONMENT]);
    let id = str_of(&created, "workspace_id");
    let shell = home.ok(["workspace", "shell", "open", id, "--id-only"]).trim().to_owned();
    let line = "grep -E '^(CapEff|Seccomp:)' /proc/self/status; echo en''d";
    home.ok(["workspace", "shell", "write", id, &shell, "--input", line]);
    let mut printed = String::new();
    crate::process::until("the shell answers", || {
        let read = home.json(["workspace", "shell", "read", id, &shell, "--plain"]);
        printed = str_of(&read, "output").to_owned();
        printed.contains("\nend")
    });
    let words: Vec<_> = printed.split_whitespace().collect();
    assert!(words.windows(2).any(|pair| pair == ["CapEff:", "00000000800405fb"]), "{printed}");
    assert!(words.windows(2).any(|pair| pair == ["Seccomp:", "2"]), "{printed}");
}

/// A search path with these programs alone; the rest of them is where every system has it.
fn path_with(home: &Home, programs: &[&str]) -> PathBuf {
    let dir = home.scratch("bin");
    std::fs::create_dir(&dir).unwrap();
    for program in programs {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|dir| dir.join(program))
            .find(|path| path.exists());
        symlink(found.expect("it is installed"), dir.join(program)).unwrap();
    }
    dir
}

fn create(home: &Home, path: &Path, backend: Option<&str>, flags: &[&str]) -> Output {
    let mut command = home.command(["workspace", "create", ENVIRONMENT, "--json"]);
    command.args(flags).env("PATH", path).env_remove("PYRO_BACKEND");
    if let Some(backend) = backend {
        command.env("PYRO_BACKEND", backend);
    }
    command.output().unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(output)))
}

#[test]
fn no_vm_is_only_for_those_who_allow_it() {
    if home().is_none() {
        return;
    }
    let home = Home::new();
    let path = path_with(&home, &["bwrap"]);
    let refused = create(&home, &path, None, &[]);
    assert_eq!(refused.status.code(), Some(5), "{}", told(&refused));
    assert_eq!(document(&refused)["error"]["code"], "missing_tool");
    assert!(str_of(&document(&refused)["error"], "message").contains("qemu"));
    let network = create(&home, &path, None, &["--allow-host-compat", "--network"]);
    assert_eq!(document(&network)["error"]["code"], "unsupported", "{}", told(&network));
    let allowed = create(&home, &path, None, &["--allow-host-compat"]);
    assert_eq!(document(&allowed)["execution_mode"], "host_compat", "{}", told(&allowed));
}

#[test]
fn a_named_backend_is_taken_or_refused_and_never_replaced() {
    if home().is_none() {
        return;
    }
    let home = Home::new();
    let path = std::env::var_os("PATH").unwrap();
    let code = |path: &Path, backend: &str, flags: &[&str], wanted: &str| {
        let output = create(&home, path, Some(backend), flags);
        assert_eq!(document(&output)["error"]["code"], wanted, "{}", told(&output));
        home.ok(["daemon", "stop"]);
    };
    code(Path::new(&path), "host-compat", &[], "unsupported");
    code(Path::new(&path), "qemu", &["--allow-host-compat"], "invalid_argument");
    code(&path_with(&home, &[]), "host-compat", &["--allow-host-compat"], "missing_tool");
    code(Path::new("/nonexistent"), "qemu-tcg", &["--allow-host-compat"], "missing_tool");
}

#[test]
fn a_vm_is_preferred_where_one_can_run() {
    let home = Home::new();
    let path = std::env::var_os("PATH").unwrap();
    let created = create(&home, Path::new(&path), None, &["--allow-host-compat"]);
    assert_ne!(document(&created)["execution_mode"], "host_compat", "{}", told(&created));
}
