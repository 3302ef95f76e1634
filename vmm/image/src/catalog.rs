//! The installed environments of one home.

mod kernel;
mod origin;
mod prune;
mod pull;
mod record;
mod rootfs;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::kernel::store;
use crate::recipe::{self, RECIPES, Recipe};
use crate::{Error, ImageDigest, Kernel, Progress, Result, durable};
use record::Record;

pub use origin::{Origin, Startup};
pub use prune::{PruneReport, Pruned, PrunedKind};

/// The environments under one home. Cheap to open; reads the disk on every call, so that any number of
/// processes may hold one.
#[derive(Debug, Clone)]
pub struct Catalog {
    root: PathBuf,
}

/// An installed environment, ready to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its public name, such as `debian:12`.
    pub name: String,
    /// BLAKE3 of the root image.
    pub digest: ImageDigest,
    /// The read-only erofs image.
    pub root_image: PathBuf,
    /// The kernel to boot it with.
    pub kernel: Kernel,
    /// Where it came from, if it was not built here.
    pub origin: Option<Origin>,
}

impl Environment {
    /// How its programs want to be started; as usual, unless it came from an image that says so.
    pub fn startup(&self) -> Startup {
        self.origin.as_ref().map(|origin| origin.startup.clone()).unwrap_or_default()
    }

    /// Whether its guests can have a network.
    ///
    /// # Errors
    /// [`Error::NoNetworkModules`].
    pub fn check_network(&self) -> Result<()> {
        match self.kernel.network_modules {
            Some(_) => Ok(()),
            None => Err(Error::NoNetworkModules { name: self.name.clone() }),
        }
    }
}

/// Whether an environment can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentState {
    /// Pulled, and every file has its size.
    Installed,
    /// Never pulled.
    Absent,
    /// Pulled, but damaged since.
    Broken,
}

/// One line of the list of environments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentInfo {
    /// Its public name.
    pub name: String,
    /// What it is for, one line.
    pub description: String,
    /// Whether it can be used.
    pub state: EnvironmentState,
    /// What is wrong with a broken one.
    pub problem: Option<String>,
    /// BLAKE3 of the root image.
    pub digest: Option<ImageDigest>,
    /// Bytes of the root image.
    pub size: Option<u64>,
    /// How many Debian packages are in it.
    pub package_count: Option<usize>,
    /// Version of its kernel's package.
    pub kernel_version: Option<String>,
    /// When it was built, in seconds since 1970.
    pub built_at: Option<u64>,
    /// Where it came from, if it was not built here.
    pub origin: Option<Origin>,
}

/// A Debian package in an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A kernel, described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelInfo {
    /// Version of the Debian package.
    pub version: String,
    /// What `uname -r` says.
    pub release: String,
    /// The ELF kernel.
    pub vmlinux: PathBuf,
    /// Names of the modules a guest loads, in order.
    pub modules: Vec<String>,
}

/// All that is known of one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentDetail {
    /// What the list shows.
    #[serde(flatten)]
    pub info: EnvironmentInfo,
    /// The packages asked for by name.
    pub requested: Vec<String>,
    /// All packages in the image, by name; empty when it is not installed.
    pub packages: Vec<Package>,
    /// The image's path.
    pub root_image: Option<PathBuf>,
    /// Its kernel.
    pub kernel: Option<KernelInfo>,
}

/// How an installed environment was found to be.
struct Found {
    record: Record,
    /// Ready, or what is wrong.
    environment: Result<Environment, String>,
}

impl Catalog {
    /// The catalog of `home` (`PYRO_HOME`); makes `<home>/environments` when it is not there.
    ///
    /// # Errors
    /// [`Error::Io`] when that cannot be made.
    pub fn open(home: &Path) -> Result<Self> {
        let root = home.join("environments");
        fs::create_dir_all(&root).map_err(Error::io("create", &root))?;
        Ok(Self { root })
    }

    /// `<home>/environments`.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Every known environment, installed or not, the default one first, those that were not built here
    /// last.
    ///
    /// # Errors
    /// [`Error::Io`] when the catalog cannot be read; a broken environment is no error.
    pub fn list(&self) -> Result<Vec<EnvironmentInfo>> {
        let recipes = RECIPES.iter().map(|recipe| recipe.name.to_owned());
        recipes.chain(self.added()?).map(|name| Ok(self.describe(&name)?.info)).collect()
    }

    /// All about one environment, installed or not.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Io`].
    pub fn inspect(&self, name: &str) -> Result<EnvironmentDetail> {
        self.known(name)?;
        self.describe(name)
    }

    /// The installed environment `name`, checked for missing and truncated files.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::NotInstalled`], [`Error::Broken`], [`Error::Io`].
    pub fn resolve(&self, name: &str) -> Result<Environment> {
        self.known(name)?;
        self.ready(name, self.current(name)?, None)
    }

    /// The image `digest` of `name`, which need not be the newest: what a workspace was created with.
    ///
    /// # Errors
    /// As [`Catalog::resolve`], whether the name is still known or not.
    pub fn resolve_digest(&self, name: &str, digest: ImageDigest) -> Result<Environment> {
        let digest = self.directory(name, digest).is_dir().then_some(digest);
        self.ready(name, digest, None)
    }

    /// [`Catalog::resolve`], and reads and hashes every byte of image and kernel.
    ///
    /// # Errors
    /// As [`Catalog::resolve`], and [`Error::Cancelled`].
    pub fn verify(&self, name: &str, progress: &dyn Progress) -> Result<Environment> {
        self.known(name)?;
        progress.phase("verify", name);
        self.ready(name, self.current(name)?, Some(progress))
    }

    fn ready(
        &self,
        name: &str,
        digest: Option<ImageDigest>,
        verify: Option<&dyn Progress>,
    ) -> Result<Environment> {
        let name = name.to_owned();
        let Some(digest) = digest else { return Err(Error::NotInstalled { name }) };
        let found = self.find(&name, digest, verify);
        if let Ok(Found { record: Record { origin: Some(origin), .. }, .. }) = &found
            && !self.image(&name, digest).exists()
        {
            return Err(Error::Evicted { name, digest, origin: Box::new(origin.clone()) });
        }
        let found = found.and_then(|found| found.environment);
        if verify.is_some_and(|progress| progress.cancelled()) {
            return Err(Error::Cancelled);
        }
        found.map_err(|problem| Error::Broken { name, problem })
    }

    fn describe(&self, name: &str) -> Result<EnvironmentDetail> {
        let digest = self.current(name)?;
        let recipe = Recipe::find(name).ok();
        let mut info = EnvironmentInfo {
            name: name.to_owned(),
            description: recipe.map(|recipe| recipe.description.to_owned()).unwrap_or_default(),
            state: EnvironmentState::Absent,
            problem: None,
            digest,
            size: None,
            package_count: None,
            kernel_version: None,
            built_at: None,
            origin: None,
        };
        let requested = recipe.into_iter().flat_map(Recipe::packages).map(str::to_owned).collect();
        let mut detail = EnvironmentDetail {
            info: info.clone(),
            requested,
            packages: Vec::new(),
            root_image: None,
            kernel: None,
        };
        let Some(digest) = digest else { return Ok(detail) };
        info.state = EnvironmentState::Broken;
        match self.find(name, digest, None) {
            Err(problem) => info.problem = Some(problem),
            Ok(Found { record, environment }) => {
                // What was thrown away is made again when it is needed.
                let evicted = record.origin.is_some() && !self.image(name, digest).exists();
                if let Some(origin) = &record.origin {
                    info.description = format!("from {}", origin.source);
                }
                info.origin = record.origin;
                info.size = Some(record.size);
                info.package_count = Some(record.packages.len());
                info.kernel_version = Some(record.kernel_version);
                info.built_at = Some(record.built_at);
                detail.packages = record.packages;
                match environment {
                    Err(_) if evicted => info.state = EnvironmentState::Installed,
                    Err(problem) => info.problem = Some(problem),
                    Ok(environment) => {
                        info.state = EnvironmentState::Installed;
                        detail.root_image = Some(environment.root_image);
                        detail.kernel = Some(describe_kernel(&environment.kernel));
                    }
                }
            }
        }
        detail.info = info;
        Ok(detail)
    }

    /// Reads one installed image; the error is what is wrong with its record.
    fn find(
        &self,
        name: &str,
        digest: ImageDigest,
        verify: Option<&dyn Progress>,
    ) -> Result<Found, String> {
        let dir = self.directory(name, digest);
        let record = Record::load(&dir)?;
        let environment = || {
            let root_image = record.check(&dir, digest, verify)?;
            let kernel = self.kernel_for(&record.kernel_version, verify)?;
            let (name, origin) = (name.to_owned(), record.origin.clone());
            Ok(Environment { name, digest, root_image, kernel, origin })
        };
        Ok(Found { environment: environment(), record })
    }

    /// The digest that the pointer of `name` names; an unreadable pointer names none.
    fn current(&self, name: &str) -> Result<Option<ImageDigest>> {
        let path = self.pointer(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    fn set_current(&self, name: &str, digest: ImageDigest) -> Result<()> {
        durable::write(&self.pointer(name), format!("{digest}\n").as_bytes())
    }

    fn pointer(&self, name: &str) -> PathBuf {
        self.root.join(recipe::directory(name)).join("current")
    }

    fn directory(&self, name: &str, digest: ImageDigest) -> PathBuf {
        self.root.join(recipe::directory(name)).join(digest.to_string())
    }

    fn image(&self, name: &str, digest: ImageDigest) -> PathBuf {
        self.directory(name, digest).join(record::IMAGE)
    }

    fn kernels(&self) -> PathBuf {
        self.root.join("kernels")
    }

    fn kernel_directory(&self, version: &str) -> PathBuf {
        self.kernels().join(version)
    }

    /// Versions of the kernels that need not be unpacked again.
    fn installed_kernels(&self) -> Vec<String> {
        let names = fs::read_dir(self.kernels()).into_iter().flatten();
        names
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|version| store::is_version(version))
            .filter(|version| store::is_complete(&self.kernel_directory(version)))
            .collect()
    }
}

fn describe_kernel(kernel: &Kernel) -> KernelInfo {
    let name = |path: &PathBuf| Some(path.file_stem()?.to_string_lossy().into_owned());
    KernelInfo {
        version: kernel.version.clone(),
        release: kernel.release.clone(),
        vmlinux: kernel.vmlinux.clone(),
        modules: kernel.modules.iter().filter_map(name).collect(),
    }
}

#[cfg(test)]
mod tests;
