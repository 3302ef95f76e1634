//! Where a guest's own connections arrive.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyro_proto::{
    Booted, FRESH_SINCE, FrameError, Fresh, GENERATION, HOST_FRAME_LIMIT, Hello, OLDEST_GENERATION,
    Role, Welcome, read_frame, write_frame,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::guest::content::ContentService;
use crate::guest::link::GuestError;
use crate::workspace::merge::TimedTree;

/// How long a guest may take to say what its connection is for.
const HELLO: Duration = Duration::from_secs(30);
/// Connections of one guest that are open at once.
const MAX_CONNECTIONS: usize = 64;

/// How a boot ended, and which generation of the wire the guest speaks.
pub type Boot = Result<(u16, Booted), GuestError>;

/// What a guest starts as: the tree of its `/workspace`, and its host name.
pub type Beginning = (TimedTree, String);

/// Takes a guest's connections; shut when dropped.
pub struct Door {
    accepting: AbortHandle,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Door {
    /// Takes connections from `listener`. A guest that boots is `greeted` and waits until there is a
    /// `beginning`. How each boot ends goes to `boots`.
    pub fn open(
        listener: UnixListener,
        content: Arc<ContentService>,
        greeted: watch::Sender<bool>,
        beginning: watch::Receiver<Option<Beginning>>,
        boots: mpsc::Sender<Boot>,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let accepting = tokio::spawn(async move {
            let mut guests = tokio::task::JoinSet::new();
            loop {
                let Ok(slot) = slots.clone().acquire_owned().await else { break };
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    // Out of descriptors, for one: others will close theirs.
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                };
                while guests.try_join_next().is_some() {}
                let (content, beginning) = (content.clone(), beginning.clone());
                let (greeted, boots) = (greeted.clone(), boots.clone());
                guests.spawn(async move {
                    greet(stream, content, greeted, beginning, boots).await;
                    drop(slot);
                });
            }
        });
        Self { accepting: accepting.abort_handle() }
    }
}

async fn greet(
    mut stream: UnixStream,
    content: Arc<ContentService>,
    greeted: watch::Sender<bool>,
    mut beginning: watch::Receiver<Option<Beginning>>,
    boots: mpsc::Sender<Boot>,
) {
    let hello = timeout(HELLO, read_frame::<Hello>(&mut stream, HOST_FRAME_LIMIT)).await;
    let Ok(Ok(Some(hello))) = hello else { return };
    if !(OLDEST_GENERATION..=GENERATION).contains(&hello.generation) {
        let _ = boots.try_send(Err(GuestError::Generation(hello.generation)));
        return;
    }
    match hello.role {
        Role::Content => content.serve(stream).await,
        Role::Control => {
            greeted.send_replace(true);
            let beginning = beginning.wait_for(Option::is_some).await.map(|known| known.clone());
            let Ok(Some(beginning)) = beginning else { return };
            let booted = boot(&mut stream, hello.generation, beginning).await;
            // Nobody waits for a boot that a dead daemon began.
            let _ = boots.try_send(booted.map(|booted| (hello.generation, booted)));
        }
    }
}

async fn boot(
    stream: &mut UnixStream,
    generation: u16,
    (lower, hostname): Beginning,
) -> Result<Booted, GuestError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let welcome = Welcome {
        now_ns: now.as_nanos() as u64,
        hostname,
        root_mode: lower.root.mode,
        root_mtime: lower.mtime,
    };
    write_frame(stream, &welcome).await?;
    if generation >= FRESH_SINCE {
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy).map_err(std::io::Error::from).map_err(FrameError::Io)?;
        write_frame(stream, &Fresh { entropy }).await?;
    }
    read_frame(stream, HOST_FRAME_LIMIT).await?.ok_or(GuestError::HungUp)
}
