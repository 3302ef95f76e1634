//! Firecracker in its jailer, as root runs it: a root directory, a user, a network, a process namespace and,
//! where there are cgroups, a cgroup of its own. Source: `docs/jailer.md` of Firecracker.
//!
//! ```text
//! shim ─▶ (mounts: files of the host in the jail) ─▶ jailer ─▶ chroot, /dev/kvm, user ─▶ firecracker
//! ```
//!
//! The directory is the jail's: whoever took Firecracker over can put there what it likes. So what the host
//! looks for in it is found without following links, and nothing there is believed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sys::{self, Shown};
use crate::{Error, MachineSpec, Result};

use super::API;
use super::saved::{MEMORY, STATE};

/// Directory of the machine below which the jailer makes the jail.
pub(super) const JAIL: &str = "jail";
/// Names the machine, for the jailer and for Firecracker.
const ID: &str = "pyro";
/// The first user of machines: far above those that a system gives to people, services and containers.
const FIRST_USER: u32 = 0x7000_0000;

/// A jail that is ready for its Firecracker.
#[derive(Debug)]
pub(super) struct Jail {
    /// What will be Firecracker's root directory.
    pub(super) root: PathBuf,
    /// Who it will be, and its group.
    pub(super) user: u32,
    shown: Vec<Shown>,
    jailer: PathBuf,
    program: PathBuf,
    /// Below which the jailer makes it.
    base: PathBuf,
}

impl Jail {
    /// Makes one in the machine's directory, and tells how the machine is specified inside.
    pub(super) fn make(
        dir: &Path,
        jailer: &Path,
        firecracker: &Path,
        spec: &MachineSpec,
    ) -> Result<(Self, MachineSpec)> {
        let base = dir.canonicalize().map_err(Error::io("find", dir))?.join(JAIL);
        let program = firecracker.canonicalize().map_err(Error::io("find", firecracker))?;
        let root = base.join(program.file_name().unwrap_or_default()).join(ID).join("root");
        fs::create_dir_all(&root).map_err(Error::io("create", &root))?;
        // A shim has one machine, so its number makes each machine's user another.
        let user = FIRST_USER + std::process::id();
        let jailer = jailer.to_owned();
        let mut jail = Self { root, user, shown: Vec::new(), jailer, program, base };
        let inside = MachineSpec {
            kernel: jail.show("kernel", &spec.kernel, false)?,
            initrd: jail.show("initrd", &spec.initrd, false)?,
            root_image: jail.show("root.erofs", &spec.root_image, false)?,
            scratch: jail.show("scratch.img", &spec.scratch, true)?,
            ..spec.clone()
        };
        if let Some(saved) = &spec.restore {
            for name in [STATE, MEMORY] {
                jail.show(name, &saved.join(name), false)?;
            }
        }
        Ok((jail, inside))
    }

    /// The root directory of the jail in a machine's directory, if there is one.
    pub(super) fn root_in(dir: &Path) -> Result<Option<PathBuf>> {
        let base = dir.join(JAIL);
        let mut programs = match fs::read_dir(&base) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(Error::io("read", &base))?,
        };
        // It was made for one program.
        Ok(programs.next().and_then(Result::ok).map(|it| it.path().join(ID).join("root")))
    }

    /// The path under which a file of the host is seen in the jail. One that not everybody may read is
    /// copied; one that is written to is given away.
    fn show(&mut self, name: &str, file: &Path, writable: bool) -> Result<PathBuf> {
        let (at, inside) = (self.root.join(name), Path::new("/").join(name));
        let io = |action| Error::io(action, file);
        let mode = file.metadata().map_err(io("open"))?.permissions().mode();
        if !writable && mode & 0o004 == 0 {
            fs::copy(file, &at).map_err(io("copy"))?;
            self.give(&at)?;
            return Ok(inside);
        }
        if writable {
            self.give(file)?;
        }
        fs::write(&at, b"").map_err(Error::io("create", &at))?;
        self.shown.push(Shown { file: file.to_owned(), at, writable });
        Ok(inside)
    }

    /// Makes a file the jail's user's.
    pub(super) fn give(&self, path: &Path) -> Result<()> {
        chown(path, Some(self.user), Some(self.user)).map_err(Error::io("give away", path))
    }

    /// The command that starts Firecracker in the jail.
    pub(super) fn command(&self) -> Result<Command> {
        let mut command = Command::new(&self.jailer);
        let user = self.user.to_string();
        command.args(["--id", ID, "--uid", &user, "--gid", &user]);
        command.arg("--exec-file").arg(&self.program);
        command.arg("--chroot-base-dir").arg(&self.base);
        command.args(["--", "--api-sock", API]);
        sys::show(&mut command, &self.shown).map_err(Error::io("show files to", &self.jailer))?;
        Ok(command)
    }
}
