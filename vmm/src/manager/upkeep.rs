//! Keeping the store small: forgetting baselines that went with their workspaces, collections.
//!
//! When the daemon has had nothing to do for a while, what was stored in haste is written again,
//! smaller, and what nothing needs is dropped. It gives way to the first call.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyro_format::BaselineId;
use pyro_store::{GcOptions, GcReport, Progress, Root};
use tokio::sync::RwLock;

use super::Manager;
use crate::error::{Error, Result};
use crate::events::blocking;

/// The size of the store, in bytes or like `20G`, above which what nothing needs is dropped at once.
const LIMIT: &str = "PYRO_STORE_LIMIT";
/// How long nothing must have happened before the store is tidied.
const QUIET: Duration = Duration::from_secs(3);
/// How often that is looked for.
const LOOK: Duration = Duration::from_millis(500);
/// No number of changes: the store was not tidied yet.
const NEVER: u64 = u64::MAX;
/// Packs younger than this are not tidied away unless the store is too large.
const GRACE: Duration = Duration::from_secs(15 * 60);

/// Tells whether anybody waits for an answer.
pub type Busy = Arc<dyn Fn() -> bool + Send + Sync>;

/// What upkeep remembers.
pub struct Upkeep {
    /// Held shared from before a baseline is made for a workspace until the workspace has it.
    seeding: RwLock<()>,
    /// Directories of workspaces whose records cannot be read: what they need is not known.
    unreadable: Mutex<Vec<PathBuf>>,
    /// How often the store had changed when it was tidied last.
    tidied: AtomicU64,
    limit: Option<u64>,
}

impl Upkeep {
    pub fn new() -> Result<Self> {
        let limit = match std::env::var(LIMIT) {
            Ok(text) => Some(parse_size(&text).ok_or_else(|| {
                Error::Invalid(format!(
                    "{LIMIT} is '{}': give a number of bytes, or one like 500M or 20G",
                    text.escape_debug()
                ))
            })?),
            Err(_) => None,
        };
        let (seeding, unreadable) = (RwLock::default(), Mutex::default());
        Ok(Self { seeding, unreadable, tidied: AtomicU64::new(NEVER), limit })
    }

    pub fn cannot_read(&self, dir: PathBuf) {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).push(dir);
    }
}

impl Manager {
    /// To be held from before a baseline is made for a workspace until the workspace has it.
    pub async fn seeding(&self) -> tokio::sync::RwLockReadGuard<'_, ()> {
        self.upkeep.seeding.read().await
    }

    /// While this is held, no workspace is being made.
    pub async fn no_seeding(&self) -> tokio::sync::RwLockWriteGuard<'_, ()> {
        self.upkeep.seeding.write().await
    }

    /// Notes that a workspace is gone, and that what it needed may be unused.
    pub fn untidy(&self) {
        self.upkeep.tidied.store(NEVER, Ordering::Relaxed);
    }

    /// Every tree that workspaces need.
    fn roots(&self) -> Vec<Root> {
        let mut roots = Vec::new();
        for workspace in self.workspaces() {
            let record = workspace.record();
            let reviewed = record.reviewed.iter().map(|shown| shown.tree);
            let trees = record.whole_trees().chain(reviewed);
            roots.extend(trees.map(|tree| Root { root: tree.id, times: Some(tree.times) }));
            let accounted = record.accounted.into_iter();
            roots.extend(accounted.map(|root| Root { root, times: None }));
        }
        roots
    }

    /// Collects what neither baselines nor workspaces need.
    pub fn collect(&self, options: &GcOptions, progress: &dyn Progress) -> Result<GcReport> {
        let unreadable = self.upkeep.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dir) = unreadable.iter().find(|dir| dir.exists()) {
            return Err(Error::UnreadableWorkspace(dir.clone()));
        }
        drop(unreadable);
        Ok(self.store.gc(options, &|| self.roots(), progress)?)
    }

    /// Drops damaged copies of what has been stored again. As long as something is missing they stay
    /// where they are, for `verify` to name.
    pub fn mend(&self, progress: &dyn Progress) -> Result<()> {
        if !self.store.has_damage() {
            return Ok(());
        }
        let options = GcOptions { dense: false, grace: GRACE, ..GcOptions::default() };
        match self.collect(&options, progress) {
            Err(
                Error::Store(
                    pyro_store::Error::Incomplete { .. } | pyro_store::Error::BaselineRecord { .. },
                )
                | Error::UnreadableWorkspace(_),
            ) => Ok(()),
            collected => collected.map(|_| ()),
        }
    }

    /// Which workspace uses a baseline, if any does.
    pub fn user_of(&self, baseline: BaselineId) -> Option<String> {
        let user = self.workspaces().into_iter().find(|w| w.record().baseline == Some(baseline));
        user.map(|workspace| workspace.id())
    }

    /// Forgets baselines that were made for workspaces which are gone. Leaves it for later while a
    /// workspace is being made.
    pub async fn drop_implicit_baselines(&self) -> Result<()> {
        let Ok(_nobody_seeds) = self.upkeep.seeding.try_write() else { return Ok(()) };
        for record in self.store.baselines()? {
            if record.implicit && self.user_of(record.id).is_none() {
                self.store.remove_baseline(record.id)?;
            }
        }
        Ok(())
    }

    /// Tidies the store whenever there is nothing else to do, for ever. `busy` tells whether anybody
    /// waits for an answer.
    pub async fn upkeep(self: Arc<Self>, busy: Busy) {
        let mut quiet = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            let changes = self.store.changes();
            if busy() || self.unsettled() > 0 {
                quiet = Instant::now();
            } else if quiet.elapsed() >= QUIET
                && self.upkeep.tidied.swap(changes, Ordering::Relaxed) != changes
            {
                match self.tidy(&busy).await {
                    // Its own changes count too, and what came meanwhile is seen next time.
                    Ok(()) if !busy() => {
                        self.upkeep.tidied.store(self.store.changes(), Ordering::Relaxed);
                    }
                    Ok(()) | Err(Error::Store(pyro_store::Error::Cancelled)) => self.untidy(),
                    Err(error) => eprintln!("store: {}", error.to_body().message),
                }
            }
        }
    }

    async fn tidy(self: &Arc<Self>, busy: &Busy) -> Result<()> {
        self.drop_implicit_baselines().await?;
        let (manager, busy) = (self.clone(), busy.clone());
        blocking(move |cancelled| {
            let full = match manager.upkeep.limit {
                Some(limit) => manager.store.pack_bytes() > limit,
                None => false,
            };
            let grace = if full { Duration::ZERO } else { GRACE };
            let options = GcOptions { grace, threads: 1, background: true, ..GcOptions::default() };
            manager.collect(&options, &GivesWay { busy, cancelled }).map(|_| ())
        })
        .await
    }
}

/// Stops as soon as anybody calls.
struct GivesWay {
    busy: Busy,
    cancelled: Arc<AtomicBool>,
}

impl Progress for GivesWay {
    fn advance(&self, _entries: u64, _bytes: u64) {}

    fn cancelled(&self) -> bool {
        (self.busy)() || self.cancelled.load(Ordering::Relaxed)
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        "T" | "TB" | "TIB" => 1u64 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn a_limit_is_a_number_with_or_without_a_unit() {
        assert_eq!(parse_size("1500"), Some(1500));
        assert_eq!(parse_size("20G"), Some(20 << 30));
        assert_eq!(parse_size(" 5 MiB"), None);
        assert_eq!(parse_size("5MiB"), Some(5 << 20));
        for bad in ["", "G", "-1", "1.5G", "20X", "99999999T"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
