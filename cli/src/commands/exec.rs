//! Commands in guests: their output as it comes, their exit code, and the way back after the
//! daemon's death.

use base64::{Engine, engine::general_purpose::STANDARD};
use pyro_api::{
    Call, ClientError, CommandResult, ErrorBody, ErrorCode, Event, ExecAttach, LogEntry,
    OutputStream, Run, VmExec, WorkspaceExec,
};
use tokio::time::timeout;

use super::detached;
use crate::args::{ExecArgs, ExecStartArgs, RunArgs, VmExecArgs};
use crate::error::Error;
use crate::session::{SETTLE, Session};
use crate::ui::Ui;

/// Daemons in a row that may die before the command is given up.
pub const DAEMONS: u32 = 8;
/// Why a command that took too long has ended.
pub const TIMED_OUT: &str = "pyro: the command was killed: it took longer than --timeout-seconds";

/// `pyro run`
pub async fn run(session: &Session, args: RunArgs) -> Result<u8, Error> {
    let result = only(session, &Run::from(args)).await?;
    if session.ui.json {
        session.ui.document(&result)?;
    }
    Ok(finish(&session.ui, &result))
}

/// `pyro vm exec`
pub async fn exec_vm(session: &Session, args: VmExecArgs) -> Result<u8, Error> {
    let reply = only(session, &VmExec::from(args)).await?;
    if session.ui.json {
        session.ui.document(&reply)?;
    }
    Ok(finish(&session.ui, &reply.result))
}

/// Makes the call that runs the one command of a VM, which is gone afterwards.
async fn only<C: Call>(session: &Session, call: &C) -> Result<C::Reply, Error> {
    let mut follow = Follow::new(&session.ui);
    match session.stream(call, |event| follow.event(event)).await {
        Err(error) if error.daemon_lost() => {
            // Its VM belongs to nobody now: the next daemon removes it.
            session.ensure().await?;
            Err(ClientError::Failed(
                ErrorBody::new(
                    ErrorCode::DaemonUnavailable,
                    "the daemon died while the command ran; its VM is being removed",
                )
                .hint("run it again; use a workspace for commands that must outlive a daemon"),
            )
            .into())
        }
        result => result,
    }
}

/// `pyro workspace exec`
pub async fn exec(session: &Session, args: ExecArgs) -> Result<u8, Error> {
    match (args.command, args.start) {
        (Some(command), _) => detached::exec(session, command).await,
        (None, Some(args)) if args.detach => detached::start(session, args).await,
        (None, Some(args)) => attached(session, args).await,
        (None, None) => Err(Error::usage("no command is given")),
    }
}

async fn attached(session: &Session, args: ExecStartArgs) -> Result<u8, Error> {
    let entry = match follow(session, &args.into()).await? {
        Ended::Itself(entry) => entry,
        Ended::Killed(signal, _) => return Err(Error::Interrupted(signal)),
    };
    if session.ui.json {
        session.ui.document(&entry)?;
    }
    Ok(finish(&session.ui, &entry.result))
}

/// How a followed command ended.
pub enum Ended {
    /// By itself, or by its timeout.
    Itself(Box<LogEntry>),
    /// Because of this signal to pyro; perhaps before it had started.
    Killed(u8, Option<Box<LogEntry>>),
}

/// Runs a command of a workspace to its end, through the deaths of daemons: the guest goes on with
/// it, and the next daemon knows it by its number. A signal hangs up, which kills the command, and
/// waits until it is dead.
pub async fn follow(session: &Session, call: &WorkspaceExec) -> Result<Ended, Error> {
    let mut follow = Follow::new(&session.ui);
    let mut result = session.stream(call, |event| follow.event(event)).await;
    for _ in 0..DAEMONS {
        let Err(error) = &result else { break };
        let Some(attach) = follow.attach().filter(|_| error.daemon_lost()) else { break };
        session.ui.note("pyro: the daemon died; the command goes on under a new one");
        result = session.stream(&attach, |event| follow.event(event)).await;
    }
    let signal = match result {
        Ok(entry) => return Ok(Ended::Itself(Box::new(entry))),
        Err(Error::Interrupted(signal)) => signal,
        Err(error) => return Err(error),
    };
    session.interrupts.forget();
    let Some(attach) = follow.attach() else { return Ok(Ended::Killed(signal, None)) };
    let dead = timeout(SETTLE, session.stream(&attach, |_| Ok(()))).await;
    Ok(Ended::Killed(signal, dead.ok().and_then(Result::ok).map(Box::new)))
}

/// Says why a command ended before its time, and gives its exit code.
pub fn finish(ui: &Ui, result: &CommandResult) -> u8 {
    if result.timed_out {
        ui.note(TIMED_OUT);
    }
    exit_code(result.exit_code)
}

/// As wait(2) keeps it: the low eight bits.
pub fn exit_code(code: i32) -> u8 {
    code.rem_euclid(256) as u8
}

/// Stream, offset and bytes of an output event; `None` for other events.
pub fn output_bytes(event: Event) -> Result<Option<(OutputStream, u64, Vec<u8>)>, Error> {
    let Event::Output { stream, offset, data_b64 } = event else { return Ok(None) };
    match STANDARD.decode(data_b64) {
        Ok(bytes) => Ok(Some((stream, offset, bytes))),
        Err(error) => Err(Error::Client(ClientError::Failed(ErrorBody::new(
            ErrorCode::Internal,
            format!("the daemon sent output that is not Base64: {error}"),
        )))),
    }
}

/// How far a command's output was printed.
struct Follow<'a> {
    ui: &'a Ui,
    started: Option<(String, u64)>,
    stdout: u64,
    stderr: u64,
}

impl<'a> Follow<'a> {
    fn new(ui: &'a Ui) -> Self {
        Self { ui, started: None, stdout: 0, stderr: 0 }
    }

    /// Prints what is new. With JSON the reply holds it all.
    fn event(&mut self, event: Event) -> Result<(), Error> {
        if let Event::Started { workspace_id, sequence } = event {
            self.started = Some((workspace_id, sequence));
            return Ok(());
        }
        let Some((stream, offset, bytes)) = output_bytes(event)? else { return Ok(()) };
        let seen = match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        };
        let new = unseen(seen, offset, &bytes);
        match (self.ui.json, stream) {
            (true, _) => Ok(()),
            (false, OutputStream::Stdout) => self.ui.bytes(new),
            (false, OutputStream::Stderr) => {
                self.ui.error_bytes(new);
                Ok(())
            }
        }
    }

    /// The call that goes on where this one broke off.
    fn attach(&self) -> Option<ExecAttach> {
        let (workspace_id, sequence) = self.started.clone()?;
        let (stdout_from, stderr_from) = (self.stdout, self.stderr);
        Some(ExecAttach { workspace_id, sequence, stdout_from, stderr_from })
    }
}

/// The part of `bytes` (which start at `offset`) from `seen` on; `seen` moves to their end.
fn unseen<'a>(seen: &mut u64, offset: u64, bytes: &'a [u8]) -> &'a [u8] {
    let skip = seen.saturating_sub(offset).min(bytes.len() as u64);
    *seen = (*seen).max(offset.saturating_add(bytes.len() as u64));
    &bytes[skip as usize..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_that_comes_twice_is_printed_once() {
        let mut seen = 0;
        assert_eq!(unseen(&mut seen, 0, b"abc"), b"abc");
        assert_eq!(unseen(&mut seen, 1, b"bcde"), b"de");
        assert_eq!(unseen(&mut seen, 0, b"ab"), b"");
        assert_eq!(unseen(&mut seen, 9, b"x"), b"x", "a gap is not an overlap");
        assert_eq!(seen, 10);
    }

    #[test]
    fn a_command_that_was_cut_off_is_attached_to_where_it_was() {
        let ui = Ui::standard(true);
        let mut follow = Follow::new(&ui);
        assert_eq!(follow.attach(), None);
        let id = || "w".to_owned();
        follow.event(Event::Started { workspace_id: id(), sequence: 7 }).unwrap();
        let data_b64 = STANDARD.encode("abc");
        let output = Event::Output { stream: OutputStream::Stderr, offset: 0, data_b64 };
        follow.event(output).unwrap();
        let expected =
            ExecAttach { workspace_id: id(), sequence: 7, stdout_from: 0, stderr_from: 3 };
        assert_eq!(follow.attach(), Some(expected));
    }
}
