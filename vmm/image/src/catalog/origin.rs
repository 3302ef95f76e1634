//! Environments that are not built here: their files are a tree of the store, and the image is made
//! from it. This crate knows neither store nor registries: whoever adds an environment writes the image.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::record::{IMAGE, Record};
use super::{Catalog, Environment};
use crate::build::Staged;
use crate::recipe::{self, RECIPES, Recipe};
use crate::{Error, ImageDigest, Progress, Result, durable};

/// Where an environment came from, and what its image is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Reference, file or directory, for people.
    pub source: String,
    /// Digest of the image's manifest, for one that has one.
    pub manifest: Option<String>,
    /// The baseline that the store has its files under.
    pub baseline: String,
    /// How its programs want to be started.
    #[serde(default)]
    pub startup: Startup,
}

/// How the programs of an image want to be started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Startup {
    /// `NAME=value`, for every command.
    pub env: Vec<String>,
    /// Who runs, as the image says it; empty: root.
    pub user: String,
    /// Where its program runs; empty: `/`.
    pub working_dir: String,
    /// The first words of its program.
    pub entrypoint: Vec<String>,
    /// The words after them.
    pub cmd: Vec<String>,
}

impl Catalog {
    /// Installs an environment whose image `write` writes to the path that it is given. Waits for a pull
    /// that is under way elsewhere.
    ///
    /// # Errors
    /// Those of `write`; [`Error::NoKernel`], before it is called; [`Error::Cancelled`], [`Error::Io`].
    /// What was installed stays installed.
    pub fn add<E: From<Error>>(
        &self,
        name: &str,
        origin: Origin,
        progress: &dyn Progress,
        write: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<Environment, E> {
        let _lock = self.lock(progress)?;
        self.sweep()?;
        let kernel_version = self.newest_kernel()?;
        let kernel_version =
            kernel_version.ok_or_else(|| Error::NoKernel { name: name.to_owned() })?;
        let stage = self.stage()?;
        let root_image = stage.path().join(IMAGE);
        progress.phase("pack image", name);
        write(&root_image)?;
        let (hash, size) = durable::hash(&root_image, progress)?;
        let staged =
            Staged { root_image, hash, size, packages: Vec::new(), kernel_version, kernel: None };
        self.install(name, staged, Some(origin), stage.path())?;
        Ok(self.resolve(name)?)
    }

    /// Makes an image again that was thrown away.
    ///
    /// # Errors
    /// Those of `write`; [`Error::Broken`] if what it writes is another image.
    pub fn restore<E: From<Error>>(
        &self,
        name: &str,
        digest: ImageDigest,
        progress: &dyn Progress,
        write: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let _lock = self.lock(progress)?;
        let path = self.image(name, digest);
        if path.exists() {
            return Ok(());
        }
        let stage = self.stage()?;
        let made = stage.path().join(IMAGE);
        write(&made)?;
        let (hash, _) = durable::hash(&made, progress)?;
        if ImageDigest::from(hash) != digest {
            let problem = "its files give another image than they did".to_owned();
            return Err(Error::Broken { name: name.to_owned(), problem }.into());
        }
        fs::rename(&made, &path).map_err(Error::io("create", &path))?;
        Ok(durable::sync_dir(&self.directory(name, digest))?)
    }

    /// Forgets an environment that was not built here. Images that workspaces use stay until a prune.
    ///
    /// # Errors
    /// [`Error::Unknown`], also for those that are built here; [`Error::Io`].
    pub fn remove(&self, name: &str, progress: &dyn Progress) -> Result<()> {
        let _lock = self.lock(progress)?;
        if !self.added()?.iter().any(|known| known == name) {
            return Err(self.unknown(name));
        }
        let path = self.pointer(name);
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        durable::sync_dir(path.parent().unwrap_or(self.root()))
    }

    /// The baselines that the environments here are made of, those of images that only workspaces use
    /// among them.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Broken`] where a record cannot be read, for then none can be told.
    pub fn baselines(&self) -> Result<Vec<String>> {
        let mut baselines = Vec::new();
        for name in self.names()? {
            for (digest, record) in self.records(&name)? {
                match record {
                    Ok(record) => baselines.extend(record.origin.map(|origin| origin.baseline)),
                    // Its next pull builds it anew.
                    Err(_) if Recipe::find(&name).is_ok() => {}
                    Err(problem) => {
                        let problem = format!("{digest}: {problem}");
                        return Err(Error::Broken { name, problem });
                    }
                }
            }
        }
        Ok(baselines)
    }

    /// Names of the environments that were not built here and are installed, sorted.
    pub(super) fn added(&self) -> Result<Vec<String>> {
        let mut names = self.names()?;
        names.retain(|name| Recipe::find(name).is_err() && self.pointer(name).exists());
        Ok(names)
    }

    /// Names of all environments that have anything here, sorted.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root()).map_err(Error::io("read", self.root()))? {
            let name = entry.map_err(Error::io("read", self.root()))?.file_name();
            // Kernels and whatever else is here are no environments: those have images.
            let name = name.to_str().map(recipe::name_of);
            names.extend(
                name.filter(|name| self.records(name).is_ok_and(|found| !found.is_empty())),
            );
        }
        names.sort_unstable();
        Ok(names)
    }

    fn records(&self, name: &str) -> Result<Vec<(ImageDigest, Result<Record, String>)>> {
        let dir = self.root().join(recipe::directory(name));
        if !dir.is_dir() {
            return Ok(Vec::new());
        }
        let mut records = Vec::new();
        for entry in fs::read_dir(&dir).map_err(Error::io("read", &dir))? {
            let path = entry.map_err(Error::io("read", &dir))?.path();
            let digest = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            records.extend(digest.map(|digest| (digest, Record::load(&path))));
        }
        Ok(records)
    }

    /// Fails unless there is, or can be, an environment of this name.
    pub(super) fn known(&self, name: &str) -> Result<()> {
        if self.knows(name) { Ok(()) } else { Err(self.unknown(name)) }
    }

    /// Whether there is, or can be, an environment of this name.
    pub fn knows(&self, name: &str) -> bool {
        Recipe::find(name).is_ok() || self.pointer(name).exists()
    }

    fn unknown(&self, name: &str) -> Error {
        match Recipe::find(name) {
            Err(Error::Unknown { name, mut known, closest }) => {
                known.extend(self.added().unwrap_or_default());
                Error::Unknown { name, known, closest }
            }
            _ => Error::Unknown {
                name: name.to_owned(),
                known: RECIPES.iter().map(|recipe| recipe.name.to_owned()).collect(),
                closest: None,
            },
        }
    }
}
