//! Commands that belong to no caller: started, read, awaited and killed by their number.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use pyro_api::{Call, ExecKill, ExecRead, ExecStart, ExecState, ExecView};
use tokio::time::Instant;

use super::OK;
use super::exec::{DAEMONS, TIMED_OUT, exit_code};
use crate::args::{ExecCommand, ExecStartArgs};
use crate::error::Error;
use crate::print::exec as print;
use crate::session::Session;
use crate::ui::Ui;

/// Exit code when the waiting has ended before the command, as `timeout(1)` has it.
const STILL_RUNS: u8 = 124;
/// Longer than any command, in seconds.
const FOREVER: f64 = 1e9;

/// `pyro workspace exec --detach`
pub async fn start(session: &Session, args: ExecStartArgs) -> Result<u8, Error> {
    let handle = args.workspace_id.clone();
    let view = session.call(&ExecStart::from(args)).await?;
    session.ui.reply(&view, |view| print::started(&handle, view))?;
    Ok(OK)
}

/// `pyro workspace exec read | wait | kill`
pub async fn exec(session: &Session, command: ExecCommand) -> Result<u8, Error> {
    match command {
        ExecCommand::Read(args) => {
            let view = again(session, &ExecRead::from(args)).await?;
            show(&session.ui, &view)?;
            Ok(OK)
        }
        ExecCommand::Wait(args) => {
            let view = wait(session, args.into()).await?;
            show(&session.ui, &view)?;
            Ok(ending(&session.ui, &view))
        }
        ExecCommand::Kill(args) => {
            let view = again(session, &ExecKill::from(args)).await?;
            session.ui.reply(&view, print::killed)?;
            Ok(OK)
        }
    }
}

/// Makes a call that may be made twice, through the deaths of daemons.
async fn again<C: Call>(session: &Session, call: &C) -> Result<C::Reply, Error> {
    let mut result = session.call(call).await;
    for _ in 0..DAEMONS {
        match &result {
            Err(error) if error.daemon_lost() => result = session.call(call).await,
            _ => break,
        }
    }
    result
}

/// Waits for a command's end, or for as long as the call says; a daemon's death is not the end.
async fn wait(session: &Session, mut call: ExecRead) -> Result<ExecView, Error> {
    let limit = call.wait_seconds.and_then(|wait| Duration::try_from_secs_f64(wait).ok());
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let mut deaths = 0;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        call.wait_seconds = Some(left.map_or(FOREVER, |left| left.as_secs_f64()));
        match session.call(&call).await {
            Err(error) if error.daemon_lost() && deaths < DAEMONS => deaths += 1,
            result => return result,
        }
    }
}

/// The document, or the bytes of both streams as they are.
fn show(ui: &Ui, view: &ExecView) -> Result<(), Error> {
    if ui.json {
        return ui.document(view);
    }
    ui.bytes(&exact(&view.stdout, view.stdout_b64.as_deref()))?;
    ui.error_bytes(&exact(&view.stderr, view.stderr_b64.as_deref()));
    Ok(())
}

fn exact(text: &str, b64: Option<&str>) -> Vec<u8> {
    b64.and_then(|b64| STANDARD.decode(b64).ok()).unwrap_or_else(|| text.as_bytes().to_vec())
}

fn ending(ui: &Ui, view: &ExecView) -> u8 {
    match (view.state, view.exit_code) {
        (ExecState::Exited, Some(code)) => {
            if view.timed_out {
                ui.note(TIMED_OUT);
            }
            exit_code(code)
        }
        _ => {
            ui.note(format_args!("pyro: command {} still runs", view.sequence));
            STILL_RUNS
        }
    }
}
