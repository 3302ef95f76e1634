//! The only place that reaps children: commands whose end somebody waits for, and orphans that PID 1
//! inherits.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::sys::{self, Child};

/// Starts children and tells how they ended.
#[derive(Debug, Clone)]
pub struct Reaper(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    started: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<i32, oneshot::Sender<i32>>,
    /// Children that ended while some start was under way: one of them may be the one started.
    early: HashMap<i32, i32>,
    starting: usize,
    /// Children ever started by us.
    children: u64,
}

impl Reaper {
    /// The process's reaper. Nothing else may wait for children.
    pub fn get() -> Self {
        static REAPER: OnceLock<Reaper> = OnceLock::new();
        REAPER
            .get_or_init(|| {
                let shared = Arc::<Shared>::default();
                let reaper = shared.clone();
                // Without this thread commands would never end: as fatal as a missing kernel.
                let started =
                    thread::Builder::new().name("reaper".into()).spawn(move || reaper.run());
                if let Err(error) = started {
                    eprintln!("pyro-agent: cannot start the reaper: {error}");
                }
                Reaper(shared)
            })
            .clone()
    }

    /// Starts `child`. The receiver gets its raw wait status.
    pub fn spawn(&self, child: &Child<'_>) -> io::Result<(i32, oneshot::Receiver<i32>)> {
        self.0.state.lock().starting += 1;
        let spawned = sys::spawn(child);
        let mut state = self.0.state.lock();
        state.starting -= 1;
        let (sender, receiver) = oneshot::channel();
        if let Ok(pid) = spawned {
            state.children += 1;
            match state.early.remove(&pid) {
                Some(status) => drop(sender.send(status)),
                None => drop(state.waiting.insert(pid, sender)),
            }
        }
        if state.starting == 0 {
            state.early.clear();
        }
        drop(state);
        self.0.started.notify_all();
        spawned.map(|pid| (pid, receiver))
    }
}

impl Shared {
    fn run(&self) {
        let mut seen = 0;
        loop {
            match sys::reap_any() {
                Ok((pid, status)) => {
                    let mut state = self.state.lock();
                    if let Some(waiting) = state.waiting.remove(&pid) {
                        // Nobody needs to be interested any more.
                        let _ = waiting.send(status);
                    } else if state.starting > 0 {
                        state.early.insert(pid, status);
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                // No children at all: orphans come only from children of ours.
                Err(_) => {
                    let mut state = self.state.lock();
                    while state.children == seen {
                        self.started.wait(&mut state);
                    }
                    seen = state.children;
                }
            }
        }
    }
}
