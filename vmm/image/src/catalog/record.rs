//! `environment.json`: what an installed image is and what it must look like.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::origin::Origin;
use crate::kernel::store;
use crate::{ImageDigest, Package, Progress, durable};

pub(super) const RECORD: &str = "environment.json";
pub(super) const IMAGE: &str = "root.erofs";

/// The record beside an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub schema: u32,
    pub name: String,
    pub digest: ImageDigest,
    /// Bytes of the image.
    pub size: u64,
    pub packages: Vec<Package>,
    /// Names a directory below `kernels/`.
    pub kernel_version: String,
    /// Seconds since 1970.
    pub built_at: u64,
    /// Where it came from, if it was not built here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl Record {
    /// Reads the record in `dir`; the error says what is wrong with it.
    pub fn load(dir: &Path) -> Result<Self, String> {
        let bytes = fs::read(dir.join(RECORD))
            .map_err(|error| format!("its {RECORD} cannot be read ({error})"))?;
        let record: Self = serde_json::from_slice(&bytes)
            .map_err(|error| format!("its {RECORD} is damaged ({error})"))?;
        if store::is_version(&record.kernel_version) {
            Ok(record)
        } else {
            Err(format!("its {RECORD} names no kernel"))
        }
    }

    /// The image in `dir`, if it is what the record says; `verify` also hashes it.
    pub fn check(
        &self,
        dir: &Path,
        digest: ImageDigest,
        verify: Option<&dyn Progress>,
    ) -> Result<PathBuf, String> {
        if self.digest != digest {
            return Err(format!("its {RECORD} is that of another image"));
        }
        let path = dir.join(IMAGE);
        let size = fs::metadata(&path)
            .map_err(|error| format!("its {IMAGE} cannot be read ({error})"))?
            .len();
        if size != self.size {
            return Err(format!("its {IMAGE} has {size} bytes instead of {}", self.size));
        }
        if let Some(progress) = verify {
            let (hash, _) = durable::hash(&path, progress).map_err(|error| error.to_string())?;
            if ImageDigest::from(hash) != digest {
                return Err(format!("the content of its {IMAGE} has changed"));
            }
        }
        Ok(path)
    }
}
