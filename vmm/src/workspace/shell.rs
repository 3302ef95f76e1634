//! Shells: the agent owns them, and with them what they print. The host keeps nothing but the
//! number of the next one, so that they outlive daemons; and it believes nothing unchecked.

mod plain;
mod signal;
mod text;

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use pyro_api::{
    OutputStream, ShellClose, ShellCloseReply, ShellFollow, ShellInfo, ShellList, ShellListReply,
    ShellOpen, ShellRead, ShellReadReply, ShellResize, ShellSignal, ShellSignalReply, ShellState,
    ShellWrite, ShellWriteReply,
};
use pyro_format::escape;
use pyro_proto::{
    ByteString, Call, ErrorKind, MAX_DATA, Reply, SHELLS_SINCE, ShellId, ShellRequest, Stream,
    TerminalSize,
};
use tokio::time::timeout;

use super::boot::POWER_OFF;
use super::{Workspace, path};
use crate::error::{Error, Result};
use crate::events::Events;
use crate::guest::link::{Conversation, GuestError};

/// Size of a terminal that is not asked for.
const SIZE: TerminalSize = TerminalSize { cols: 120, rows: 30 };
/// Largest size of a terminal in either direction.
const MAX_SIZE: u16 = 1000;
/// Characters of an answer that does not say.
const CHARS: u64 = 65_536;
/// Most characters in an answer.
const MAX_CHARS: u64 = 1 << 20;
/// Longest silence that a reader can wait for, in milliseconds.
const MAX_IDLE_MS: u64 = 10_000;
/// Most bytes typed at once.
const MAX_INPUT: usize = 1 << 20;
/// Shells that an honest agent has open at most.
const MOST_SHELLS: usize = 32;
/// Longest path of a working directory (PATH_MAX).
const MAX_CWD: usize = 4096;

impl Workspace {
    /// Opens a shell. Dropping the future closes it again.
    pub async fn open_shell(self: &Arc<Self>, call: &ShellOpen) -> Result<ShellInfo> {
        let cwd = path::working_directory(call.cwd.as_ref())?;
        let size = terminal_size(call.cols.unwrap_or(SIZE.cols), call.rows.unwrap_or(SIZE.rows))?;
        let env = self.variables(&call.env);
        let _guard = self.in_use().await?;
        self.refuse_old_guest()?;
        let user = self.runner(call.user.as_deref())?;
        // The record comes first: a number is never used again, whatever happens.
        let id = self.update(|record| {
            record.next_shell += 1;
            record.next_shell - 1
        })?;
        let mut leash = Leash { workspace: self.clone(), id, held: true };
        let request = ShellRequest { id, cwd: ByteString(cwd.0), size, env };
        let open = match user {
            None => Call::OpenShell(request),
            Some(user) => Call::OpenShellAs { request, user },
        };
        let reply = match Conversation::open(&self.machine, &open).await {
            Ok(mut conversation) => conversation.next().await,
            Err(error) => Err(error),
        };
        // Refused, or open: not half done any more.
        leash.held = !matches!(reply, Ok(Reply::Shell(_)) | Err(GuestError::Refused(_)));
        match reply {
            Ok(Reply::Shell(shell)) => self.checked(id, shell),
            Ok(_) => Err(GuestError::Unexpected.into()),
            Err(error) => Err(self.blame(error).await),
        }
    }

    /// The shells that were not closed.
    pub async fn list_shells(&self, _: &ShellList) -> Result<ShellListReply> {
        drop(self.in_use().await?);
        self.refuse_old_guest()?;
        let reply = match Conversation::open(&self.machine, &Call::ListShells).await {
            Ok(mut conversation) => conversation.next().await,
            Err(error) => Err(error),
        };
        let shells = match reply {
            Ok(Reply::Shells(shells)) => shells,
            Ok(_) => return Err(GuestError::Unexpected.into()),
            Err(error) => return Err(self.blame(error).await),
        };
        if shells.len() > MOST_SHELLS || !shells.is_sorted_by(|a, b| a.id < b.id) {
            return Err(GuestError::Unexpected.into());
        }
        let shells = shells.into_iter().map(|shell| self.checked(shell.id, shell));
        Ok(ShellListReply { shells: shells.collect::<Result<_>>()? })
    }

    /// What a shell printed from a cursor on.
    pub async fn read_shell(&self, call: &ShellRead) -> Result<ShellReadReply> {
        let max = call.max_chars.unwrap_or(CHARS);
        if max == 0 || max > MAX_CHARS {
            return Err(Error::Invalid(format!("max_chars is {max}, not 1 to {MAX_CHARS}")));
        }
        let idle = call.wait_for_idle_ms.unwrap_or(0);
        if idle > MAX_IDLE_MS {
            return Err(Error::Invalid(format!(
                "wait_for_idle_ms is {idle}; at most {MAX_IDLE_MS} can be waited for"
            )));
        }
        // A character has four bytes at most; plain text has fewer than the bytes that it is in.
        let max = max as usize;
        let wanted = if call.plain { MAX_DATA } else { (max * 4).min(MAX_DATA) };
        let read = |id| Call::ReadShell {
            id,
            from: call.cursor,
            max: wanted as u32,
            idle_ms: idle as u32,
        };
        let (id, mut conversation) = self.with_shell(&call.shell_id, read).await?;
        let (shell, offset, data) = match conversation.next().await {
            Ok(Reply::ShellOutput { shell, offset, data }) => (shell, offset, data),
            Ok(_) => return Err(GuestError::Unexpected.into()),
            Err(error) => return Err(self.blame_in(id, error).await),
        };
        let printed = shell.printed;
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= printed);
        let (Some(end), true) = (end, offset >= call.cursor && data.len() <= wanted) else {
            return Err(GuestError::Unexpected.into());
        };
        let shell = self.checked(id, shell)?;
        let to_come = end < printed || shell.state == ShellState::Running;
        let (output, output_b64, consumed, held_back) = if call.plain {
            let plain = plain::render(&data, shell.cols.into(), max, to_come);
            (plain.text, None, plain.consumed, plain.held_back)
        } else {
            let held_back = if to_come { text::incomplete_utf8(&data) } else { 0 };
            let usable = &data[..data.len() - held_back];
            let consumed = text::prefix_of_chars(usable, max);
            let exact = &data[..consumed];
            let b64 = std::str::from_utf8(exact).is_err().then(|| STANDARD.encode(exact));
            let held_back = if consumed == usable.len() { held_back } else { 0 };
            (String::from_utf8_lossy(exact).into_owned(), b64, consumed, held_back)
        };
        Ok(ShellReadReply {
            shell,
            cursor: offset,
            next_cursor: offset + consumed as u64,
            output,
            output_b64,
            truncated: offset > call.cursor || end < printed || consumed + held_back < data.len(),
        })
    }

    /// Follows what a shell prints until its program has ended.
    pub async fn follow_shell(&self, call: &ShellFollow, events: &Events) -> Result<ShellInfo> {
        let follow = |id| Call::FollowShell { id, from: call.cursor };
        let (id, mut conversation) = self.with_shell(&call.shell_id, follow).await?;
        let mut at = call.cursor;
        loop {
            match conversation.next_whenever().await {
                Ok(Reply::Output { stream: Stream::Stdout, offset, data })
                    if offset >= at && data.len() <= MAX_DATA =>
                {
                    let end = offset.checked_add(data.len() as u64);
                    at = end.ok_or(GuestError::Unexpected)?;
                    events.output(OutputStream::Stdout, offset, &data).await;
                }
                Ok(Reply::Shell(shell)) => return self.checked(id, shell),
                Ok(_) => return Err(GuestError::Unexpected.into()),
                Err(error) => return Err(self.blame_in(id, error).await),
            }
        }
    }

    /// Types into a shell.
    pub async fn write_shell(&self, call: &ShellWrite) -> Result<ShellWriteReply> {
        let len = call.input.0.len();
        if len > MAX_INPUT {
            return Err(Error::Invalid(format!(
                "the input has {len} bytes, and at most {MAX_INPUT} are typed at once: send it in \
                 pieces, or as a file with 'pyro workspace sync push'"
            )));
        }
        let mut data = call.input.0.clone();
        if call.append_newline {
            data.push(b'\n');
        }
        let write = |id| Call::WriteShell { id, data };
        Ok(ShellWriteReply {
            shell: self.change_shell(&call.shell_id, write).await?,
            input_length: len as u64,
            append_newline: call.append_newline,
        })
    }

    /// Sends a signal to what runs in a shell's foreground.
    pub async fn signal_shell(&self, call: &ShellSignal) -> Result<ShellSignalReply> {
        let (name, signal) = signal::parse(call.signal.as_deref().unwrap_or("INT"))?;
        let send = |id| Call::SignalShell { id, signal };
        let shell = self.change_shell(&call.shell_id, send).await?;
        Ok(ShellSignalReply { shell, signal: name.to_owned() })
    }

    /// Changes the size of a shell's terminal.
    pub async fn resize_shell(&self, call: &ShellResize) -> Result<ShellInfo> {
        let size = terminal_size(call.cols, call.rows)?;
        self.change_shell(&call.shell_id, |id| Call::ResizeShell { id, size }).await
    }

    /// Ends a shell with all that it started.
    pub async fn close_shell(&self, call: &ShellClose) -> Result<ShellCloseReply> {
        let shell = self.change_shell(&call.shell_id, |id| Call::CloseShell { id }).await?;
        Ok(ShellCloseReply { shell, closed: true })
    }

    /// Makes a call that is answered with the shell.
    async fn change_shell(
        &self,
        shell: &str,
        call: impl FnOnce(ShellId) -> Call,
    ) -> Result<ShellInfo> {
        let (id, mut conversation) = self.with_shell(shell, call).await?;
        match conversation.next().await {
            Ok(Reply::Shell(shell)) => self.checked(id, shell),
            Ok(_) => Err(GuestError::Unexpected.into()),
            Err(error) => Err(self.blame_in(id, error).await),
        }
    }

    /// Begins a call of a shell. Nothing keeps the workspace from being stopped meanwhile.
    async fn with_shell(
        &self,
        shell: &str,
        call: impl FnOnce(ShellId) -> Call,
    ) -> Result<(ShellId, Conversation)> {
        drop(self.in_use().await?);
        self.refuse_old_guest()?;
        let number = shell.strip_prefix("shell-").and_then(|number| number.parse().ok());
        let id = number.filter(|id| shell_name(*id) == shell).ok_or_else(|| {
            let (workspace, shell) = (self.id(), escape(shell.as_bytes()));
            Error::UnknownShell { workspace, shell, was_open: false }
        })?;
        match Conversation::open(&self.machine, &call(id)).await {
            Ok(conversation) => Ok((id, conversation)),
            Err(error) => Err(self.blame(error).await),
        }
    }

    fn refuse_old_guest(&self) -> Result<()> {
        let record = self.record();
        if record.generation < SHELLS_SINCE {
            return Err(Error::OldGuest { workspace: record.id, lacks: "shells" });
        }
        Ok(())
    }

    /// What is wrong when a call of one shell failed.
    async fn blame_in(&self, id: ShellId, error: GuestError) -> Error {
        let kind = match &error {
            GuestError::Refused(error) => Some(error.kind),
            _ => None,
        };
        let (workspace, shell) = (self.id(), shell_name(id));
        match kind {
            Some(ErrorKind::NotFound) => {
                let was_open = id > 0 && id < self.record().next_shell;
                Error::UnknownShell { workspace, shell, was_open }
            }
            Some(ErrorKind::Ended) => Error::ShellStopped { workspace, shell },
            _ => self.blame(error).await,
        }
    }

    /// A guest that does not answer because its machine ends is no guest's fault. The agent hangs up
    /// first, and the machine ends when its disks are synced.
    async fn blame(&self, error: GuestError) -> Error {
        match error {
            GuestError::Refused(_) | GuestError::Unexpected => error.into(),
            _ => match timeout(POWER_OFF, self.machine.wait_exit()).await {
                Ok(_) => Error::Stopped(self.id()),
                Err(_) => error.into(),
            },
        }
    }

    /// What a guest tells of the shell `id`, if it can be true.
    fn checked(&self, id: ShellId, shell: pyro_proto::ShellInfo) -> Result<ShellInfo> {
        let record = self.record();
        let TerminalSize { cols, rows } = shell.size;
        let sized = [cols, rows].iter().all(|size| (1..=MAX_SIZE).contains(size));
        let ended = shell.exit.is_none_or(|exit| (0..=255).contains(&exit.code));
        let known = shell.id == id && id < record.next_shell;
        if !(sized && ended && known && shell.cwd.0.len() <= MAX_CWD) {
            return Err(GuestError::Unexpected.into());
        }
        let time = |ns: u64| match Timestamp::from_nanosecond(ns.into()) {
            Ok(time) => Ok(time.to_string()),
            Err(_) => Err(GuestError::Unexpected),
        };
        Ok(ShellInfo {
            workspace_id: record.id,
            shell_id: shell_name(id),
            cwd: String::from_utf8_lossy(&shell.cwd.0).into_owned(),
            cols,
            rows,
            state: if shell.exit.is_some() { ShellState::Stopped } else { ShellState::Running },
            started_at: time(shell.started_ns)?,
            ended_at: shell.exit.map(|exit| time(exit.ended_ns)).transpose()?,
            exit_code: shell.exit.map(|exit| exit.code),
            execution_mode: record.backend.name().to_owned(),
        })
    }
}

fn shell_name(id: ShellId) -> String {
    format!("shell-{id}")
}

fn terminal_size(cols: u16, rows: u16) -> Result<TerminalSize> {
    for (what, size) in [("columns", cols), ("rows", rows)] {
        if !(1..=MAX_SIZE).contains(&size) {
            return Err(Error::Invalid(format!(
                "a terminal has 1 to {MAX_SIZE} {what}, not {size}"
            )));
        }
    }
    Ok(TerminalSize { cols, rows })
}

/// Closes a shell that its caller never heard of; but not when the daemon itself is going.
struct Leash {
    workspace: Arc<Workspace>,
    id: ShellId,
    held: bool,
}

impl Drop for Leash {
    fn drop(&mut self) {
        if self.held && !self.workspace.closing.is_set() {
            let (workspace, id) = (self.workspace.clone(), self.id);
            tokio::spawn(async move {
                let close = Conversation::open(&workspace.machine, &Call::CloseShell { id }).await;
                if let Ok(mut conversation) = close {
                    let _ = conversation.next().await;
                }
            });
        }
    }
}
