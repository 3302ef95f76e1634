//! Takes the host's calls: one a connection.

use std::sync::Arc;
use std::time::Duration;

use pyro_proto::{
    AgentError, Call, FrameError, GUEST_FRAME_LIMIT, Reply, Stream, UserName, read_frame,
    write_frame,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use crate::content;
use crate::error::{Error, Result};
use crate::exec::{Command, Execs, Place};
use crate::freeze;
use crate::identity::Identity;
use crate::lower::Content;
use crate::push::{self, Pushes};
use crate::report::{self, Hashes};
use crate::shell::{self, Shells};
use crate::workspace::Workspace;

/// Answers that wait to be written. A few, so that disk and wire work at the same time.
const QUEUE: usize = 4;
/// Longest wait for the host to hang up before the power goes.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Everything a call may need.
#[derive(Debug)]
pub struct Agent {
    /// The mounted workspace.
    pub workspace: Arc<Workspace>,
    /// Where commands and shells run.
    pub place: Arc<Place>,
    /// Commands.
    pub execs: Arc<Execs>,
    /// Shells.
    pub shells: Arc<Shells>,
    /// The way to the host's trees.
    pub content: Content,
    /// The push under way, if any.
    pub pushes: Pushes,
    /// Hashes known from earlier reports.
    pub hashes: parking_lot::Mutex<Hashes>,
}

/// What the agent does after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Goes on.
    Go,
    /// Powers off.
    PowerOff,
}

/// Serves one connection to its end. A host that hangs up in the middle is nothing unusual.
pub async fn serve<S>(agent: Arc<Agent>, stream: S) -> After
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = tokio::io::split(stream);
    let mut connection = Connection { reader, writer };
    let call = match connection.call().await {
        Ok(Some(call)) => call,
        Ok(None) | Err(Error::HungUp) => return After::Go,
        Err(error) => {
            let _ = connection.fail(&error).await;
            return After::Go;
        }
    };
    let power_off = call == Call::PowerOff;
    match agent.answer(&mut connection, call).await {
        Ok(()) | Err(Error::HungUp) => {}
        Err(error) => {
            let _ = connection.fail(&error).await;
        }
    }
    if !power_off {
        return After::Go;
    }
    // The answer must be out before the power goes.
    let _ = tokio::time::timeout(LAST_WORD, Connection::hung_up(&mut connection.reader)).await;
    After::PowerOff
}

/// One call's connection.
#[derive(Debug)]
pub struct Connection<S> {
    /// The host's side of the conversation.
    pub reader: ReadHalf<S>,
    /// The agent's.
    pub writer: WriteHalf<S>,
}

impl<S: AsyncRead + AsyncWrite> Connection<S> {
    /// The next call; `None` when the host hung up.
    pub async fn call(&mut self) -> Result<Option<Call>> {
        match read_frame(&mut self.reader, GUEST_FRAME_LIMIT).await {
            Ok(call) => Ok(call),
            Err(FrameError::Io(_)) => Err(Error::HungUp),
            Err(error) => Err(Error::Invalid(format!("not a call: {error}"))),
        }
    }

    /// Sends one answer.
    pub async fn reply(&mut self, reply: &Reply) -> Result<()> {
        write_frame(&mut self.writer, reply).await.map_err(|_| Error::HungUp)
    }

    async fn fail(&mut self, error: &Error) -> Result<()> {
        self.reply(&Reply::Error(AgentError::from(error))).await
    }

    /// Returns when the host hangs up (or speaks out of turn).
    pub async fn hung_up(reader: &mut ReadHalf<S>) {
        let _ = read_frame::<Call>(reader, GUEST_FRAME_LIMIT).await;
    }

    /// Does `work`, which is given up when the host hangs up.
    pub async fn unless_hung_up<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            result = work => result,
            () = Self::hung_up(&mut self.reader) => Err(Error::HungUp),
        }
    }

    /// Sends what `work` says, as it says it. The work ends early when the host hangs up.
    async fn stream(
        &mut self,
        work: impl FnOnce(&mut dyn FnMut(Reply) -> Result<()>) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let (sender, mut replies) = mpsc::channel(QUEUE);
        let work = tokio::task::spawn_blocking(move || {
            work(&mut |reply| sender.blocking_send(reply).map_err(|_| Error::HungUp))
        });
        while let Some(reply) = replies.recv().await {
            self.reply(&reply).await?;
        }
        work.await.unwrap_or(Err(Error::HungUp))
    }
}

impl Agent {
    async fn answer<S>(self: &Arc<Self>, host: &mut Connection<S>, call: Call) -> Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        match call {
            Call::Ping => host.reply(&Reply::Alive).await,
            Call::Exec(request) => {
                self.execs.start(request, None).await?;
                host.reply(&Reply::Started).await
            }
            Call::ExecAs { request, user } => {
                let user = self.find_user(user).await?;
                self.execs.start(request, Some(user)).await?;
                host.reply(&Reply::Started).await
            }
            Call::SetOwner { user } => {
                self.workspace.set_owner(&self.find_user(user).await?)?;
                host.reply(&Reply::Done).await
            }
            Call::Attach { id, stdout_from, stderr_from } => {
                let command = self.execs.get(id)?;
                attach(host, &command, stdout_from, stderr_from).await
            }
            Call::Kill { id } => {
                self.execs.kill(id).await?;
                host.reply(&Reply::Done).await
            }
            Call::ListExecs => host.reply(&Reply::Execs(self.execs.list())).await,
            Call::Forget { id } => {
                self.execs.forget(id)?;
                host.reply(&Reply::Done).await
            }
            Call::Report { full } => {
                let agent = self.clone();
                host.stream(move |send| {
                    let changes = |batch| send(Reply::Changes(batch));
                    let end = report::report(&agent.workspace, &agent.hashes, full, changes)?;
                    send(Reply::ReportEnd(end))
                })
                .await
            }
            Call::Cut { paths } => {
                let workspace = self.workspace.clone();
                host.stream(move |send| content::cut_files(&workspace, &paths, send)).await
            }
            Call::Read { pieces } => {
                let workspace = self.workspace.clone();
                host.stream(move |send| content::read_pieces(&workspace, &pieces, send)).await
            }
            Call::StagePush { id, dest, item } => {
                push::serve(self, host, push::Request { id, dest, item }).await
            }
            Call::CommitPush | Call::AbortPush => {
                Err(Error::Invalid("no push is staged on this connection".into()))
            }
            Call::Freeze { within_ms, hold_ms } => {
                let ms = |ms| Duration::from_millis(u64::from(ms));
                freeze::serve(&self.place, host, ms(within_ms), ms(hold_ms)).await
            }
            Call::Thaw => Err(Error::Invalid("nothing is frozen on this connection".into())),
            Call::PowerOff => host.reply(&Reply::Done).await,
            Call::OpenShell(request) => {
                let shell = shell::calls::open(&self.shells, request, None).await?;
                host.reply(&Reply::Shell(shell)).await
            }
            Call::OpenShellAs { request, user } => {
                let user = self.find_user(user).await?;
                let shell = shell::calls::open(&self.shells, request, Some(user)).await?;
                host.reply(&Reply::Shell(shell)).await
            }
            Call::ListShells
            | Call::ReadShell { .. }
            | Call::FollowShell { .. }
            | Call::WriteShell { .. }
            | Call::SignalShell { .. }
            | Call::ResizeShell { .. }
            | Call::CloseShell { .. } => shell::calls::answer(&self.shells, host, call).await,
        }
    }

    async fn find_user(&self, user: UserName) -> Result<Identity> {
        let place = self.place.clone();
        let found = tokio::task::spawn_blocking(move || place.find_user(&user.0)).await;
        found.unwrap_or(Err(Error::HungUp))
    }
}

/// Passes a command's output on until it has ended or the host hangs up.
async fn attach<S: AsyncRead + AsyncWrite>(
    host: &mut Connection<S>,
    command: &Command,
    stdout_from: u64,
    stderr_from: u64,
) -> Result<()> {
    let Connection { reader, writer } = host;
    let follow = async {
        let mut stdout = command.reader(Stream::Stdout, stdout_from);
        let mut stderr = command.reader(Stream::Stderr, stderr_from);
        let (mut stdout_open, mut stderr_open) = (true, true);
        while stdout_open || stderr_open {
            let (stream, piece) = tokio::select! {
                piece = stdout.next(), if stdout_open => (Stream::Stdout, piece),
                piece = stderr.next(), if stderr_open => (Stream::Stderr, piece),
            };
            match (piece, stream) {
                (Some((offset, data)), stream) => {
                    let output = Reply::Output { stream, offset, data };
                    write_frame(writer, &output).await.map_err(|_| Error::HungUp)?;
                }
                (None, Stream::Stdout) => stdout_open = false,
                (None, Stream::Stderr) => stderr_open = false,
            }
        }
        let exit = command.exit().await.ok_or(Error::HungUp)?;
        write_frame(writer, &Reply::Exited(exit)).await.map_err(|_| Error::HungUp)
    };
    tokio::select! {
        result = follow => result,
        () = Connection::hung_up(reader) => Err(Error::HungUp),
    }
}
