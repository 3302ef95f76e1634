//! The mounted `/workspace`: a hidden overlay whose root holds `ws/` and `stage/`.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, mkdirat};
use pyro_proto::Welcome;

use crate::beneath;
use crate::error::{Doing, Result};
use crate::identity::{Identity, Owner};
use crate::lower::{Content, mount_lower};

/// Name of the workspace in the hidden overlay, and in the lower layer.
pub const TOP: &[u8] = b"ws";
/// Where pushes are prepared in the hidden overlay.
const STAGE: &[u8] = b"stage";

/// Longest path of a renamed lower directory that overlayfs records; longer renames are `EXDEV`.
const REDIRECT_MAX: &str = "4096";

/// How overlayfs marks what is not as it seems in an upper layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marking {
    /// By attributes that only the kernel's root may set; directories of the lower layer can be renamed.
    Trusted,
    /// By attributes of anybody (`userxattr`), as in a user namespace. Renaming a directory of the lower
    /// layer fails with `EXDEV`, and programs copy it.
    User,
}

impl Marking {
    fn options(self) -> &'static str {
        match self {
            Self::Trusted => "redirect_dir=on",
            Self::User => "userxattr",
        }
    }
}

/// Where the parts of a workspace are mounted and kept.
#[derive(Debug, Clone)]
pub struct Places {
    /// Mount point of the lower layer.
    pub lower: PathBuf,
    /// Mount point of the hidden overlay.
    pub merged: PathBuf,
    /// Directory on the scratch disk: upper layer, work directory and journal.
    pub scratch: PathBuf,
    /// How its upper layer is marked.
    pub marking: Marking,
}

/// A mounted workspace, held by descriptors: no path can be put in the way.
#[derive(Debug)]
pub struct Workspace {
    merged: OwnedFd,
    upper: OwnedFd,
    scratch: OwnedFd,
    marking: Marking,
    owner: Owner,
}

impl Workspace {
    /// Mounts the lower layer and the overlay. Requests for the lower layer are worked on by the
    /// current runtime, so this must not be its only thread.
    pub fn mount(places: &Places, content: &Content, welcome: &Welcome) -> Result<Self> {
        let upper = places.scratch.join("upper");
        let work = places.scratch.join("work");
        for dir in [&places.lower, &places.merged, &upper, &work] {
            fs::create_dir_all(dir).doing(|| format!("create {}", dir.display()))?;
        }
        let owner = Owner::default();
        let top = (welcome.root_mode, welcome.root_mtime);
        mount_lower(&places.lower, content, top, owner.clone())?;
        // Refused where overlayfs is younger than the parameter; renames of deep paths then copy.
        let _ = fs::write("/sys/module/overlay/parameters/redirect_max", REDIRECT_MAX);
        mount_overlay(&places.lower, &upper, &work, &places.merged, places.marking)?;
        let open = |path: &Path| {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            open(path, flags, Mode::empty()).doing(|| format!("open {}", path.display()))
        };
        let workspace = Self {
            merged: open(&places.merged)?,
            upper: open(&upper)?,
            scratch: open(&places.scratch)?,
            marking: places.marking,
            owner,
        };
        match mkdirat(&workspace.merged, STAGE, Mode::S_IRWXU) {
            Err(Errno::EEXIST) => {}
            result => result.doing(|| "create the stage".into())?,
        }
        Ok(workspace)
    }

    /// Plain directories in place of the overlay, which renames and recovery cannot tell apart.
    #[cfg(test)]
    pub(crate) fn plain(dir: &Path) -> Self {
        for part in ["ws", "stage"] {
            fs::create_dir_all(dir.join("merged").join(part)).unwrap();
        }
        let open = |path: &Path| {
            open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        };
        let merged = || open(&dir.join("merged")).unwrap();
        let marking = Marking::Trusted;
        let (scratch, owner) = (open(dir).unwrap(), Owner::default());
        Self { merged: merged(), upper: merged(), scratch, marking, owner }
    }

    /// `/workspace` as everybody sees it.
    pub fn top(&self) -> Result<OwnedFd> {
        beneath::open_dir(&self.merged, TOP).doing(|| "open /workspace".into())
    }

    /// The upper layer of `/workspace`; `None` while nothing was ever changed.
    pub fn upper_top(&self) -> Result<Option<OwnedFd>> {
        match beneath::open_dir(&self.upper, TOP) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno).doing(|| "open the upper layer".into()),
        }
    }

    /// Makes a user the owner of the top, of the lower layer, and of what is pushed. Before anything
    /// below the top was looked at: the kernel remembers owners.
    pub fn set_owner(&self, user: &Identity) -> Result<()> {
        self.owner.set(user);
        let stat = beneath::stat(&self.merged, TOP).doing(|| "look at /workspace".into())?;
        if (stat.st_uid, stat.st_gid) != self.owner.get() {
            self.owner.own_entry(&self.merged, TOP).doing(|| "give /workspace away".into())?;
        }
        Ok(())
    }

    /// Who owns what the host puts into it.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// How the upper layer is marked.
    pub fn marking(&self) -> Marking {
        self.marking
    }

    /// Where pushes are prepared: same overlay, outside `/workspace`.
    pub fn stage(&self) -> Result<OwnedFd> {
        beneath::open_dir(&self.merged, STAGE).doing(|| "open the stage".into())
    }

    /// The upper layer of the stage, for its inode numbers.
    pub fn upper_stage(&self) -> Result<OwnedFd> {
        beneath::open_dir(&self.upper, STAGE).doing(|| "open the stage".into())
    }

    /// The workspace's directory on the scratch disk.
    pub fn scratch(&self) -> BorrowedFd<'_> {
        self.scratch.as_fd()
    }

    /// Writes everything to the scratch disk. Afterwards a write through a shared mapping changes
    /// the file's times again.
    pub fn sync(&self) -> Result<()> {
        nix::unistd::syncfs(&self.upper).doing(|| "sync the scratch disk".into())
    }
}

/// Mounts an overlay in which renamed lower directories stay grafts, where its marks allow.
///
/// `xino=on`: one `st_dev` for the whole mount, or `tar --one-file-system` skips lower files.
/// No copies of metadata alone, no index: both would make the upper layer say less by itself.
pub fn mount_overlay(
    lower: &Path,
    upper: &Path,
    work: &Path,
    at: &Path,
    marking: Marking,
) -> Result<()> {
    let options = format!(
        "lowerdir={},upperdir={},workdir={},{},metacopy=off,index=off,xino=on",
        lower.display(),
        upper.display(),
        work.display(),
        marking.options()
    );
    mount(Some("overlay"), at, Some("overlay"), MsFlags::MS_NOATIME, Some(options.as_str()))
        .doing(|| format!("mount an overlay at {}", at.display()))
}
