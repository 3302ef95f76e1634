//! What a machine is made of: the content of `spec.json`.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The program that runs a machine, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendKind {
    /// QEMU's microvm with hardware virtualisation.
    QemuKvm,
    /// QEMU's microvm with translated code: works everywhere, slower.
    QemuTcg,
    /// Firecracker's microvm, with hardware virtualisation.
    Firecracker,
    /// No machine: namespaces of the host's kernel, made by bubblewrap.
    HostCompat,
}

impl BackendKind {
    /// Fails unless machines on it can have a network.
    ///
    /// # Errors
    /// [`Error::SandboxNetwork`], [`Error::FirecrackerNetwork`].
    pub fn check_network(self) -> Result<()> {
        match self {
            Self::QemuKvm | Self::QemuTcg => Ok(()),
            Self::Firecracker => Err(Error::FirecrackerNetwork),
            Self::HostCompat => Err(Error::SandboxNetwork),
        }
    }

    /// Fails unless machines on it can be saved and restored. QEMU cannot save its vsock device, which is
    /// another process's; a sandbox is no machine.
    ///
    /// # Errors
    /// [`Error::NoSaving`].
    pub fn check_saving(self) -> Result<()> {
        match self {
            Self::Firecracker => Ok(()),
            other => Err(Error::NoSaving { backend: other.name() }),
        }
    }

    /// The backend that `PYRO_BACKEND` calls so: as in `spec.json`.
    pub fn named(name: &str) -> Option<BackendKind> {
        serde_json::from_value(name.into()).ok()
    }

    /// The name users see, such as `qemu-tcg`.
    pub fn name(self) -> &'static str {
        match self {
            BackendKind::QemuKvm => "qemu-kvm",
            BackendKind::QemuTcg => "qemu-tcg",
            BackendKind::Firecracker => "firecracker",
            BackendKind::HostCompat => "host_compat",
        }
    }
}

/// One machine. Relative paths are resolved when it is launched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// Who runs it.
    pub backend: BackendKind,
    /// The kernel, an ELF `vmlinux` with a PVH entry. A sandbox has none.
    #[serde(with = "os_text")]
    pub kernel: PathBuf,
    /// The initramfs with the guest agent; of a sandbox the agent itself, an executable.
    #[serde(with = "os_text")]
    pub initrd: PathBuf,
    /// The environment's image, read-only: `/dev/vda` of the guest. Of a sandbox a directory.
    #[serde(with = "os_text")]
    pub root_image: PathBuf,
    /// The scratch disk, raw and writable: `/dev/vdb` of the guest. Of a sandbox a directory.
    #[serde(with = "os_text")]
    pub scratch: PathBuf,
    /// Virtual processors, 1 to 64.
    pub vcpu_count: u32,
    /// Memory in MiB, 128 and up.
    pub mem_mib: u32,
    /// Words added to the kernel's command line.
    #[serde(default)]
    pub cmdline_extra: Vec<String>,
    /// Program and arguments of the daemon, started when the guest wants a host port that nobody
    /// listens on; empty: nothing is started.
    #[serde(default, with = "os_texts")]
    pub daemon_argv: Vec<OsString>,
    /// Ports of the host that the guest may connect to, for a VMM that has to know them.
    #[serde(default)]
    pub host_ports: Vec<u32>,
    /// A network interface, by which the guest reaches public addresses.
    #[serde(default)]
    pub network: bool,
    /// Where a machine of this kind was saved ([`crate::Machine::save`]): this one does not boot but goes on
    /// as that one, and its scratch disk is as that one's was.
    #[serde(default, with = "os_text_if_any")]
    pub restore: Option<PathBuf>,
}

impl MachineSpec {
    /// Checks what can be checked without touching a file.
    pub(crate) fn validate(&self) -> Result<()> {
        if !(1..=64).contains(&self.vcpu_count) {
            let value = self.vcpu_count.into();
            return Err(Error::OutOfRange { what: "the number of vCPUs", range: "1 to 64", value });
        }
        if self.mem_mib < 128 {
            let value = self.mem_mib.into();
            return Err(Error::OutOfRange { what: "memory in MiB", range: "128 or more", value });
        }
        Ok(())
    }

    /// The same machine with absolute paths.
    pub(crate) fn absolute(&self) -> Result<MachineSpec> {
        let mut spec = self.clone();
        let files = [&mut spec.kernel, &mut spec.initrd, &mut spec.root_image, &mut spec.scratch];
        for path in files.into_iter().chain(&mut spec.restore) {
            *path = std::path::absolute(&*path).map_err(Error::io("resolve", &*path))?;
        }
        Ok(spec)
    }
}

/// Names as text where they are UTF-8 and as bytes where they are not.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum OsText {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<OsString> for OsText {
    fn from(name: OsString) -> OsText {
        use std::os::unix::ffi::OsStringExt;
        name.into_string().map_or_else(|name| OsText::Bytes(name.into_vec()), OsText::Text)
    }
}

impl From<OsText> for OsString {
    fn from(text: OsText) -> OsString {
        use std::os::unix::ffi::OsStringExt;
        match text {
            OsText::Text(text) => text.into(),
            OsText::Bytes(bytes) => OsString::from_vec(bytes),
        }
    }
}

mod os_text {
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::OsText;

    pub(super) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        OsText::from(path.as_os_str().to_owned()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Ok(PathBuf::from(OsString::from(OsText::deserialize(from)?)))
    }
}

mod os_text_if_any {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::OsText;

    pub(super) fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let text = path.as_ref().map(|path| OsText::from(path.as_os_str().to_owned()));
        text.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        let text = Option::<OsText>::deserialize(from)?;
        Ok(text.map(|text| PathBuf::from(OsString::from(text))))
    }
}

mod os_texts {
    use std::ffi::OsString;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::OsText;

    pub(super) fn serialize<S: Serializer>(names: &[OsString], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(names.iter().cloned().map(OsText::from))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<OsString>, D::Error> {
        Ok(Vec::<OsText>::deserialize(from)?.into_iter().map(OsString::from).collect())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    pub(crate) fn example() -> MachineSpec {
        MachineSpec {
            backend: BackendKind::QemuTcg,
            kernel: "/k/vmlinux".into(),
            initrd: "/k/initrd".into(),
            root_image: "/k/root,with=comma.erofs".into(),
            scratch: "/w/scratch.img".into(),
            vcpu_count: 1,
            mem_mib: 1024,
            cmdline_extra: vec!["pyro.x=1".into()],
            daemon_argv: vec!["/usr/bin/pyro".into(), "daemon".into()],
            host_ports: vec![1025],
            network: false,
            restore: None,
        }
    }

    #[test]
    fn names_that_are_not_text_survive_the_record() {
        let mut spec = example();
        spec.scratch = OsString::from_vec(b"/w/\xff\xfe".to_vec()).into();
        spec.daemon_argv.push(OsString::from_vec(vec![0x80]));
        spec.restore = Some(OsString::from_vec(b"/s/\xff".to_vec()).into());
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<MachineSpec>(&json).unwrap(), spec);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let no_cpu = MachineSpec { vcpu_count: 0, ..example() };
        assert!(matches!(no_cpu.validate(), Err(Error::OutOfRange { .. })));
        let tiny = MachineSpec { mem_mib: 1, ..example() };
        assert!(matches!(tiny.validate(), Err(Error::OutOfRange { .. })));
    }
}
