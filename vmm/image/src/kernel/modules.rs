//! Which kernel modules a guest needs, and in which order they load.
//!
//! Debian's package has no `modules.dep` (its install script makes one), so the dependencies are read from
//! where `depmod` reads them: the `.modinfo` section of each module.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection};

use super::slim::slim;
use crate::{Error, Result};

/// What a guest uses, in the order it comes to need it. One that the kernel has built in is fine.
const WANTED: &[&str] = &[
    // Devices of a microvm.
    "virtio_mmio",
    "virtio_blk",
    "vmw_vsock_virtio_transport",
    "virtio_rng",
    // The root image, the baseline, the workspace above it.
    "erofs",
    "fuse",
    "overlay",
];

/// What a guest with a network uses beside that.
const NETWORK: &[&str] = &["virtio_net"];

/// No module of Debian's cloud kernel comes near.
const MAX_MODULE: u64 = 32 << 20;

/// What a kernel package offers.
pub(crate) struct ModuleTree {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

/// A module to load, uncompressed.
pub(crate) struct Module {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// The modules that guests need, each after those it depends on.
pub(crate) struct GuestModules {
    /// Every guest loads these.
    pub always: Vec<Module>,
    /// And a guest with a network these, after them.
    pub network: Vec<Module>,
}

impl ModuleTree {
    /// Reads `dir`, the package's `lib/modules/<release>`.
    pub fn scan(dir: &Path) -> Result<Self> {
        let list = dir.join("modules.builtin");
        let builtin = fs::read_to_string(&list).map_err(Error::io("read", &list))?;
        let builtin = builtin.lines().filter_map(|line| module_name(Path::new(line))).collect();
        let mut files = BTreeMap::new();
        let mut pending = vec![dir.join("kernel")];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(&dir).map_err(Error::io("read", &dir))? {
                let entry = entry.map_err(Error::io("read", &dir))?;
                let kind = entry.file_type().map_err(Error::io("read", &dir))?;
                if kind.is_dir() {
                    pending.push(entry.path());
                } else if let Some(name) = module_name(&entry.path()) {
                    files.insert(name, entry.path());
                }
            }
        }
        Ok(Self { files, builtin })
    }

    /// The modules that guests need.
    pub fn for_guests(&self) -> Result<GuestModules> {
        let always = self.load_order(WANTED, &self.builtin)?;
        let mut present = self.builtin.clone();
        present.extend(always.iter().map(|module| module.name.clone()));
        let network = self.load_order(NETWORK, &present)?;
        Ok(GuestModules { always, network })
    }

    /// `wanted` and what they depend on, less what is `present`.
    fn load_order(&self, wanted: &[&str], present: &BTreeSet<String>) -> Result<Vec<Module>> {
        let mut loaded = BTreeMap::new();
        let order = order(wanted, present, |name| {
            let module = self.read(name)?;
            let depends = depends(name, &module)?;
            loaded.insert(name.to_owned(), module);
            Ok(depends)
        })?;
        let modules = order.into_iter().filter_map(|name| {
            let bytes = slim(loaded.remove(&name)?);
            Some(Module { name, bytes })
        });
        Ok(modules.collect())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.files.get(name).ok_or_else(|| Error::Module {
            name: name.to_owned(),
            problem: "the kernel package does not have it".into(),
        })?;
        let file = fs::File::open(path).map_err(Error::io("open", path))?;
        let mut bytes = Vec::new();
        let read = if path.extension() == Some(OsStr::new("xz")) {
            liblzma::read::XzDecoder::new(file).take(MAX_MODULE + 1).read_to_end(&mut bytes)
        } else {
            file.take(MAX_MODULE + 1).read_to_end(&mut bytes)
        };
        read.map_err(Error::io("read", path))?;
        if bytes.len() as u64 > MAX_MODULE {
            return Err(Error::Module { name: name.to_owned(), problem: "it is too large".into() });
        }
        Ok(bytes)
    }
}

/// `virtio_rng` for `kernel/drivers/char/hw_random/virtio-rng.ko.xz`: the kernel treats `-` and `_` alike.
fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let stem = file.strip_suffix(".ko").or_else(|| file.strip_suffix(".ko.xz"))?;
    Some(stem.replace('-', "_"))
}

/// The names on the `depends=` line of a module.
fn depends(name: &str, module: &[u8]) -> Result<Vec<String>> {
    let unreadable = |problem: String| Error::Module { name: name.to_owned(), problem };
    let file = object::File::parse(module).map_err(|error| unreadable(error.to_string()))?;
    let section = file
        .section_by_name(".modinfo")
        .ok_or_else(|| unreadable("it has no .modinfo section".into()))?;
    let info = section.data().map_err(|error| unreadable(error.to_string()))?;
    let line = info.split(|byte| *byte == 0).find_map(|line| line.strip_prefix(b"depends="));
    let line = String::from_utf8_lossy(line.unwrap_or_default());
    Ok(line.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

/// Depth-first order of `wanted` and all they depend on, less what is `present`; `depends` is asked
/// once per module.
fn order(
    wanted: &[&str],
    present: &BTreeSet<String>,
    mut depends: impl FnMut(&str) -> Result<Vec<String>>,
) -> Result<Vec<String>> {
    let mut done = present.clone();
    let mut order = Vec::new();
    for root in wanted {
        // Each frame: a module and those of its dependencies not yet looked at.
        let mut stack = vec![((*root).to_owned(), None::<Vec<String>>)];
        while let Some((name, pending)) = stack.last_mut() {
            if done.contains(name) {
                stack.pop();
                continue;
            }
            let pending = match pending {
                Some(pending) => pending,
                None => pending.insert(depends(name)?),
            };
            let next = pending.pop();
            let name = name.clone();
            match next {
                Some(next) if stack.iter().any(|(name, _)| *name == next) => {
                    let problem = "it depends on itself in a circle".into();
                    return Err(Error::Module { name: next, problem });
                }
                Some(next) => stack.push((next, None)),
                None => {
                    done.insert(name.clone());
                    order.push(name);
                    stack.pop();
                }
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &'static [(&str, &[&str])]) -> impl FnMut(&str) -> Result<Vec<String>> {
        move |name| {
            let found = edges.iter().find(|(from, _)| *from == name);
            let (_, to) = found.ok_or_else(|| Error::Module {
                name: name.to_owned(),
                problem: "missing".into(),
            })?;
            Ok(to.iter().map(|name| (*name).to_owned()).collect())
        }
    }

    #[test]
    fn dependencies_load_first_and_once() {
        let edges = graph(&[
            ("virtio_mmio", &["virtio", "virtio_ring"]),
            ("virtio", &["virtio_ring"]),
            ("virtio_ring", &[]),
            ("virtio_blk", &["virtio", "virtio_ring"]),
        ]);
        let order = order(&["virtio_mmio", "virtio_blk"], &BTreeSet::new(), edges).unwrap();
        assert_eq!(order, ["virtio_ring", "virtio", "virtio_mmio", "virtio_blk"]);
    }

    #[test]
    fn what_is_built_in_is_not_loaded() {
        let builtin = BTreeSet::from(["libcrc32c".to_owned(), "fuse".to_owned()]);
        let order = order(&["erofs", "fuse"], &builtin, graph(&[("erofs", &["libcrc32c"])]));
        assert_eq!(order.unwrap(), ["erofs"]);
    }

    #[test]
    fn circles_and_missing_modules_are_errors() {
        let circle = graph(&[("a", &["b"]), ("b", &["a"])]);
        let error = order(&["a"], &BTreeSet::new(), circle).unwrap_err();
        assert!(error.to_string().contains("circle"), "{error}");
        let error = order(&["c"], &BTreeSet::new(), graph(&[])).unwrap_err();
        assert!(error.to_string().contains("module c"), "{error}");
    }

    #[test]
    fn names_are_the_kernels() {
        let name = |path: &str| module_name(Path::new(path));
        assert_eq!(name("kernel/x/virtio-rng.ko").as_deref(), Some("virtio_rng"));
        assert_eq!(name("kernel/x/fuse.ko.xz").as_deref(), Some("fuse"));
        assert_eq!(name("modules.order"), None);
    }

    #[test]
    fn a_file_that_is_no_module_is_an_error() {
        for bytes in [&b""[..], b"\x7fELF", &[0x7f; 200]] {
            depends("x", bytes).unwrap_err();
        }
    }
}
