//! The jail, with a stand-in for the jailer that takes its command line and does what its documentation says,
//! and the stand-in for Firecracker in it.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::tests::{assert_accepted, end, facts, spec, stand_in};
use super::*;

/// What the jailer does, and beside that what the stand-in for Firecracker needs: a static program needs
/// no libraries.
const JAILER: &str = r#"#!/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin
if [ "$1" = --version ]; then echo "Jailer v1.17.0"; exit; fi
while [ "$1" != -- ]; do
    case "$1" in
        --id) id=$2;; --uid) uid=$2;; --gid) gid=$2;; --exec-file) program=$2;;
        --chroot-base-dir) base=$2;; *) echo "jailer stand-in: bad option $1" >&2; exit 1;;
    esac
    shift 2
done
shift
if [ -n "$JAILER_FAIL" ]; then echo "jailer stand-in: told to fail" >&2; exit 1; fi
name=$(basename "$program")
root=$base/$name/$id/root
set -e
mkdir -p "$root/dev"
cp "$program" "$root/$name"
for dir in /usr $SHOWN; do
    mkdir -p "$root$dir"
    mount --bind "$dir" "$root$dir"
done
mkdir -p "$root$MANIFEST"
ln -s usr/bin usr/lib usr/lib64 "$root"
chown "$uid:$gid" "$root"
chmod 700 "$root"
exec chroot --userspec="$uid:$gid" "$root" "/$name" --id "$id" \
    --start-time-us 1 --start-time-cpu-us 1 --parent-cpu-time-us 1 "$@"
"#;

/// A jailer that fails if it is told to.
fn jailer(dir: &Path, fail: &str) -> PathBuf {
    let manifest = env!("CARGO_MANIFEST_DIR");
    let examples = std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples");
    let shown = format!("{manifest}/../../fixtures/firecracker {}", examples.display());
    let own = format!("MANIFEST='{manifest}' SHOWN='{shown}' JAILER_FAIL='{fail}'\n");
    let script = JAILER.replacen('\n', &format!("\n{own}"), 1);
    let path = dir.join("jailer");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A machine with files of its own, booted in a jail; none where the test is not root.
struct Jailed {
    base: tempfile::TempDir,
    spec: MachineSpec,
    vm: Option<Result<RunningVm>>,
}

impl Jailed {
    fn boot(fail: &str) -> Option<Self> {
        Self::go_on_as(None, fail)
    }

    /// The same as a machine that was saved there.
    fn go_on_as(restore: Option<PathBuf>, fail: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root uses the jailer");
            return None;
        }
        let base = tempfile::tempdir().unwrap();
        // As a home directory that others may pass.
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let file = |name: &str, mode| {
            let path = base.path().join(name);
            fs::write(&path, name).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let spec = MachineSpec {
            kernel: file("a kernel", 0o644),
            initrd: file("an initrd", 0o600),
            root_image: file("an image", 0o644),
            scratch: file("a disk", 0o600),
            restore,
            ..spec()
        };
        fs::create_dir(base.path().join("machine")).unwrap();
        let facts = facts(stand_in(base.path(), ""), Some(jailer(base.path(), fail)));
        let mut jailed = Self { base, spec, vm: None };
        jailed.vm = Some(boot(&facts, &jailed.spec, &jailed.dir(), Box::new(|| {})));
        Some(jailed)
    }

    fn dir(&self) -> PathBuf {
        self.base.path().join("machine")
    }

    fn assert_nothing_left(&self) {
        remove_left(&self.dir()).unwrap();
        crate::backend::remove_cgroup(&self.dir()).unwrap();
        let names = fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<_> = names.filter(|name| name != LOG && name != METRICS).collect();
        assert!(names.iter().all(|name| name == SOCKET), "{names:?}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.base.path().to_str().unwrap()), "{mounts}");
        for (file, was) in [(&self.spec.kernel, "a kernel"), (&self.spec.scratch, "a disk")] {
            assert_eq!(fs::read_to_string(file).unwrap(), was);
        }
    }
}

#[test]
fn root_runs_it_as_nobody_else_with_a_root_of_its_own() {
    let Some(mut jailed) = Jailed::boot("") else { return };
    let mut vm = jailed.vm.take().unwrap().unwrap();
    let mut console = BufReader::new(vm.console);
    let mut said = String::new();
    for _ in api::boot(&jailed.spec) {
        console.read_line(&mut said).unwrap();
    }
    let seen = [r#""kernel_image_path":"/kernel""#, r#""path_on_host":"/scratch.img""#];
    assert!(seen.iter().all(|part| said.contains(part)), "{said}");
    let process = Path::new("/proc").join(vm.child.id().to_string());
    let root = fs::read_link(process.join("root")).unwrap();
    assert!(root.starts_with(jailed.dir().join(JAIL)), "{root:?}");
    let user = fs::metadata(&process).unwrap().uid();
    assert_eq!(user, 0x7000_0000 + std::process::id());
    for kind in ["net", "pid", "mnt", "ipc", "uts"] {
        let namespace = |of: &Path| fs::read_link(of.join("ns").join(kind)).unwrap();
        assert_ne!(namespace(&process), namespace(Path::new("/proc/self")), "{kind}");
    }
    // It sees what it needs of the host; what it writes to is its own.
    let inside = process.join("root");
    let read = |name: &str| fs::read_to_string(inside.join(name)).unwrap();
    assert_eq!(
        [read("kernel"), read("initrd"), read("root.erofs")],
        ["a kernel", "an initrd", "an image"]
    );
    assert!(fs::write(inside.join("kernel"), "x").is_err(), "read-only, for root too");
    for name in ["scratch.img", "initrd"] {
        assert_eq!(fs::metadata(inside.join(name)).unwrap().uid(), user, "{name}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connect = || runtime.block_on(crate::Machine::open(&jailed.dir()).connect(1024));
    connect().unwrap();

    // Whoever took it over cannot send clients of the host elsewhere.
    let jail = root.join(VSOCK);
    fs::rename(&jail, root.join("away")).unwrap();
    symlink(root.join("away"), &jail).unwrap();
    connect().unwrap_err();

    vm.child.kill().unwrap();
    vm.child.wait().unwrap();
    drop(vm.device);
    jailed.assert_nothing_left();
}

#[test]
fn a_machine_that_was_saved_in_one_jail_goes_on_in_others() {
    let Some(mut model) = Jailed::boot("") else { return };
    let saved = model.base.path().join("saved");
    fs::create_dir(&saved).unwrap();
    let vm = model.vm.take().unwrap().unwrap();
    save(&model.dir(), &saved).unwrap();
    end(vm);
    for _ in 0..2 {
        let mut jailed = Jailed::go_on_as(Some(saved.clone()), "").unwrap();
        let mut vm = jailed.vm.take().unwrap().unwrap();
        assert_accepted(&mut vm.console, &api::restore());
        end(vm);
        jailed.assert_nothing_left();
    }
    model.assert_nothing_left();
    // Whoever took Firecracker over may leave a link where its memory should be.
    let Some(mut hostile) = Jailed::boot("") else { return };
    let vm = hostile.vm.take().unwrap().unwrap();
    let root = Jail::root_in(&hostile.dir()).unwrap().unwrap();
    symlink(saved::STATE, root.join(saved::MEMORY)).unwrap();
    let into = hostile.base.path().join("saved");
    fs::create_dir(&into).unwrap();
    let error =
        std::error::Error::source(&save(&hostile.dir(), &into).unwrap_err()).unwrap().to_string();
    assert_eq!(error, "it is no file");
    end(vm);
    hostile.assert_nothing_left();
}

#[test]
fn one_whose_shim_was_killed_is_killed_with_its_jail() {
    let Some(mut jailed) = Jailed::boot("") else { return };
    let mut vm = jailed.vm.take().unwrap().unwrap();
    remove_left(&jailed.dir()).unwrap();
    let status = vm.child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    drop(vm.device);
    jailed.assert_nothing_left();
}

#[test]
fn a_jailer_that_refuses_is_told_with_its_words() {
    let Some(mut jailed) = Jailed::boot("yes") else { return };
    let text = jailed.vm.take().unwrap().err().expect("it fails").to_string();
    assert!(text.contains("jailer stand-in: told to fail"), "{text}");
    jailed.assert_nothing_left();
}

#[test]
fn only_a_jailer_of_the_same_release_will_do() {
    let base = tempfile::tempdir().unwrap();
    let firecracker = stand_in(base.path(), "");
    let missing = version::jailer(&firecracker, "1.17.0", None).unwrap_err();
    assert!(matches!(missing, Error::JailerMissing { .. }), "{missing}");
    let path = jailer(base.path(), "");
    assert_eq!(version::jailer(&firecracker, "1.17.0", None).unwrap(), path);
    let other = version::jailer(&firecracker, "1.18.0", None).unwrap_err().to_string();
    assert!(other.contains("'Jailer v1.17.0'") && other.contains("'Jailer v1.18.0'"), "{other}");
}
