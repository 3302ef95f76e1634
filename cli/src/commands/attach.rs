//! `pyro workspace shell attach`: a shell of a guest on the user's own terminal.
//!
//! ```text
//! keys, size ─▶ one task types ─▶ shell ─▶ follow from a cursor ─▶ screen
//! ```
//!
//! When the daemon dies, both ends go on with the next one.

use std::cell::{Cell, RefCell};
use std::io::{self, PipeReader, PipeWriter};

use pyro_api::{
    Call, Client, ClientError, ErrorCode, Event, ShellClose, ShellFollow, ShellInfo, ShellOpen,
    ShellRead, ShellReadReply, ShellResize, ShellState, ShellWrite,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Duration, sleep};

use super::OK;
use super::exec::output_bytes;
use super::shell::output;
use crate::args::{DetachKey, ShellAttachArgs};
use crate::error::Error;
use crate::launch::SelfLauncher;
use crate::modes::Modes;
use crate::print::{or_dash, shown};
use crate::session::Session;
use crate::terminal::{self, Raw};

/// Daemons in a row that may die without a byte of output in between.
const DAEMONS: u32 = 8;
/// Bytes read from the keyboard at once.
const KEYS: usize = 4096;
/// Most bytes typed with one call.
const TYPED: usize = 64 << 10;
/// Readings of the keyboard that wait to be typed.
const WAITING: usize = 64;
/// A full-screen program sees a smaller screen for so long, and then paints all of its own.
const REPAINT: Duration = Duration::from_millis(100);

/// `pyro workspace shell attach`
pub async fn attach(session: &Session, args: ShellAttachArgs) -> Result<u8, Error> {
    if session.ui.json {
        return Err(Error::usage("attach is for people, not for programs")
            .hint("'shell read --json' and 'shell write --json' are for programs"));
    }
    if !terminal::is_interactive() {
        return Err(Error::usage("standard input and output are not a terminal")
            .hint("'pyro workspace shell write' and 'read' need none"));
    }
    use_shell(session, args).await.map(|_| OK)
}

/// Gives a shell this terminal, which is interactive, until either ends.
pub async fn use_shell(session: &Session, args: ShellAttachArgs) -> Result<End, Error> {
    let workspace_id = args.workspace_id;
    let (cols, rows) = terminal::size();
    let mut screen = Screen::new(session);
    let (shell_id, ours) = match args.shell_id {
        Some(shell_id) => (shell_id, false),
        None => {
            let workspace_id = workspace_id.clone();
            let (cols, rows) = (Some(cols), Some(rows));
            let cwd = args.start.cwd.map(|cwd| cwd.as_os_str().into());
            let (user, env) = (args.start.user, args.start.env);
            let call = ShellOpen { workspace_id, cwd, cols, rows, user, env };
            (session.call(&call).await?.shell_id, true)
        }
    };
    let shell = Shell { workspace_id, shell_id };
    let seen = if ours { None } else { Some(shell.recall(session).await?) };
    let note = |text: String| session.ui.note(format_args!("pyro: {text}"));
    note(format!("attached to {}; {} detaches", shown(&shell.shell_id), args.detach_key.name));
    let raw = Raw::enter().map_err(|error| Error::system("the terminal cannot be used", error))?;
    let repaint = match &seen {
        Some(seen) => screen.show(seen)?,
        None => false,
    };
    let ended = shell.converse(session, &screen, &args.detach_key, repaint).await;
    let left = session.ui.text(&screen.modes.borrow().leave());
    drop(raw);
    let again = format!(
        "pyro workspace shell attach {} {}",
        shown(&shell.workspace_id),
        shown(&shell.shell_id)
    );
    let ended = ended?;
    match &ended {
        End::Detached => {
            note(format!("detached from {}, which goes on\n  {again}", shown(&shell.shell_id)))
        }
        End::Ended(info) => {
            let code = or_dash(info.exit_code);
            note(format!("{} has ended (exit code {code})", shown(&shell.shell_id)));
            if ours {
                session.call(&shell.close()).await?;
            }
        }
    }
    left.map(|()| ended)
}

/// How an attachment ended.
pub enum End {
    Detached,
    Ended(Box<ShellInfo>),
}

/// Which shell.
#[derive(Debug, Clone)]
struct Shell {
    workspace_id: String,
    shell_id: String,
}

/// What a shell printed before the user came.
struct Seen {
    exact: ShellReadReply,
    plain: ShellReadReply,
}

impl Shell {
    fn close(&self) -> ShellClose {
        let Self { workspace_id, shell_id } = self.clone();
        ShellClose { workspace_id, shell_id }
    }

    fn resize(&self, cols: u16, rows: u16) -> ShellResize {
        let Self { workspace_id, shell_id } = self.clone();
        ShellResize { workspace_id, shell_id, cols, rows }
    }

    /// Everything that is kept: as text to show, then exactly.
    async fn recall(&self, session: &Session) -> Result<Seen, Error> {
        let Self { workspace_id, shell_id } = self.clone();
        let mut call = ShellRead {
            workspace_id,
            shell_id,
            cursor: 0,
            max_chars: Some(1 << 20),
            plain: true,
            wait_for_idle_ms: None,
        };
        let plain = session.call(&call).await?;
        call.plain = false;
        Ok(Seen { exact: session.call(&call).await?, plain })
    }

    /// Passes keys one way and output the other until either ends.
    async fn converse(
        &self,
        session: &Session,
        screen: &Screen<'_>,
        key: &DetachKey,
        repaint: bool,
    ) -> Result<End, Error> {
        let client = session.client().clone();
        let desk =
            Desk::listen().map_err(|error| Error::system("signals cannot be heard", error))?;
        let typist = Typist { shell: self.clone(), client, key: key.clone() };
        let mut typing = tokio::spawn(typist.run(desk, repaint));
        let ended = tokio::select! {
            biased;
            signal = session.interrupts.next() => Err(Error::Interrupted(signal)),
            // When the typist fails, the follower fails for the same reason and says why.
            _ = &mut typing => Ok(End::Detached),
            ended = self.follow(session, screen) => ended,
        };
        typing.abort();
        ended
    }

    /// Shows what is printed until the shell's program has ended.
    async fn follow(&self, session: &Session, screen: &Screen<'_>) -> Result<End, Error> {
        let mut lost = 0;
        loop {
            let from = screen.cursor.get();
            let Self { workspace_id, shell_id } = self.clone();
            let call = ShellFollow { workspace_id, shell_id, cursor: from };
            let result = tokio::select! {
                biased;
                error = screen.failed() => return Err(error),
                result = session.client().call(&call, |event| screen.event(event)) => result,
            };
            match result {
                Ok(info) => return Ok(End::Ended(Box::new(info))),
                Err(ClientError::Lost | ClientError::Absent { .. }) => {
                    lost = if screen.cursor.get() > from { 1 } else { lost + 1 };
                    if lost > DAEMONS {
                        return Err(ClientError::Lost.into());
                    }
                    Client::ensure(session.client().home().clone(), &SelfLauncher).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The user's screen.
struct Screen<'a> {
    session: &'a Session,
    cursor: Cell<u64>,
    modes: RefCell<Modes>,
    error: RefCell<Option<Error>>,
    stop: Notify,
}

impl<'a> Screen<'a> {
    fn new(session: &'a Session) -> Self {
        let (cursor, modes) = (Cell::new(0), RefCell::default());
        Self { session, cursor, modes, error: RefCell::default(), stop: Notify::new() }
    }

    /// Shows where a shell is: its last lines, or an empty screen for a full-screen program to
    /// paint. `true` if it has to be asked to.
    fn show(&mut self, seen: &Seen) -> Result<bool, Error> {
        let plain = &seen.plain;
        self.cursor.set(plain.next_cursor);
        let exact = output(&seen.exact)?;
        // What was printed between the two reads comes when the shell is followed.
        let shown_until = plain.next_cursor.saturating_sub(seen.exact.cursor);
        let known = usize::try_from(shown_until).map_or(exact.len(), |at| at.min(exact.len()));
        let modes = self.modes.get_mut();
        modes.see(&exact[..known]);
        let full_screen = modes.full_screen();
        let mut text = String::new();
        if plain.shell.state == ShellState::Running {
            text += &modes.enter();
        }
        if full_screen {
            text += "\x1b[H\x1b[2J";
        } else {
            let lines: Vec<&str> = plain.output.split('\n').collect();
            let rows = usize::from(terminal::size().1);
            text += &lines[lines.len().saturating_sub(rows)..].join("\r\n");
        }
        self.session.ui.text(&text)?;
        Ok(full_screen)
    }

    /// Shows output, each byte once.
    fn event(&self, event: Event) {
        let shown = output_bytes(event).and_then(|output| {
            let Some((_, offset, bytes)) = output else { return Ok(()) };
            let known = self.cursor.get().saturating_sub(offset).min(bytes.len() as u64);
            let new = &bytes[known as usize..];
            self.cursor.set(self.cursor.get().max(offset + bytes.len() as u64));
            self.modes.borrow_mut().see(new);
            self.session.ui.bytes(new)
        });
        if let Err(error) = shown {
            self.error.replace(Some(error));
            self.stop.notify_one();
        }
    }

    /// Returns when something could not be shown.
    async fn failed(&self) -> Error {
        loop {
            if let Some(error) = self.error.take() {
                return error;
            }
            self.stop.notified().await;
        }
    }
}

/// What comes from the user's side.
enum Input {
    Keys(Vec<u8>),
    Resized,
}

/// The keyboard and the window. When this is dropped, keys are left for whoever reads next.
struct Desk {
    inputs: mpsc::Receiver<Input>,
    _listening: PipeWriter,
}

impl Desk {
    /// Keys and changes of size, in the order in which they come.
    fn listen() -> io::Result<Self> {
        let (sender, inputs) = mpsc::channel(WAITING);
        let keys = sender.clone();
        let mut resized = signal(SignalKind::window_change())?;
        let (left, listening) = io::pipe()?;
        // A thread of its own: what else has this terminal open must not find it non-blocking.
        std::thread::spawn(move || {
            while let Ok(Some(typed)) = typed_unless(&left) {
                if keys.blocking_send(Input::Keys(typed)).is_err() {
                    break;
                }
            }
        });
        tokio::spawn(async move {
            while resized.recv().await.is_some() {
                if sender.send(Input::Resized).await.is_err() {
                    break;
                }
            }
        });
        Ok(Self { inputs, _listening: listening })
    }
}

/// What is typed next; none at the end of the input, or once the other end of `left` is closed.
fn typed_unless(left: &PipeReader) -> io::Result<Option<Vec<u8>>> {
    let stdin = io::stdin();
    loop {
        let mut fds = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(left, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            ready => ready?,
        };
        if !fds[1].revents().is_empty() {
            return Ok(None);
        }
        let mut buffer = vec![0; KEYS];
        match rustix::io::read(&stdin, &mut buffer) {
            Err(Errno::INTR) => {}
            read => {
                buffer.truncate(read?);
                return Ok((!buffer.is_empty()).then_some(buffer));
            }
        }
    }
}

/// The only one who types, so that keys stay in order.
struct Typist {
    shell: Shell,
    client: Client,
    key: DetachKey,
}

impl Typist {
    /// Returns when the user detaches or hangs up; waits for ever when nothing can be typed any
    /// more.
    async fn run(self, mut desk: Desk, repaint: bool) {
        let (cols, rows) = terminal::size();
        if repaint && rows > 1 {
            self.call(&self.shell.resize(cols, rows - 1)).await;
            sleep(REPAINT).await;
        }
        self.call(&self.shell.resize(cols, rows)).await;
        while let Some(input) = desk.inputs.recv().await {
            let mut keys = Vec::new();
            let mut resized = false;
            let mut next = Some(input);
            // Whatever has gathered while the last call was under way.
            while let Some(input) = next {
                match input {
                    Input::Keys(more) => keys.extend(more),
                    Input::Resized => resized = true,
                }
                next = if keys.len() < TYPED { desk.inputs.try_recv().ok() } else { None };
            }
            if resized {
                let (cols, rows) = terminal::size();
                self.call(&self.shell.resize(cols, rows)).await;
            }
            let detach = self.key.find(&keys);
            keys.truncate(detach.unwrap_or(keys.len()));
            if !keys.is_empty() {
                let Shell { workspace_id, shell_id } = self.shell.clone();
                let input = pyro_api::BytesText(keys);
                let call = ShellWrite { workspace_id, shell_id, input, append_newline: false };
                self.call(&call).await;
            }
            if detach.is_some() {
                return;
            }
        }
    }

    /// Makes a call, with the next daemon if there is none. One that was cut off is not made again:
    /// a key that is lost is seen, one that is typed twice may do harm.
    async fn call<C: Call>(&self, call: &C) {
        loop {
            match self.client.call(call, |_| {}).await {
                Err(ClientError::Absent { .. }) => {
                    let home = self.client.home().clone();
                    if Client::ensure(home, &SelfLauncher).await.is_err() {
                        return;
                    }
                }
                Err(ClientError::Failed(body)) if body.code == ErrorCode::Busy => {
                    // The terminal is full, as a bell says.
                    eprint!("\x07");
                    return;
                }
                _ => return,
            }
        }
    }
}
