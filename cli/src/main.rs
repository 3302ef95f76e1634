//! The `pyro` command: parse, call the daemon, print.
//!
//! ```text
//! argv ─args─▶ Cli ─resolve─▶ calls ─session─▶ daemon ─▶ replies ─print─▶ stdout
//!                                └── launch: starts the daemon when none runs
//! ```
//!
//! The same file is the daemon (`pyro daemon run`) and the per-VM shim (`pyro shim DIR`).

mod args;
mod commands;
#[cfg(test)]
mod docs;
mod document;
mod error;
mod launch;
mod modes;
mod patch;
mod print;
mod progress;
mod resolve;
mod screen;
mod session;
mod signals;
mod sys;
mod terminal;
mod ui;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::Parser;
use pyro_api::{ErrorBody, ErrorCode};

use crate::args::{Cli, Command, DaemonCommand};
use crate::error::{Error, ExitCodes};
use crate::session::Session;
use crate::signals::Interrupts;
use crate::ui::Ui;

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&argv) {
        Ok(cli) => cli,
        Err(error) => return not_parsed(&error, &argv),
    };
    match cli.command {
        Command::Daemon(DaemonCommand::Run) => commands::daemon::run(),
        Command::Shim { dir } => pyro_machine::run_shim(&dir),
        command => client(cli.json, command),
    }
}

/// Help and versions are data; everything else that stops the parser is a usage error.
fn not_parsed(error: &clap::Error, argv: &[OsString]) -> ExitCode {
    let wants_json =
        argv.iter().take_while(|word| *word != "--").any(|word| word == OsStr::new("--json"));
    if !wants_json || !error.use_stderr() {
        // A closed stream leaves nobody to tell.
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    let text = error.render().to_string();
    let mut parts = text.trim().split("\n\n");
    let message = parts.next().unwrap_or_default().trim_start_matches("error: ");
    let message = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let usage = parts.find_map(|part| part.trim().strip_prefix("Usage: "));
    let mut body = ErrorBody::new(ErrorCode::InvalidArgument, message);
    if let Some(usage) = usage {
        let usage = usage.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        body = body.hint(format!("usage: {usage}"));
    }
    Ui::standard(true).failure(body);
    ExitCode::from(ErrorCode::InvalidArgument.exit_code())
}

fn client(json: bool, command: Command) -> ExitCode {
    // The worker is for signals: the main task may be stuck writing into a full pipe.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(source) => {
            let error = Error::system("the runtime cannot start", source);
            let code = error.exit_code(ExitCodes::Own);
            Ui::standard(json).failure(error.into_body());
            return code.into();
        }
    };
    let codes = commands::exit_codes(&command);
    let code = runtime.block_on(async {
        let begin = || {
            let interrupts = Interrupts::listen()
                .map_err(|source| Error::system("signals cannot be listened to", source))?;
            Session::new(Ui::standard(json), interrupts)
        };
        let (session, result) = match begin() {
            Ok(session) => {
                let result = commands::dispatch(&session, command).await;
                (Some(session), result)
            }
            Err(error) => (None, Err(error)),
        };
        let error = match result {
            Ok(code) => return code,
            Err(error) => error,
        };
        let code = error.exit_code(codes);
        if !error.is_broken_pipe() {
            let ui = session.map_or_else(|| Ui::standard(json), |session| session.ui);
            ui.failure(error.into_body());
        }
        code
    });
    // A launcher that still waits for its daemon must not hold up the end.
    runtime.shutdown_background();
    code.into()
}
