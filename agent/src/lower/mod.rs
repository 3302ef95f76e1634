//! The lower layer of `/workspace`: a read-only FUSE filesystem over the host's tree.
//!
//! Its root holds the one directory `ws`. Nodes and content are asked by path when the kernel first
//! needs them and never change, so the kernel may keep everything for ever. What is read ahead:
//!
//! - directory nodes: those the host chooses to send along, below the one asked for;
//! - content: a file of up to 128 KiB is fetched whole at its first read; of longer files the
//!   kernel reads ahead up to 128 KiB. No other file is touched.
//!
//! A host that is gone makes readers wait; it never makes them fail.

mod fs;
mod handed;
mod host;
mod nodes;

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use fuser::{Config, Session, SessionACL};
use nix::mount::{MsFlags, mount};
use pyro_format::{Mode, Mtime};

pub use handed::Handed;
pub use host::{Answer, Content, Dial, Listen, Vsock, reach};

use crate::error::{Doing, Result};
use crate::identity::Owner;

/// Mounts the tree at `at`, all of it `owner`'s. It stays mounted until the process ends or `at` is
/// unmounted. Requests that need the host are worked on by the current runtime.
pub fn mount_lower(
    at: &Path,
    content: &Content,
    (mode, mtime): (Mode, Mtime),
    owner: Owner,
) -> Result<()> {
    let device: OwnedFd = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open("/dev/fuse")
        .doing(|| "open /dev/fuse".into())?
        .into();
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other",
        device.as_raw_fd()
    );
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
    mount(Some("baseline"), at, Some("fuse"), flags, Some(options.as_str()))
        .doing(|| "mount the baseline".into())?;
    let runtime = tokio::runtime::Handle::current();
    let filesystem = fs::Lower::new(content.clone(), (mode, mtime), owner, runtime);
    let session = Session::from_fd(filesystem, device, SessionACL::All, Config::default())
        .doing(|| "serve the baseline".into())?;
    session.spawn().doing(|| "serve the baseline".into())?;
    Ok(())
}
