//! `pyro daemon ...`, hidden: being the daemon, and looking after it.

use std::process::ExitCode;

use pyro_api::{ClientError, DaemonStatus, Home, Shutdown};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::OK;
use crate::args::DaemonCommand;
use crate::error::{Error, ExitCodes};
use crate::print;
use crate::session::Session;
use crate::ui::Ui;

/// How long the daemon may take to end once it has said that it does.
const LAST_STEPS: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Is the daemon until its end. Standard output is for whoever launched it, and only until it
/// listens.
pub fn run() -> ExitCode {
    match Home::from_env() {
        Ok(home) => {
            crate::sys::return_memory();
            pyro_vmm::daemon::run(home)
        }
        Err(error) => {
            let error = Error::from(error);
            let code = error.exit_code(ExitCodes::Own);
            Ui::standard(false).failure(error.into_body());
            code.into()
        }
    }
}

/// `pyro daemon status` and `stop`
pub async fn daemon(session: &Session, command: DaemonCommand) -> Result<u8, Error> {
    let client = session.client();
    let status = client.call(&DaemonStatus {}, |_| {}).await;
    match (command, status) {
        (DaemonCommand::Stop { .. }, Err(ClientError::Absent { .. })) => {
            session.ui.note("no daemon runs");
            if session.ui.json {
                session.ui.document(&serde_json::Value::Null)?;
            }
        }
        (DaemonCommand::Stop { now }, status) => {
            let pid = Pid::from_raw(i32::try_from(status?.pid).unwrap_or(0));
            // Opened while the daemon lives: its number cannot come to mean another process.
            let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            let reply = client.call(&Shutdown { drain: !now }, |_| {}).await?;
            if let Some(process) = process {
                let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&LAST_STEPS));
            }
            session.ui.reply(&reply, |reply| format!("daemon {} has ended\n", reply.pid))?;
        }
        (_, status) => session.ui.reply(&status?, print::machine::daemon)?,
    }
    Ok(OK)
}
