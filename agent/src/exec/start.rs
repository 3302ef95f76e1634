//! From a request to a running program.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use pyro_format::escape;
use pyro_proto::{ByteString, ExecRequest};
use tokio::sync::oneshot;

use super::cgroup::Group;
use super::place::{Membership, Place};
use super::reaper::Reaper;
use crate::error::{Doing, Error, Result};
use crate::identity::Identity;
use crate::sys::{Child, Stage};

const PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Variables every command has unless the request sets them.
const DEFAULT_ENV: [(&[u8], &[u8]); 7] = [
    (b"PATH", PATH),
    (b"HOME", b"/root"),
    (b"USER", b"root"),
    (b"LOGNAME", b"root"),
    (b"SHELL", b"/bin/bash"),
    (b"LANG", b"C.UTF-8"),
    (b"TERM", b"dumb"),
];

/// What to start.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// Whose it is.
    pub group: Group,
    /// Program and arguments.
    pub argv: &'a [ByteString],
    /// Working directory, absolute.
    pub cwd: &'a ByteString,
    /// Variables set on top of the defaults.
    pub env: &'a [(ByteString, ByteString)],
    /// Who runs it; root when absent.
    pub user: Option<&'a Identity>,
}

/// What a program reads from and writes to.
#[derive(Debug, Clone, Copy)]
pub struct Stdio<'a> {
    /// Standard input, output and error.
    pub fds: [BorrowedFd<'a>; 3],
    /// Standard input becomes its controlling terminal.
    pub terminal: bool,
}

/// A program that runs.
#[derive(Debug)]
pub struct Launched {
    /// Its process id, and that of its session and process group.
    pub pid: i32,
    /// Gets the raw wait status.
    pub status: oneshot::Receiver<i32>,
}

/// A command that runs.
#[derive(Debug)]
pub struct Started {
    /// Gets the raw wait status.
    pub status: oneshot::Receiver<i32>,
    /// Read ends of its standard output and error.
    pub outputs: [OwnedFd; 2],
}

/// A program that could not be started.
#[derive(Debug)]
pub struct NotStarted {
    /// Exit code by shell convention: 127 not found, 126 not executable.
    pub code: i32,
    /// Why.
    pub error: Error,
}

impl NotStarted {
    fn unprepared(error: Error) -> Self {
        Self { code: 126, error }
    }
}

/// Starts a command; returns when it runs or failed to. Blocks.
pub fn start(
    request: &ExecRequest,
    user: Option<&Identity>,
    place: &Place,
) -> Result<Started, NotStarted> {
    let cannot = NotStarted::unprepared;
    let pipe = || pipe2(OFlag::O_CLOEXEC).doing(|| "make a pipe".into()).map_err(cannot);
    let ((stdout, stdout_end), (stderr, stderr_end)) = (pipe()?, pipe()?);
    let null = File::open("/dev/null").doing(|| "open /dev/null".into()).map_err(cannot)?;
    let ExecRequest { id, argv, cwd, env, .. } = request;
    let program = Program { group: Group::Exec(*id), argv, cwd, env, user };
    let fds = [null.as_fd(), stdout_end.as_fd(), stderr_end.as_fd()];
    let launched = launch(&program, Stdio { fds, terminal: false }, place)?;
    Ok(Started { status: launched.status, outputs: [stdout, stderr] })
}

/// Starts a program; returns when it runs or failed to. Blocks: looking up the program or the
/// working directory may need the host.
pub fn launch(
    program: &Program<'_>,
    stdio: Stdio<'_>,
    place: &Place,
) -> Result<Launched, NotStarted> {
    let cannot = NotStarted::unprepared;
    let plan = Plan::new(program).map_err(cannot)?;
    let inside = place.inside().ok_or(Error::HungUp).map_err(cannot)?;
    let joined = place.create(program.group);
    let joined = joined.doing(|| "prepare the command".into()).map_err(cannot)?;
    let (cgroup, mark) = match &joined {
        Membership::Cgroup(file) => (Some(file.as_raw_fd()), None),
        Membership::Mark(file) => (None, Some(file.as_raw_fd())),
    };
    let pipe = pipe2(OFlag::O_CLOEXEC).doing(|| "make a pipe".into());
    let (report, report_end) = pipe.map_err(cannot)?;
    let child = Child {
        candidates: plan.candidates,
        argv: plan.argv,
        envp: plan.envp,
        cwd: plan.cwd,
        namespace: inside.namespace.as_ref().map(|fd| fd.as_raw_fd()),
        cgroup,
        mark,
        user: program.user,
        confinement: inside.confinement.as_ref(),
        stdio: stdio.fds.map(|fd| fd.as_raw_fd()),
        terminal: stdio.terminal,
        report: report_end.as_raw_fd(),
    };
    let spawned = Reaper::get().spawn(&child).doing(|| "start a process".into());
    let (pid, status) = spawned.map_err(cannot)?;
    drop(report_end);
    let mut message = Vec::new();
    // Ends when the program runs (the pipe closes) or the child has said why not.
    if let Err(error) = File::from(report).take(8).read_to_end(&mut message) {
        return Err(cannot(Error::Io { what: "cannot start the command".into(), source: error }));
    }
    match Stage::parse(&message) {
        None => Ok(Launched { pid, status }),
        Some((stage, errno)) => Err(explain(program, stage, errno)),
    }
}

fn explain(asked: &Program<'_>, stage: Stage, errno: i32) -> NotStarted {
    let program = escape(asked.argv.first().map_or(&[][..], |arg| &arg.0));
    let cwd = escape(&asked.cwd.0);
    let source = io::Error::from_raw_os_error(errno);
    let missing = matches!(errno, libc::ENOENT | libc::ENOTDIR);
    match stage {
        Stage::Cwd if missing => {
            let error = Error::NotFound(format!("no such working directory: '{cwd}'"));
            NotStarted { code: 126, error }
        }
        Stage::Exec if missing => {
            let error = Error::NotFound(format!("no such program: '{program}'"));
            NotStarted { code: 127, error }
        }
        _ => {
            let what = match stage {
                Stage::Setup => "cannot prepare the command".into(),
                Stage::Cwd => format!("cannot change to '{cwd}'"),
                Stage::Exec => format!("cannot execute '{program}'"),
            };
            NotStarted { code: 126, error: Error::Io { what, source } }
        }
    }
}

/// The strings of a command, checked and resolved.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    envp: Vec<CString>,
    cwd: CString,
}

impl Plan {
    fn new(asked: &Program<'_>) -> Result<Self> {
        let c_string = |bytes: &[u8]| {
            CString::new(bytes)
                .map_err(|_| Error::Invalid(format!("'{}' holds a NUL byte", escape(bytes))))
        };
        let program = match asked.argv.first() {
            Some(ByteString(program)) if !program.is_empty() => program,
            _ => return Err(Error::Invalid("the command is empty".into())),
        };
        if !asked.cwd.0.starts_with(b"/") {
            let cwd = escape(&asked.cwd.0);
            return Err(Error::Invalid(format!("the working directory '{cwd}' is not absolute")));
        }
        let mut env: BTreeMap<&[u8], &[u8]> = DEFAULT_ENV.into();
        if let Some(user) = asked.user {
            env.extend([
                (&b"HOME"[..], &user.home[..]),
                (b"USER", &user.name),
                (b"LOGNAME", &user.name),
            ]);
        }
        env.insert(b"PWD", &asked.cwd.0);
        for (name, value) in asked.env {
            if name.0.is_empty() || name.0.contains(&b'=') {
                let name = escape(&name.0);
                return Err(Error::Invalid(format!("'{name}' is no name of a variable")));
            }
            env.insert(&name.0, &value.0);
        }
        let path = env.get(&b"PATH"[..]).copied().unwrap_or(PATH);
        let candidates = if program.contains(&b'/') {
            vec![c_string(program)?]
        } else {
            // An empty element of PATH is the working directory.
            let dirs =
                path.split(|b| *b == b':').map(|dir| if dir.is_empty() { b"." } else { dir });
            dirs.map(|dir| c_string(&[dir, program].join(&b'/'))).collect::<Result<_>>()?
        };
        Ok(Self {
            candidates,
            argv: asked.argv.iter().map(|arg| c_string(&arg.0)).collect::<Result<_>>()?,
            envp: env
                .iter()
                .map(|(name, value)| c_string(&[*name, *value].join(&b'=')))
                .collect::<Result<_>>()?,
            cwd: c_string(&asked.cwd.0)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_in(cwd: &str, argv: &[&str], env: &[(&str, &str)]) -> Result<Plan> {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        Plan::new(&Program {
            group: Group::Exec(1),
            argv: &argv.iter().map(|arg| bytes(arg)).collect::<Vec<_>>(),
            cwd: &bytes(cwd),
            env: &env.iter().map(|(k, v)| (bytes(k), bytes(v))).collect::<Vec<_>>(),
            user: None,
        })
    }

    fn plan(argv: &[&str], env: &[(&str, &str)]) -> Result<Plan> {
        plan_in("/tmp", argv, env)
    }

    #[test]
    fn programs_are_looked_up_as_a_shell_does() {
        let candidates = |argv: &[&str], env: &[_]| plan(argv, env).unwrap().candidates;
        assert_eq!(
            candidates(&["a"], &[("PATH", "/x::y")]),
            [c"/x/a".into(), c"./a".into(), c"y/a".into()] as [CString; 3]
        );
        assert_eq!(candidates(&["./a"], &[]), [CString::from(c"./a")]);
    }

    #[test]
    fn senseless_requests_are_refused() {
        assert!(plan(&[], &[]).is_err());
        assert!(plan(&[""], &[]).is_err());
        assert!(plan(&["a\0b"], &[]).is_err());
        assert!(plan(&["a"], &[("A=B", "c")]).is_err());
        assert!(plan_in("x", &["a"], &[]).is_err());
    }

    #[test]
    fn given_variables_replace_the_defaults() {
        let plan = plan(&["a"], &[("HOME", "/h"), ("NEW", "")]).unwrap();
        assert!(plan.envp.contains(&c"HOME=/h".into()));
        assert!(plan.envp.contains(&c"NEW=".into()));
        assert!(plan.envp.contains(&c"PWD=/tmp".into()));
        assert!(!plan.envp.contains(&c"HOME=/root".into()));
    }
}
