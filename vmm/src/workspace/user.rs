//! Who runs commands: a user of the environment, found by the guest in the image's own tables.

use pyro_format::escape;
use pyro_image::Startup;
use pyro_machine::BackendKind;
use pyro_proto::{ByteString, Call, USERS_SINCE, UserName};

use super::Workspace;
use crate::error::{Error, Result};
use crate::guest::link::ask;

/// Who runs commands where nobody else is asked for.
pub(super) const ROOT: &str = "root";
/// Spellings of the user who may do anything, and is there without a table, too.
const SPELLINGS: [&str; 3] = [ROOT, "0", "0:0"];
/// Longest name of a user with its group, in bytes.
const MAX_USER: usize = 256;

/// The user of a new workspace, unless it is root: the one asked for, or the image's own.
///
/// # Errors
/// For a user that no image has, or one beside root where there is no VM: a sandbox of namespaces has
/// a single user, and everything in it is that user's.
pub(super) fn of_workspace(
    asked: Option<&str>,
    startup: &Startup,
    backend: BackendKind,
) -> Result<Option<String>> {
    let sandbox = backend == BackendKind::HostCompat;
    let user = match asked {
        Some(asked) => check(asked)?,
        None if sandbox || startup.user.is_empty() => None,
        None => check(&startup.user)?,
    };
    if sandbox && user.is_some() {
        return Err(Error::SandboxUser);
    }
    Ok(user.map(Into::into))
}

/// The user, unless it is root.
fn check(user: &str) -> Result<Option<&str>> {
    if user.is_empty() || user.len() > MAX_USER || user.contains('\0') {
        let shown = escape(user.as_bytes());
        return Err(Error::Invalid(format!(
            "'{shown}' is no user: give NAME, UID, or either with :GROUP"
        )));
    }
    Ok((!SPELLINGS.contains(&user)).then_some(user))
}

impl Workspace {
    /// Who runs a command, unless it is root: the one asked for, or the workspace's user.
    pub(super) fn runner(&self, asked: Option<&str>) -> Result<Option<UserName>> {
        let record = self.record();
        let user = match asked {
            Some(asked) => check(asked)?.map(Into::into),
            None => record.user,
        };
        let Some(user): Option<String> = user else { return Ok(None) };
        if self.is_unisolated() {
            return Err(Error::SandboxUser);
        }
        if record.generation < USERS_SINCE {
            return Err(Error::OldGuest { workspace: record.id, lacks: "users" });
        }
        Ok(Some(ByteString(user.into_bytes())))
    }

    /// Tells a guest that has just booted whose `/workspace` is.
    pub(super) async fn set_owner(&self) -> Result<()> {
        let Some(user) = self.runner(None)? else { return Ok(()) };
        ask(&self.machine, &Call::SetOwner { user }).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(asked: Option<&str>, image: &str, backend: BackendKind) -> Result<Option<String>> {
        let startup = Startup { user: image.into(), ..Startup::default() };
        of_workspace(asked, &startup, backend)
    }

    #[test]
    fn a_workspace_has_the_user_asked_for_or_the_images_own() {
        let vm = BackendKind::QemuTcg;
        assert_eq!(of(None, "", vm).unwrap(), None);
        assert_eq!(of(None, "node", vm).unwrap().as_deref(), Some("node"));
        assert_eq!(of(Some("7:8"), "node", vm).unwrap().as_deref(), Some("7:8"));
        for root in SPELLINGS {
            assert_eq!(of(Some(root), "node", vm).unwrap(), None, "{root}");
        }
        for bad in ["", "a\0b", &"a".repeat(257)] {
            assert!(matches!(of(Some(bad), "", vm), Err(Error::Invalid(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_sandbox_has_one_user() {
        let sandbox = BackendKind::HostCompat;
        assert_eq!(of(None, "node", sandbox).unwrap(), None);
        assert_eq!(of(Some("root"), "node", sandbox).unwrap(), None);
        assert!(matches!(of(Some("node"), "", sandbox), Err(Error::SandboxUser)));
    }
}
