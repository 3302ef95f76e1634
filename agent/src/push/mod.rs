//! Pushes: prepared outside `/workspace`, moved in all at once.
//!
//! ```text
//! plan ── what differs at the destination, and whether it can be replaced
//! stage ─ new content under the hidden stage/, synced                 ▶ Staged
//! commit ─ freeze ─ journal ─ renames ─ thaw ─ sync ─ journal gone    ▶ Done
//! ```
//!
//! A crash before the journal leaves `/workspace` untouched; after it, the next boot finishes the
//! renames before anybody sees `/workspace`. Commands see the old or the new state, for they stand
//! still in between (those that wait for the host's answer excepted).

mod commit;
mod journal;
mod plan;
mod source;
mod stage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyro_format::TreePath;
use pyro_proto::{Call, PushId, PushItem, Reply, Source};
use tokio::io::{AsyncRead, AsyncWrite};

pub use commit::recover;

use crate::error::{Error, Result};
use crate::serve::{Agent, Connection};
use source::Tree;
use stage::Staged;

/// What `StagePush` asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Names the push.
    pub id: PushId,
    /// Where it goes.
    pub dest: TreePath,
    /// What is pushed.
    pub item: PushItem,
}

/// Sees to it that there is one push at a time.
#[derive(Debug, Default)]
pub struct Pushes(Arc<AtomicBool>);

#[derive(Debug)]
struct Turn(Arc<AtomicBool>);

impl Pushes {
    fn begin(&self) -> Result<Turn> {
        if self.0.swap(true, Ordering::AcqRel) {
            return Err(Error::Busy);
        }
        Ok(Turn(self.0.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Serves a push from `StagePush` to its end.
pub async fn serve<S>(agent: &Arc<Agent>, host: &mut Connection<S>, request: Request) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let turn = agent.pushes.begin()?;
    let prepare = {
        let agent = agent.clone();
        move || {
            let mut tree = Tree::new(agent.content.clone(), Source::Push(request.id));
            let plan = plan::plan(&agent.workspace, &mut tree, &request)?;
            stage::stage(agent.workspace.clone(), &mut tree, request.id, plan)
        }
    };
    let staged = blocking(prepare).await?;
    host.reply(&Reply::Staged { entries: staged.entries, fetched_bytes: staged.fetched_bytes })
        .await?;
    let commit = match host.call().await? {
        Some(Call::CommitPush) => true,
        Some(Call::AbortPush) => false,
        Some(_) => return Err(Error::Invalid("a staged push waits for its end".into())),
        None => return Err(Error::HungUp),
    };
    let place = agent.place.clone();
    blocking(move || {
        // Held until the stage is gone, so that the next push finds none of it.
        let _turn = turn;
        if commit { commit::commit(&staged, place.cgroups()) } else { Ok(()) }
    })
    .await?;
    host.reply(&Reply::Done).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::HungUp))
}

/// Name of a push's directory in the stage.
fn stage_name(id: PushId) -> String {
    format!("push-{id}")
}

impl Drop for Staged {
    /// Whatever is left of the stage goes: content never moved in, or what it replaced.
    fn drop(&mut self) {
        self.clear();
    }
}
