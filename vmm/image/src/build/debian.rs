//! The build itself: one run of `mmdebstrap`, one of `mkfs.erofs`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::apt_output::AptOutput;
use super::packages;
use super::tool::{Run, find_tool};
use crate::kernel::store;
use crate::recipe::Recipe;
use crate::{Error, Package, Progress, Result, Silent, durable};

/// The suite that the small kernel's source and compiler come from.
pub(super) const SUITE: &str = "bookworm";

/// The time stamp of what the build writes itself: Debian 12's release.
const EPOCH: &str = "1686355200";

/// Leaves a marker that is older than all that follows, and newer than what packages bring.
const START: &str = "mkdir -m 755 \"$1/.pyro\" && touch -d '1 hour ago' \"$1/.pyro/start\"";

/// Not needed by programs, a fifth of the image.
const LEFT_OUT: &[&str] = &[
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
];

/// Where `apt` looks for Debian's keys.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A finished build, in the stage directory.
pub(crate) struct Staged {
    /// `<stage>/root.erofs`, synced.
    pub root_image: PathBuf,
    /// Its hash.
    pub hash: blake3::Hash,
    /// Its size in bytes.
    pub size: u64,
    /// What is installed in it.
    pub packages: Vec<Package>,
    /// Version of the kernel that belongs to it.
    pub kernel_version: String,
    /// That kernel, unpacked, unless it was installed already.
    pub kernel: Option<PathBuf>,
}

/// Builds `recipe` into the existing directory `stage`. `kernels` are the versions that need no download.
pub(crate) fn build(
    recipe: &Recipe,
    stage: &Path,
    kernels: &[String],
    progress: &dyn Progress,
) -> Result<Staged> {
    let mmdebstrap = check_tools()?;
    find_tool("mkfs.erofs")?;
    progress.phase("start", recipe.name);
    let build_root = BuildRoot::create(stage)?;
    let root = build_root.path().join("root");

    let mut run = self::mmdebstrap(&mmdebstrap, &build_root, "minbase");
    run.env("PYRO_KERNELS", kernels.join(" "))
        .arg(format!("--include={}", recipe.packages().collect::<Vec<_>>().join(",")))
        .arg(format!("--setup-hook={START}"))
        .arg(format!("--customize-hook={}", include_str!("customize.sh")))
        .arg(format!("--customize-hook={}", include_str!("kernel.sh")))
        .arg(recipe.suite)
        .arg(&root);
    let mut output = AptOutput::default();
    run.finish(progress, |line| output.line(line, progress))?;

    progress.phase("pack image", "mkfs.erofs");
    let mut run = Run::new("mkfs.erofs", &mmdebstrap);
    run.args(["--unshare-helper", "sh", "-c", include_str!("pack.sh"), "sh"]).arg(&root).arg(EPOCH);
    run.finish(progress, |_| ())?;
    collect(recipe, &root, stage, kernels, progress)
    // The build root removes itself here.
}

/// Fetches the kernel alone into a new directory of `stage`: its version, and the directory.
pub(crate) fn fetch_kernel(stage: &Path, progress: &dyn Progress) -> Result<(String, PathBuf)> {
    let mmdebstrap = check_tools()?;
    progress.phase("start", "the kernel");
    let build_root = BuildRoot::create(stage)?;
    let root = build_root.path().join("root");
    let mut run = self::mmdebstrap(&mmdebstrap, &build_root, "custom");
    run.env("PYRO_KERNELS", "")
        .arg(format!("--setup-hook={START}"))
        .arg(format!("--customize-hook={}", include_str!("kernel.sh")))
        .arg(SUITE)
        .arg(&root);
    let mut output = AptOutput::default();
    run.finish(progress, |line| output.line(line, progress))?;
    let version = kernel_version(&root, "the kernel")?;
    unpack_kernel(&root, &version, stage, progress).map(|dir| (version, dir))
}

/// The version of the kernel that was fetched for `name`.
fn kernel_version(root: &Path, name: &str) -> Result<String> {
    let path = root.join(".pyro/kernel-version");
    let version = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    if store::is_version(&version) {
        return Ok(version);
    }
    Err(Error::Incomplete { name: name.to_owned(), problem: "its kernel has no version".into() })
}

fn unpack_kernel(
    root: &Path,
    version: &str,
    stage: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    progress.phase("unpack kernel", version);
    let dir = stage.join("kernel");
    store::unpack(&root.join(".pyro/kernel"), version, &dir)?;
    Ok(dir)
}

/// The program that builds, once it is known that it can.
pub(super) fn check_tools() -> Result<PathBuf> {
    let mmdebstrap = find_tool("mmdebstrap")?;
    if !Path::new(KEYRING).exists() {
        let tool = KEYRING.to_owned();
        return Err(Error::ToolMissing { tool, package: "debian-archive-keyring".into() });
    }
    check_rootless()?;
    Ok(mmdebstrap)
}

/// A run of `mmdebstrap` that makes a Debian in a directory, with the packages of this variant.
pub(super) fn mmdebstrap(program: &Path, build_root: &BuildRoot, variant: &str) -> Run {
    let mut run = Run::new("mmdebstrap", program);
    run.env("SOURCE_DATE_EPOCH", EPOCH)
        .env("TMPDIR", build_root.path())
        .args(["--mode=unshare", "--format=directory", "--verbose"])
        .arg(format!("--variant={variant}"))
        .args(["--architectures=amd64", "--components=main"])
        .args(LEFT_OUT.iter().map(|option| format!("--dpkgopt={option}")));
    run
}

/// Takes what is wanted out of the build root.
fn collect(
    recipe: &Recipe,
    root: &Path,
    stage: &Path,
    kernels: &[String],
    progress: &dyn Progress,
) -> Result<Staged> {
    let out = root.join(".pyro");
    let incomplete = |problem: &str| Error::Incomplete {
        name: recipe.name.to_owned(),
        problem: problem.to_owned(),
    };
    let packages = packages::installed(root)?;
    if let Some(missing) =
        recipe.packages().find(|name| !packages.iter().any(|package| package.name == *name))
    {
        return Err(incomplete(&format!("the package {missing} was not installed")));
    }
    let kernel_version = kernel_version(root, recipe.name)?;
    let known = kernels.contains(&kernel_version);
    let kernel = (!known).then(|| unpack_kernel(root, &kernel_version, stage, progress));
    let kernel = kernel.transpose()?;
    progress.phase("store image", recipe.name);
    let root_image = stage.join("root.erofs");
    let (hash, size) = durable::copy_hashed(&out.join("root.erofs"), &root_image, progress)?;
    Ok(Staged { root_image, hash, size, packages, kernel_version, kernel })
}

/// An ordinary user needs subordinate ids; mmdebstrap's own message about it comes late and is long.
fn check_rootless() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    find_tool("newuidmap")?;
    let uid = rustix::process::getuid().as_raw().to_string();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&uid.as_str()))
        .and_then(|fields| fields.first().map(|name| (*name).to_owned()));
    // A user whom only the network's directory knows: leave the verdict to mmdebstrap.
    let Some(user) = user else { return Ok(()) };
    let has_range = |file: &str| {
        let ranges = fs::read_to_string(file).unwrap_or_default();
        ranges.lines().any(|line| line.split(':').next().is_some_and(|n| n == user || n == uid))
    };
    if has_range("/etc/subuid") && has_range("/etc/subgid") {
        Ok(())
    } else {
        Err(Error::NoSubordinateIds { user })
    }
}

/// The directory in which the root file system comes to be; removed when dropped.
///
/// It cannot lie in the home: in an ordinary user's build its files belong to subordinate ids, and those
/// may not pass through a private directory. The stage records where it is, so that what a killed pull
/// leaves is found and removed by the next.
pub(crate) struct BuildRoot {
    path: PathBuf,
}

const PREFIX: &str = "pyro-build-";
const POINTER: &str = "build-root";

impl BuildRoot {
    pub fn create(stage: &Path) -> Result<Self> {
        // `/tmp` may be memory; a build takes about 1 GB.
        let parent = std::env::var_os("TMPDIR").map_or_else(|| "/var/tmp".into(), PathBuf::from);
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(fs::Permissions::from_mode(0o711))
            .tempdir_in(&parent)
            .map_err(Error::io("create a directory in", &parent))?;
        let build_root = Self { path: dir.keep() };
        let pointer = build_root.path.as_os_str().as_encoded_bytes();
        durable::write_new(&stage.join(POINTER), pointer)?;
        Ok(build_root)
    }

    /// The build root that a stage left by a killed pull points to.
    pub fn left_by(stage: &Path) -> Option<Self> {
        let path = PathBuf::from(fs::read_to_string(stage.join(POINTER)).ok()?);
        let ours = path.file_name()?.to_str()?.starts_with(PREFIX) && path.is_absolute();
        // Only then: a value of this type removes its directory when dropped.
        (ours && path.is_dir()).then(|| Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn remove(&self) -> Result<()> {
        if !rustix::process::geteuid().is_root() && self.path.join("root").exists() {
            let mut run = Run::new("mmdebstrap", &find_tool("mmdebstrap")?);
            run.args(["--unshare-helper", "rm", "-rf"]).arg(self.path.join("root"));
            // The directory itself is the caller's; what is in it went.
            let _ = run.finish(&Silent, |_| ());
        }
        durable::remove_tree(&self.path)
    }
}

impl Drop for BuildRoot {
    fn drop(&mut self) {
        // What cannot be removed stays recorded and is tried again by the next pull.
        let _ = self.remove();
    }
}
