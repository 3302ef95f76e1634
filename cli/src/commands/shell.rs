//! `pyro workspace shell ...`

use std::io::{self, IsTerminal, Read};
use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use pyro_api::{BytesText, ShellList, ShellRead, ShellReadReply, ShellWrite};

use super::{OK, attach, check_id_only, made};
use crate::args::{ShellCommand, ShellInput, ShellOpenArgs, ShellReadArgs, ShellWriteArgs};
use crate::error::Error;
use crate::print::{shell as print, shown, shown_lines};
use crate::session::Session;

/// Bytes of an input file that are read: more than the daemon takes, so that it tells why not.
const INPUT: u64 = (1 << 20) + 1;

pub async fn shell(session: &Session, command: ShellCommand) -> Result<u8, Error> {
    let ui = &session.ui;
    match command {
        ShellCommand::Open(args) => open(session, args).await?,
        ShellCommand::List(args) => {
            let call = ShellList { workspace_id: args.workspace_id };
            ui.reply(&session.call(&call).await?, print::list)?;
        }
        ShellCommand::Read(args) => read(session, args).await?,
        ShellCommand::Write(args) => {
            let reply = session.call(&write(args)?).await?;
            ui.reply(&reply, print::written)?;
        }
        ShellCommand::Signal(args) => {
            let reply = session.call(&args.call()).await?;
            ui.reply(&reply, print::signalled)?;
        }
        ShellCommand::Close(args) => {
            let reply = session.call(&args.close()).await?;
            ui.reply(&reply, print::closed)?;
        }
        ShellCommand::Attach(args) => return attach::attach(session, args).await,
    }
    Ok(OK)
}

async fn open(session: &Session, args: ShellOpenArgs) -> Result<(), Error> {
    let id_only = args.id_only;
    check_id_only(session, id_only)?;
    let info = session.call(&args.call()).await?;
    made(session, &info, &info.shell_id, id_only, print::opened)
}

async fn read(session: &Session, args: ShellReadArgs) -> Result<(), Error> {
    let ui = &session.ui;
    // What a guest prints may control a terminal: only `attach` is asked to let it.
    let on_terminal = !ui.json && io::stdout().is_terminal();
    let call = args.call();
    let call = ShellRead { plain: call.plain || on_terminal, ..call };
    let reply = session.call(&call).await?;
    if ui.json {
        return ui.document(&reply);
    }
    if on_terminal {
        ui.text(&shown_lines(&reply.output))?;
    } else {
        ui.bytes(&output(&reply)?)?;
    }
    ui.note(print::read(&call, &reply));
    Ok(())
}

/// The exact bytes of a read.
pub fn output(reply: &ShellReadReply) -> Result<Vec<u8>, Error> {
    match &reply.output_b64 {
        None => Ok(reply.output.clone().into_bytes()),
        Some(b64) => STANDARD.decode(b64).map_err(|error| {
            Error::system("the daemon sent output that is not Base64", io::Error::other(error))
        }),
    }
}

fn write(args: ShellWriteArgs) -> Result<ShellWrite, Error> {
    let input = match args.input {
        ShellInput { input: Some(text), .. } => text.as_os_str().into(),
        ShellInput { input_file, .. } => input_from(&input_file.unwrap_or_default())?,
    };
    Ok(ShellWrite {
        workspace_id: args.shell.workspace_id,
        shell_id: args.shell.shell_id,
        input,
        append_newline: !args.no_newline,
    })
}

fn input_from(path: &Path) -> Result<BytesText, Error> {
    let mut input = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(INPUT).read_to_end(&mut input)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(INPUT).read_to_end(&mut input))
    };
    let what = || format!("cannot read {}", shown(&path.to_string_lossy()));
    read.map(|_| BytesText(input)).map_err(|source| Error::system(what(), source))
}
