//! The host's calls of shells.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use pyro_proto::{
    Call, MAX_DATA, MAX_TYPED, Reply, ShellInfo, ShellRequest, Stream, TerminalSize, write_frame,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Shell, Shells};
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::serve::Connection;

/// Most bytes handed to a follower at once.
const PIECE: usize = 64 << 10;

/// Answers a call of shells that exist.
pub async fn answer<S>(shells: &Arc<Shells>, host: &mut Connection<S>, call: Call) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let shell = match call {
        Call::ListShells => return host.reply(&Reply::Shells(shells.list())).await,
        Call::ReadShell { id, from, max, idle_ms } => {
            let shell = shells.get(id)?;
            let max = (max as usize).min(MAX_DATA);
            let idle = Duration::from_millis(idle_ms.into());
            let read = async { shell.read(from, max, idle).await };
            let (offset, data) = host.unless_hung_up(read).await?;
            let shell = shell.info();
            return host.reply(&Reply::ShellOutput { shell, offset, data }).await;
        }
        Call::FollowShell { id, from } => return follow(host, &*shells.get(id)?, from).await,
        Call::WriteShell { id, data } => {
            let shell = shells.get(id)?;
            if data.len() > MAX_TYPED {
                return Err(Error::Invalid(format!("more than {MAX_TYPED} bytes of input")));
            }
            host.unless_hung_up(shell.write(&data)).await?;
            shell.info()
        }
        Call::SignalShell { id, signal } => {
            let shell = shells.get(id)?;
            let signal = Signal::try_from(i32::from(signal));
            let signal = signal.map_err(|_| Error::Invalid("no such signal".into()))?;
            shell.signal(signal)?;
            shell.info()
        }
        Call::ResizeShell { id, size } => {
            let shell = shells.get(id)?;
            sized(size)?;
            shell.resize(size)?;
            shell.info()
        }
        Call::CloseShell { id } => shells.close(id).await?,
        _ => return Err(Error::Invalid("not a call of shells".into())),
    };
    host.reply(&Reply::Shell(shell)).await
}

/// Opens a shell, of a user of the environment or of root.
pub async fn open(
    shells: &Arc<Shells>,
    request: ShellRequest,
    user: Option<Identity>,
) -> Result<ShellInfo> {
    sized(request.size)?;
    Ok(shells.open(request, user).await?.info())
}

fn sized(size: TerminalSize) -> Result<()> {
    if size.cols == 0 || size.rows == 0 {
        return Err(Error::Invalid("a terminal has at least one column and one row".into()));
    }
    Ok(())
}

/// Passes on what a shell prints until its program has ended or the host hangs up.
async fn follow<S>(host: &mut Connection<S>, shell: &Shell, from: u64) -> Result<()>
where
    S: AsyncRead + AsyncWrite,
{
    shell.refuse_past_end(from)?;
    let Connection { reader, writer } = host;
    let follow = async {
        let mut at = from;
        while let Some((offset, data)) = shell.output.next(at, PIECE).await {
            at = offset + data.len() as u64;
            let output = Reply::Output { stream: Stream::Stdout, offset, data };
            write_frame(writer, &output).await.map_err(|_| Error::HungUp)?;
        }
        write_frame(writer, &Reply::Shell(shell.info())).await.map_err(|_| Error::HungUp)
    };
    tokio::select! {
        result = follow => result,
        () = Connection::hung_up(reader) => Err(Error::HungUp),
    }
}
