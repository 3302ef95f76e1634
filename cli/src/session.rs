//! One command's calls of the daemon: progress, signals, and hanging up cleanly.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::time::Duration;

use pyro_api::{Call, Client, ClientError, DaemonStatus, Event, Home};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::error::Error;
use crate::launch::SelfLauncher;
use crate::print;
use crate::progress::DELAY;
use crate::signals::Interrupts;
use crate::ui::Ui;

/// How long the daemon may take to undo a call that was hung up.
pub const SETTLE: Duration = Duration::from_secs(10);

/// What every command works with.
pub struct Session {
    /// Its output.
    pub ui: Ui,
    /// Signals that came.
    pub interrupts: Interrupts,
    client: Client,
    ensured: Cell<bool>,
    /// What the daemon had said: once is enough for one command.
    warned: RefCell<Vec<String>>,
}

impl Session {
    /// For the home of the environment's variables. No daemon is started yet.
    pub fn new(ui: Ui, interrupts: Interrupts) -> Result<Self, Error> {
        let client = Client::new(Home::from_env()?);
        Ok(Self { ui, interrupts, client, ensured: Cell::new(false), warned: RefCell::default() })
    }

    /// The same with other output.
    pub fn with_ui(&self, ui: Ui) -> Self {
        let (client, interrupts) = (self.client.clone(), self.interrupts.clone());
        let (ensured, warned) = (self.ensured.clone(), self.warned.clone());
        Self { ui, interrupts, client, ensured, warned }
    }

    /// A client of the daemon, running or not.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Makes a call that streams nothing but progress.
    pub async fn call<C: Call>(&self, call: &C) -> Result<C::Reply, Error> {
        self.stream(call, |_| Ok(())).await
    }

    /// Makes a call; `on` sees every event but progress. A signal, or an error of `on`, hangs up
    /// and waits until the daemon has undone what was half done.
    pub async fn stream<C: Call>(
        &self,
        call: &C,
        mut on: impl FnMut(Event) -> Result<(), Error>,
    ) -> Result<C::Reply, Error> {
        self.ensure().await?;
        let progress = self.ui.progress(C::NAME);
        let failed = RefCell::new(None);
        let stop = Notify::new();
        let mut work = Box::pin(self.client.call(call, |event| {
            if failed.borrow().is_some() {
                return;
            }
            if let Event::Progress { phase, detail, done, total } = event {
                return progress.update(&phase, &detail, done, total);
            }
            progress.clear();
            if let Event::Warning { message } = event {
                return self.warn_once(message);
            }
            if let Err(error) = on(event) {
                failed.replace(Some(error));
                stop.notify_one();
            }
        }));
        let mut delay = pin!(sleep(DELAY));
        let mut shown = false;
        let error = loop {
            tokio::select! {
                biased;
                signal = self.interrupts.next() => break Error::Interrupted(signal),
                () = stop.notified() => {
                    if let Some(error) = failed.take() {
                        break error;
                    }
                }
                reply = &mut work => {
                    if let Some(error) = failed.take() {
                        return Err(error);
                    }
                    if matches!(reply, Err(ClientError::Lost | ClientError::Absent { .. })) {
                        self.ensured.set(false);
                    }
                    return Ok(reply?);
                }
                () = &mut delay, if !shown => {
                    shown = true;
                    progress.show();
                }
            }
        };
        // Counted while ours is still among them.
        let before = self.calls().await;
        drop(work);
        progress.clear();
        self.settled(before).await;
        Err(error)
    }

    fn warn_once(&self, message: String) {
        let mut warned = self.warned.borrow_mut();
        if !warned.contains(&message) {
            self.ui.warn(print::shown(&message));
            warned.push(message);
        }
    }

    /// Makes sure that a daemon runs, once.
    pub async fn ensure(&self) -> Result<(), Error> {
        if self.ensured.get() {
            return Ok(());
        }
        tokio::select! {
            biased;
            signal = self.interrupts.next() => return Err(Error::Interrupted(signal)),
            client = Client::ensure(self.client.home().clone(), &SelfLauncher) => { client?; }
        }
        self.ensured.set(true);
        Ok(())
    }

    /// Calls under way, if a daemon answers.
    async fn calls(&self) -> Option<u64> {
        self.client.call(&DaemonStatus {}, |_| {}).await.ok().map(|status| status.calls)
    }

    /// Returns once fewer than `before` calls are under way: the daemon has dealt with ours. A
    /// second signal ends the process instead.
    async fn settled(&self, before: Option<u64>) {
        let Some(before) = before.filter(|calls| *calls > 0) else { return };
        let deadline = Instant::now() + SETTLE;
        while Instant::now() < deadline && self.calls().await.is_some_and(|calls| calls >= before) {
            sleep(Duration::from_millis(50)).await;
        }
    }
}
