//! `pyro mcp serve`

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use pyro_api::{ErrorBody, ErrorCode};
use pyro_mcp::{HttpOptions, Options, Profile, ServeError, Server, Token, TokenError};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::OK;
use crate::args::{McpCommand, ProfileArg, ServeArgs};
use crate::error::Error;
use crate::launch::SelfLauncher;
use crate::session::Session;

/// What `--http --json` prints once clients can connect.
#[derive(Debug, Serialize)]
struct ReadyDocument {
    /// Where clients connect to.
    url: String,
    /// File that holds the token; null when the token came from elsewhere, or none is asked for.
    token_file: Option<PathBuf>,
}

/// `pyro mcp ...`
pub async fn mcp(session: &Session, command: McpCommand) -> Result<u8, Error> {
    let McpCommand::Serve(args) = command;
    let address = args.address();
    if address.is_none() && session.ui.json {
        let error = Error::usage("standard output belongs to the protocol: there is no --json");
        return Err(error.hint("with --http it prints the address as JSON"));
    }
    let home = session.client().home().clone();
    home.create()?;
    let server = Server::new(options(&args)?, home.clone(), SelfLauncher).map_err(refused)?;
    let stop = CancellationToken::new();
    let Some(address) = address else {
        let serving = pyro_mcp::serve_stdio(&server, stop.clone());
        return until_stopped(session, &stop, serving).await;
    };
    let token_file = Token::path(&home);
    let (token, token_file) = match given_token(&args)? {
        Some(token) => (Some(token), None),
        None if args.no_token => (None, None),
        None => (Some(Token::of_home(&home).map_err(bad_token)?), Some(token_file)),
    };
    let listening = pyro_mcp::bind(HttpOptions { address, token }).await.map_err(refused)?;
    let url = listening.url();
    if session.ui.json {
        session.ui.document(&ReadyDocument { url, token_file })?;
    } else {
        session.ui.note(format_args!("pyro: serving MCP at {url}"));
        match token_file {
            Some(file) => session.ui.note(format_args!("pyro: its token is in {}", file.display())),
            None if args.no_token => {
                session.ui.warn("no token is asked for: every user of this host can use it");
            }
            None => {}
        }
    }
    let serving = pyro_mcp::serve_http(&server, listening, stop.clone());
    until_stopped(session, &stop, serving).await
}

/// Serves until the client is done, or until a signal, whose exit code it then has.
async fn until_stopped(
    session: &Session,
    stop: &CancellationToken,
    serving: impl Future<Output = Result<(), ServeError>>,
) -> Result<u8, Error> {
    tokio::pin!(serving);
    let signal = tokio::select! {
        served = &mut serving => return served.map(|()| OK).map_err(refused),
        signal = session.interrupts.next() => signal,
    };
    stop.cancel();
    // Answers that nobody reads any more must not hold up the end.
    let _ = tokio::time::timeout(Duration::from_secs(15), serving).await;
    Err(Error::Interrupted(signal))
}

fn options(args: &ServeArgs) -> Result<Options, Error> {
    let directory = env::current_dir()
        .map_err(|source| Error::system("the current directory cannot be found", source))?;
    let profile = match args.profile {
        ProfileArg::VmRun => Profile::VmRun,
        ProfileArg::WorkspaceCore => Profile::WorkspaceCore,
        ProfileArg::WorkspaceFull => Profile::WorkspaceFull,
    };
    let allow_roots = args.allow_roots.clone();
    Ok(Options { profile, allow_roots, directory, user_home: env::home_dir() })
}

/// The token that the caller chose, if any.
fn given_token(args: &ServeArgs) -> Result<Option<Token>, Error> {
    if args.no_token {
        return Ok(None);
    }
    let from_environment = || env::var("PYRO_MCP_TOKEN").ok().filter(|token| !token.is_empty());
    let text = args.token.clone().or_else(from_environment);
    text.map(Token::new).transpose().map_err(bad_token)
}

fn bad_token(error: TokenError) -> Error {
    let hint = match error {
        TokenError::Weak => "leave it out: pyro makes one",
        TokenError::File { .. } => "remove the file: pyro makes another one",
    };
    Error::usage(error.to_string()).hint(hint)
}

fn refused(error: ServeError) -> Error {
    let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
    let message = format!("{error}{}", source.unwrap_or_default());
    let (code, hint) = match &error {
        ServeError::Root { .. } => {
            (ErrorCode::PathNotFound, "--allow-root takes a directory that exists")
        }
        ServeError::Handshake(_) => (
            ErrorCode::InvalidArgument,
            "the first request must be 'initialize', or carry what the protocol asks for instead",
        ),
        ServeError::Listen { .. } => (ErrorCode::Busy, "--http 127.0.0.1:0 takes any free port"),
    };
    Error::Refused(ErrorBody::new(code, message).hint(hint))
}
