//! A workspace's machine as one that is saved, and one that goes on as such.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pyro_image::clone_scratch;
use tokio::time::timeout;

use super::Workspace;
use super::boot::{BOOT, BootPlan, console_tail};
use crate::error::{Error, Result};
use crate::events::blocking;

/// The scratch disk in a saved machine's directory.
const SCRATCH: &str = "scratch.img";
/// Longest wait for a guest that was saved: it has nothing to do but to say hello.
const RESTORE: Duration = Duration::from_secs(15);

impl Workspace {
    /// Saves a machine that was started ahead in the directory `into`, with its scratch disk, as soon as its
    /// guest waits. It does nothing more then.
    pub async fn save(self: &Arc<Self>, into: PathBuf) -> Result<()> {
        let mut greeted = self.greeted.subscribe();
        let hello = timeout(BOOT, greeted.wait_for(|greeted| *greeted));
        let said = hello.await.is_ok_and(|said| said.is_ok());
        if !said {
            let reason = format!("it said nothing within {} seconds", BOOT.as_secs());
            return Err(Error::Boot { reason, console: console_tail(&self.dir) });
        }
        let (machine, scratch) = (self.machine.clone(), self.scratch());
        blocking(move |_| {
            machine.save(&into)?;
            Ok(clone_scratch(&scratch, &into.join(SCRATCH))?)
        })
        .await
    }

    /// Goes on as a machine that was saved.
    pub(super) async fn restore(self: &Arc<Self>, plan: &BootPlan, saved: &Path) -> Result<()> {
        let from = saved.join(SCRATCH);
        self.replace_scratch(move |scratch| Ok(clone_scratch(&from, scratch)?)).await?;
        let boots = self.launch(plan, Some(saved)).await?;
        self.welcome(boots, RESTORE).await
    }

    /// Has another scratch disk, which nothing was written to yet, in place of one of that kind.
    pub(super) async fn replace_scratch(
        &self,
        make: impl FnOnce(&Path) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let scratch = self.scratch();
        blocking(move |_| {
            match fs::remove_file(&scratch) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &scratch)(error));
                }
                _ => {}
            }
            make(&scratch)
        })
        .await
    }
}
