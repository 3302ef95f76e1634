//! How far long work is.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that is done before shows nothing.
pub const DELAY: Duration = Duration::from_millis(250);

/// How progress looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A bar on the terminal.
    Bar,
    /// One line for each phase: for logs.
    Lines,
    /// Not at all.
    Hidden,
}

/// Progress of one call. Shows itself no sooner than [`Progress::show`], and vanishes when dropped.
pub struct Progress {
    look: Look,
    bar: ProgressBar,
    visible: Cell<bool>,
    phase: RefCell<String>,
}

impl Progress {
    /// Nothing to see yet.
    pub fn new(look: Look) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Self { look, bar, visible: Cell::new(false), phase: RefCell::default() }
    }

    /// The work takes long enough to be shown.
    pub fn show(&self) {
        self.visible.set(true);
        match self.look {
            Look::Bar => {
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
                self.bar.enable_steady_tick(Duration::from_millis(100));
            }
            Look::Lines => self.line(),
            Look::Hidden => {}
        }
    }

    /// News from the work.
    pub fn update(&self, phase: &str, detail: &str, done: u64, total: Option<u64>) {
        let message: String = [phase, detail].join(" ").trim().to_owned();
        let message: String = message.chars().filter(|c| !c.is_control()).collect();
        let new_phase = *self.phase.borrow() != phase;
        if new_phase {
            phase.clone_into(&mut self.phase.borrow_mut());
            if self.visible.get() {
                self.line();
            }
        }
        if self.look != Look::Bar {
            return;
        }
        let template = match total {
            Some(_) => "{spinner} {msg} [{bar:24}] {percent}%",
            None => "{spinner} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        match total {
            Some(total) => self.bar.set_length(total),
            None => self.bar.unset_length(),
        }
        self.bar.set_position(done);
        let count = if total.is_none() && done > 0 {
            format!(" {}", HumanCount(done))
        } else {
            String::new()
        };
        self.bar.set_message(message + &count);
    }

    /// Something else is about to be printed: progress goes away for good.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
        self.visible.set(false);
    }

    fn line(&self) {
        let phase = self.phase.borrow();
        if self.look == Look::Lines && !phase.is_empty() {
            let phase: String = phase.chars().filter(|c| !c.is_control()).collect();
            let _ = writeln!(std::io::stderr(), "{phase}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
