//! The installed environments of one home.

mod prune;
mod pull;
mod record;
mod rootfs;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::kernel::store;
use crate::recipe::{RECIPES, Recipe};
use crate::{Error, ImageDigest, Kernel, Progress, Result, durable};
use record::Record;

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
}

impl Environment {
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

    /// Every known environment, installed or not, the default one first.
    ///
    /// # Errors
    /// [`Error::Io`] when the catalog cannot be read; a broken environment is no error.
    pub fn list(&self) -> Result<Vec<EnvironmentInfo>> {
        RECIPES.iter().map(|recipe| Ok(self.describe(recipe)?.info)).collect()
    }

    /// All about one environment, installed or not.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Io`].
    pub fn inspect(&self, name: &str) -> Result<EnvironmentDetail> {
        self.describe(Recipe::find(name)?)
    }

    /// The installed environment `name`, checked for missing and truncated files.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::NotInstalled`], [`Error::Broken`], [`Error::Io`].
    pub fn resolve(&self, name: &str) -> Result<Environment> {
        let recipe = Recipe::find(name)?;
        self.ready(recipe, self.current(recipe)?, None)
    }

    /// The image `digest` of `name`, which need not be the newest: what a workspace was created with.
    ///
    /// # Errors
    /// As [`Catalog::resolve`].
    pub fn resolve_digest(&self, name: &str, digest: ImageDigest) -> Result<Environment> {
        let recipe = Recipe::find(name)?;
        let digest = self.directory(recipe, digest).is_dir().then_some(digest);
        self.ready(recipe, digest, None)
    }

    /// [`Catalog::resolve`], and reads and hashes every byte of image and kernel.
    ///
    /// # Errors
    /// As [`Catalog::resolve`], and [`Error::Cancelled`].
    pub fn verify(&self, name: &str, progress: &dyn Progress) -> Result<Environment> {
        let recipe = Recipe::find(name)?;
        progress.phase("verify", name);
        self.ready(recipe, self.current(recipe)?, Some(progress))
    }

    fn ready(
        &self,
        recipe: &Recipe,
        digest: Option<ImageDigest>,
        verify: Option<&dyn Progress>,
    ) -> Result<Environment> {
        let name = recipe.name.to_owned();
        let Some(digest) = digest else { return Err(Error::NotInstalled { name }) };
        let found = self.find(recipe, digest, verify).and_then(|found| found.environment);
        if verify.is_some_and(|progress| progress.cancelled()) {
            return Err(Error::Cancelled);
        }
        found.map_err(|problem| Error::Broken { name, problem })
    }

    fn describe(&self, recipe: &Recipe) -> Result<EnvironmentDetail> {
        let digest = self.current(recipe)?;
        let mut info = EnvironmentInfo {
            name: recipe.name.to_owned(),
            description: recipe.description.to_owned(),
            state: EnvironmentState::Absent,
            problem: None,
            digest,
            size: None,
            package_count: None,
            kernel_version: None,
            built_at: None,
        };
        let requested = recipe.packages().map(str::to_owned).collect();
        let mut detail = EnvironmentDetail {
            info: info.clone(),
            requested,
            packages: Vec::new(),
            root_image: None,
            kernel: None,
        };
        let Some(digest) = digest else { return Ok(detail) };
        info.state = EnvironmentState::Broken;
        match self.find(recipe, digest, None) {
            Err(problem) => info.problem = Some(problem),
            Ok(Found { record, environment }) => {
                info.size = Some(record.size);
                info.package_count = Some(record.packages.len());
                info.kernel_version = Some(record.kernel_version);
                info.built_at = Some(record.built_at);
                detail.packages = record.packages;
                match environment {
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
        recipe: &Recipe,
        digest: ImageDigest,
        verify: Option<&dyn Progress>,
    ) -> Result<Found, String> {
        let dir = self.directory(recipe, digest);
        let record = Record::load(&dir)?;
        let environment = || {
            let root_image = record.check(&dir, digest, verify)?;
            let kernel = store::load(&self.kernel_directory(&record.kernel_version), verify)?;
            Ok(Environment { name: recipe.name.to_owned(), digest, root_image, kernel })
        };
        Ok(Found { environment: environment(), record })
    }

    /// The digest that the pointer of `recipe` names; an unreadable pointer names none.
    fn current(&self, recipe: &Recipe) -> Result<Option<ImageDigest>> {
        let path = self.pointer(recipe);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    fn set_current(&self, recipe: &Recipe, digest: ImageDigest) -> Result<()> {
        durable::write(&self.pointer(recipe), format!("{digest}\n").as_bytes())
    }

    fn pointer(&self, recipe: &Recipe) -> PathBuf {
        self.root.join(recipe.directory()).join("current")
    }

    fn directory(&self, recipe: &Recipe, digest: ImageDigest) -> PathBuf {
        self.root.join(recipe.directory()).join(digest.to_string())
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
