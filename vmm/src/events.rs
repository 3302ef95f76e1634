//! What a call tells its caller before it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use pyro_api::{Event, OutputStream};
use tokio::sync::mpsc;

/// Shortest time between two reports of the same phase.
const INTERVAL: Duration = Duration::from_millis(100);

/// The way back to one caller. Cheap to clone.
#[derive(Clone)]
pub struct Events(mpsc::Sender<Event>);

impl Events {
    /// Sends to whoever holds the other end.
    pub fn new(sender: mpsc::Sender<Event>) -> Self {
        Self(sender)
    }

    /// Sends an event, waiting for a slow caller. One that is gone is no error: the call is about
    /// to be cancelled.
    pub async fn send(&self, event: Event) {
        let _ = self.0.send(event).await;
    }

    /// Says that no VM is around what the call is about. Never left out.
    pub async fn warn_of_host_compat(&self) {
        let message = "host-compat: no VM is around this workspace, its commands share the kernel of this machine; this is for code that errs, not for code that attacks";
        self.warn(message.to_owned()).await;
    }

    /// Says what the caller should know beside the result. Never left out.
    pub async fn warn(&self, message: String) {
        self.send(Event::Warning { message }).await;
    }

    /// Sends bytes of an output, likewise.
    pub async fn output(&self, stream: OutputStream, offset: u64, data: &[u8]) {
        self.send(Event::Output { stream, offset, data_b64: STANDARD.encode(data) }).await;
    }

    /// The same from a thread that may block; false when the caller is gone.
    pub fn blocking_output(&self, stream: OutputStream, offset: u64, data: &[u8]) -> bool {
        let event = Event::Output { stream, offset, data_b64: STANDARD.encode(data) };
        self.0.blocking_send(event).is_ok()
    }

    /// Says what is being done. Dropped when the caller is slow: the next one says more.
    pub fn progress(&self, phase: &str, detail: &str, done: u64, total: Option<u64>) {
        let (phase, detail) = (phase.to_owned(), detail.to_owned());
        let _ = self.0.try_send(Event::Progress { phase, detail, done, total });
    }
}

/// Tells blocking work that its caller has gone: set when dropped.
#[derive(Default)]
pub struct CancelOnDrop(Arc<AtomicBool>);

impl CancelOnDrop {
    /// What the work looks at.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Passes the store's progress on as events.
pub struct StoreProgress {
    events: Events,
    phase: &'static str,
    cancelled: Arc<AtomicBool>,
    entries: AtomicU64,
    bytes: AtomicU64,
    next: std::sync::Mutex<Instant>,
}

impl StoreProgress {
    /// Reports under the name `phase` until `cancelled` is set.
    pub fn new(events: &Events, phase: &'static str, cancelled: Arc<AtomicBool>) -> Self {
        Self {
            events: events.clone(),
            phase,
            cancelled,
            entries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            next: std::sync::Mutex::new(Instant::now() + INTERVAL),
        }
    }
}

impl pyro_store::Progress for StoreProgress {
    fn advance(&self, entries: u64, bytes: u64) {
        let entries = self.entries.fetch_add(entries, Ordering::Relaxed) + entries;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // A thread that finds the clock held leaves the report to the one that holds it.
        let Ok(mut next) = self.next.try_lock() else { return };
        let now = Instant::now();
        if now >= *next {
            *next = now + INTERVAL;
            self.events.progress(self.phase, &format!("{entries} entries"), bytes, None);
        }
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// Reports nothing, and ends when its caller is gone.
pub struct Unwatched(pub Arc<AtomicBool>);

impl pyro_store::Progress for Unwatched {
    fn advance(&self, _entries: u64, _bytes: u64) {}

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Passes a pull's progress on as events.
pub struct PullProgress {
    events: Events,
    cancelled: Arc<AtomicBool>,
    phase: std::sync::Mutex<(String, String)>,
}

impl PullProgress {
    /// Reports until `cancelled` is set.
    pub fn new(events: &Events, cancelled: Arc<AtomicBool>) -> Self {
        Self { events: events.clone(), cancelled, phase: std::sync::Mutex::default() }
    }
}

impl pyro_image::Progress for PullProgress {
    fn phase(&self, name: &str, detail: &str) {
        self.events.progress(name, detail, 0, None);
        if let Ok(mut phase) = self.phase.lock() {
            *phase = (name.to_owned(), detail.to_owned());
        }
    }

    fn advance(&self, done: u64, total: Option<u64>) {
        if let Ok(phase) = self.phase.lock() {
            self.events.progress(&phase.0, &phase.1, done, total);
        }
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// Runs work that blocks. `work` learns through its flag when the caller has gone.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce(Arc<AtomicBool>) -> crate::error::Result<T> + Send + 'static,
) -> crate::error::Result<T> {
    let cancel = CancelOnDrop::default();
    let flag = cancel.flag();
    let result = tokio::task::spawn_blocking(move || work(flag)).await;
    result.map_err(|panic| crate::error::Error::Panicked(panic.to_string()))?
}
