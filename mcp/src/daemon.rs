//! The daemon, started when it is not there.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use pyro_api::{Call, Client, ClientError, Event, Home, Launcher};
use tokio::sync::Mutex;

type Ensure = dyn Fn(Home) -> BoxFuture<'static, Result<Client, ClientError>> + Send + Sync;

/// Makes calls of the daemon of one home through its deaths: one that is not there is started
/// before a call, and a call that may have happened is never made twice.
#[derive(Clone)]
pub struct Daemon {
    client: Client,
    ensure: Arc<Ensure>,
    /// A daemon has answered, and none was missing since.
    ready: Arc<AtomicBool>,
    /// Held by whoever starts it.
    starting: Arc<Mutex<()>>,
}

impl fmt::Debug for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Daemon").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Daemon {
    /// Of this home, started by this launcher. Nothing is started yet.
    pub fn new(home: Home, launcher: impl Launcher + Clone + Send + Sync + 'static) -> Self {
        let ensure = move |home| -> BoxFuture<'static, _> {
            let launcher = launcher.clone();
            Box::pin(async move { Client::ensure(home, &launcher).await })
        };
        Self {
            client: Client::new(home),
            ensure: Arc::new(ensure),
            ready: Arc::default(),
            starting: Arc::default(),
        }
    }

    /// Its home.
    pub fn home(&self) -> &Home {
        self.client.home()
    }

    /// Makes a call; `event` sees everything but the last line. Dropping the future hangs up. One
    /// that changes nothing is made again when the daemon died over it.
    pub async fn call<C: Call + Sync>(
        &self,
        call: &C,
        changes_nothing: bool,
        mut event: impl FnMut(Event) + Send,
    ) -> Result<C::Reply, ClientError> {
        self.ensure().await?;
        let reply = self.client.call(call, &mut event).await;
        let again = match &reply {
            // Nobody has heard it.
            Err(ClientError::Absent { .. }) => true,
            Err(ClientError::Lost) => changes_nothing,
            _ => return reply,
        };
        self.ready.store(false, Ordering::Release);
        if !again {
            return reply;
        }
        self.ensure().await?;
        self.client.call(call, event).await
    }

    async fn ensure(&self) -> Result<(), ClientError> {
        if self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        let _starting = self.starting.lock().await;
        if !self.ready.load(Ordering::Acquire) {
            (self.ensure)(self.home().clone()).await?;
            self.ready.store(true, Ordering::Release);
        }
        Ok(())
    }
}
