//! One function for each command: call, then print. The result is the exit code.

mod apply;
mod ask;
mod attach;
pub mod daemon;
mod demo;
mod detached;
mod diff;
mod environment;
mod exec;
mod export;
mod here;
mod mcp;
mod shell;
mod snapshot;
mod store;
mod vm;
mod workspace;

use std::io;

use clap::CommandFactory;
use clap_complete::{Shell as Generator, generate};
use pyro_api::{Doctor, ErrorCode};
use serde::Serialize;

use crate::args::{Cli, Command, CompletionsArgs, ExecCommand, Shell, VmCommand, WorkspaceCommand};
use crate::error::{Error, ExitCodes};
use crate::print;
use crate::session::Session;

/// Exit code of success.
const OK: u8 = 0;

/// Whose exit code the command has.
pub fn exit_codes(command: &Command) -> ExitCodes {
    match command {
        Command::Run(_) | Command::Here(_) | Command::Vm(VmCommand::Exec(_)) => ExitCodes::Guest,
        Command::Workspace(WorkspaceCommand::Exec(args)) => match (&args.command, &args.start) {
            (None, Some(start)) if start.detach => ExitCodes::Own,
            (None, _) | (Some(ExecCommand::Wait(_)), _) => ExitCodes::Guest,
            _ => ExitCodes::Own,
        },
        _ => ExitCodes::Own,
    }
}

/// Runs any command that is a client of the daemon.
pub async fn dispatch(session: &Session, command: Command) -> Result<u8, Error> {
    match command {
        Command::Doctor => doctor(session).await,
        Command::Env(command) => environment::env(session, command).await,
        Command::Run(args) => exec::run(session, args).await,
        Command::Here(args) => here::here(session, args).await,
        Command::Workspace(command) => workspace::workspace(session, command).await,
        Command::Mcp(command) => mcp::mcp(session, command).await,
        Command::Vm(command) => vm::vm(session, command).await,
        Command::Store(command) => store::store(session, command).await,
        Command::Demo => demo::demo(session).await,
        Command::Completions(args) => completions(session, args),
        Command::Daemon(command) => daemon::daemon(session, command).await,
        Command::Shim { .. } => Err(Error::usage("a shim is a process of its own")),
    }
}

/// `--id-only` asks for something that is no document.
fn check_id_only(session: &Session, id_only: bool) -> Result<(), Error> {
    if id_only && session.ui.json {
        return Err(Error::usage("--id-only and --json exclude each other"));
    }
    Ok(())
}

/// Prints what was made, or its id and nothing else.
fn made<R: Serialize>(
    session: &Session,
    made: &R,
    id: &str,
    id_only: bool,
    human: impl FnOnce(&R) -> String,
) -> Result<(), Error> {
    if id_only {
        return session.ui.text(&format!("{}\n", print::shown(id)));
    }
    session.ui.reply(made, human)
}

async fn doctor(session: &Session) -> Result<u8, Error> {
    let reply = session.call(&Doctor {}).await?;
    session.ui.reply(&reply, print::machine::doctor)?;
    Ok(if reply.ready { OK } else { ErrorCode::MissingTool.exit_code() })
}

fn completions(session: &Session, args: CompletionsArgs) -> Result<u8, Error> {
    if session.ui.json {
        return Err(Error::usage("a completion script is not JSON").hint("leave --json out"));
    }
    let shell = match args.shell {
        Shell::Bash => Generator::Bash,
        Shell::Elvish => Generator::Elvish,
        Shell::Fish => Generator::Fish,
        Shell::Powershell => Generator::PowerShell,
        Shell::Zsh => Generator::Zsh,
    };
    let mut script = io::Cursor::new(Vec::new());
    generate(shell, &mut Cli::command(), "pyro", &mut script);
    session.ui.bytes(script.get_ref())?;
    Ok(OK)
}
