//! `pyro demo`: the whole job on a small project, each step the command that a user would type.

use std::cell::RefCell;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;

use clap::Parser;
use pyro_api::{BytesText, ErrorBody, ErrorCode, WorkspaceDelete, shell_join};

use super::{OK, dispatch};
use crate::args::Cli;
use crate::document::{DemoDocument, DemoStep};
use crate::error::Error;
use crate::session::Session;
use crate::ui::Ui;

macro_rules! sample {
    ($($mode:literal $path:literal;)*) => {
        [$((
            $path,
            $mode,
            include_bytes!(concat!("../../../fixtures/sample-project/", $path)).as_slice(),
        )),*]
    };
}

/// The sample project: path, mode, content.
const PROJECT: [(&str, u32, &[u8]); 6] = sample! {
    0o644 "README.md";
    0o644 "docs/usage.md";
    0o644 "greet.py";
    0o644 "names.txt";
    0o755 "run.sh";
    0o644 "test_greet.py";
};

/// A file that comes later, by `sync push`.
const LATER: (&str, &str) = ("names.txt", "Ada\nGrace\nBarbara\n");

pub async fn demo(session: &Session) -> Result<u8, Error> {
    let place = tempfile::Builder::new()
        .prefix("pyro-demo-")
        .tempdir()
        .map_err(|source| Error::system("no temporary directory can be made", source))?;
    lay_out(place.path())
        .map_err(|source| Error::system("the sample project cannot be written", source))?;
    let name = place.path().file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    // Names of temporary directories hold letters and digits only.
    let name = name.trim_start_matches("pyro-").to_owned();
    let mut document = DemoDocument::default();
    let shown = show(session, &name, place.path(), &mut document).await;
    if shown.is_err() {
        // What was interrupted or failed leaves nothing behind.
        session.interrupts.forget();
        let _ = session.call(&WorkspaceDelete { workspace_id: name }).await;
    }
    shown?;
    if session.ui.json {
        session.ui.document(&document)?;
    }
    Ok(OK)
}

async fn show(
    session: &Session,
    name: &str,
    place: &Path,
    document: &mut DemoDocument,
) -> Result<(), Error> {
    let at = |path: &str| place.join(path).to_string_lossy().into_owned();
    let (project, later, result) = (at("sample-project"), at("later"), at("greetings.txt"));
    let mut demo = Demo { session, document };
    demo.step("pyro env pull debian:12").await?;
    demo.words(&["workspace", "create", "debian:12", "--seed-path", &project, "--name", name])
        .await?;
    demo.step(&format!("pyro workspace exec {name} -- ./run.sh")).await?;
    demo.words(&[
        "workspace",
        "exec",
        name,
        "--",
        "sed",
        "-i",
        "s/Hello/Good morning/",
        "greet.py",
    ])
    .await?;
    demo.words(&["workspace", "sync", "push", name, &later]).await?;
    demo.words(&["workspace", "exec", name, "--", "sh", "-c", "./run.sh > greetings.txt"]).await?;
    demo.step(&format!("pyro workspace diff {name}")).await?;
    if !session.ui.json {
        demo.step(&format!("pyro workspace diff {name} --patch")).await?;
    }
    demo.words(&["workspace", "export", name, "greetings.txt", "--output", &result]).await?;
    let exported = fs::read(&result)
        .map_err(|source| Error::system("the exported file cannot be read", source))?;
    if !session.ui.json {
        session.ui.text(&format!("\n$ cat {result}\n"))?;
        session.ui.bytes(&exported)?;
    }
    demo.step(&format!("pyro workspace delete {name}")).await
}

/// Writes the sample project, and what is pushed later beside it.
fn lay_out(place: &Path) -> io::Result<()> {
    let project = place.join("sample-project");
    for (path, mode, content) in PROJECT {
        write(&project.join(path), mode, content)?;
    }
    write(&place.join("later").join(LATER.0), 0o644, LATER.1.as_bytes())
}

fn write(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(content)
}

/// The steps done so far.
struct Demo<'a> {
    session: &'a Session,
    document: &'a mut DemoDocument,
}

impl Demo<'_> {
    /// A command without blanks in its words.
    async fn step(&mut self, command: &str) -> Result<(), Error> {
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        self.words(&words).await
    }

    /// Shows the command, then does exactly that.
    async fn words(&mut self, words: &[&str]) -> Result<(), Error> {
        let argv: Vec<&str> = ["pyro"].iter().chain(words).copied().collect();
        let command = shell_join(&argv.iter().copied().map(BytesText::from).collect::<Vec<_>>());
        let cli = Cli::try_parse_from(&argv).map_err(|error| Error::usage(error.to_string()))?;
        let exit_code = if self.session.ui.json {
            let sink = Sink::default();
            let session = self.session.with_ui(Ui::captured(Box::new(sink.clone())));
            let exit_code = Box::pin(dispatch(&session, cli.command)).await?;
            let output = serde_json::from_slice(&sink.0.borrow()).unwrap_or_default();
            self.document.steps.push(DemoStep { command: command.clone(), exit_code, output });
            exit_code
        } else {
            self.session.ui.text(&format!("\n$ {command}\n"))?;
            Box::pin(dispatch(self.session, cli.command)).await?
        };
        if exit_code == OK {
            return Ok(());
        }
        let message = format!("'{command}' ended with exit code {exit_code}");
        Err(Error::Refused(ErrorBody::new(ErrorCode::GuestFailed, message)))
    }
}

/// Collects what a step prints.
#[derive(Clone, Default)]
struct Sink(Rc<RefCell<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_project_is_embedded_whole() {
        let place = tempfile::tempdir().unwrap();
        lay_out(place.path()).unwrap();
        let files = |top: &Path| {
            let mut found = Vec::new();
            let mut dirs = vec![top.to_path_buf()];
            while let Some(dir) = dirs.pop() {
                for entry in fs::read_dir(dir).unwrap() {
                    let path = entry.unwrap().path();
                    let name = path.strip_prefix(top).unwrap().to_path_buf();
                    match path.is_dir() {
                        true if name.ends_with("__pycache__") => {}
                        true => dirs.push(path),
                        false => found.push((name, fs::read(&path).unwrap())),
                    }
                }
            }
            found.sort();
            found
        };
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/sample-project");
        assert_eq!(files(&place.path().join("sample-project")), files(&fixture));
    }
}
