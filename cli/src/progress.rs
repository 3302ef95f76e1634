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
    /// One line for each phase: for logs, and for what takes minutes.
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

    /// The work takes long enough to be shown, as soon as it says what it does.
    pub fn show(&self) {
        self.visible.set(true);
        self.draw(true);
    }

    /// News from the work.
    pub fn update(&self, phase: &str, detail: &str, done: u64, total: Option<u64>) {
        let new_phase = *self.phase.borrow() != phase;
        if new_phase {
            phase.clone_into(&mut self.phase.borrow_mut());
        }
        if self.look == Look::Bar {
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
            let count = HumanCount(done).to_string();
            let count = if total.is_none() && done > 0 { &count } else { "" };
            self.bar.set_message(plain(&[phase, detail, count].join(" ")));
        }
        self.draw(new_phase);
    }

    fn draw(&self, new_phase: bool) {
        let phase = self.phase.borrow();
        if !self.visible.get() || !new_phase || phase.is_empty() {
            return;
        }
        match self.look {
            Look::Bar if self.bar.is_hidden() => {
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
                self.bar.enable_steady_tick(Duration::from_millis(100));
            }
            Look::Lines => {
                let _ = writeln!(std::io::stderr(), "pyro: {}", plain(&phase));
            }
            Look::Bar | Look::Hidden => {}
        }
    }

    /// Something else is about to be printed: progress goes away for good.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
        self.visible.set(false);
    }
}

/// Without what could move the cursor, and without needless blanks.
fn plain(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
