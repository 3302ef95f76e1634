//! From a request to a running program.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use pyro_format::escape;
use pyro_proto::{ByteString, ExecRequest};
use tokio::sync::oneshot;

use super::cgroup::Cgroups;
use super::reaper::Reaper;
use crate::error::{Doing, Error, Result};
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

/// A program that runs.
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

/// Starts the program; returns when it runs or failed to. Blocks: looking up the program or the
/// working directory may need the host.
pub fn start(
    request: &ExecRequest,
    namespace: Option<BorrowedFd<'_>>,
    cgroups: Option<&Cgroups>,
) -> Result<Started, NotStarted> {
    let cannot = |error| NotStarted { code: 126, error };
    let plan = Plan::new(request).map_err(cannot)?;
    let setup = |result: io::Result<_>| result.doing(|| "prepare the command".into());
    let cgroup = cgroups.map(|cgroups| cgroups.create(request.id)).transpose();
    let cgroup = setup(cgroup).map_err(cannot)?;
    let pipe = || pipe2(OFlag::O_CLOEXEC).doing(|| "make a pipe".into()).map_err(cannot);
    let ((stdout, stdout_end), (stderr, stderr_end), (report, report_end)) =
        (pipe()?, pipe()?, pipe()?);
    let null = File::open("/dev/null").doing(|| "open /dev/null".into()).map_err(cannot)?;
    let child = Child {
        candidates: plan.candidates,
        argv: plan.argv,
        envp: plan.envp,
        cwd: plan.cwd,
        namespace: namespace.map(|fd| fd.as_raw_fd()),
        cgroup: cgroup.as_ref().map(|file| file.as_raw_fd()),
        stdio: [null.as_raw_fd(), stdout_end.as_raw_fd(), stderr_end.as_raw_fd()],
        report: report_end.as_raw_fd(),
    };
    let spawned = Reaper::get().spawn(&child).doing(|| "start a process".into());
    let (_, status) = spawned.map_err(cannot)?;
    drop((stdout_end, stderr_end, report_end));
    let mut message = Vec::new();
    // Ends when the program runs (the pipe closes) or the child has said why not.
    if let Err(error) = File::from(report).take(8).read_to_end(&mut message) {
        return Err(cannot(Error::Io { what: "cannot start the command".into(), source: error }));
    }
    match Stage::parse(&message) {
        None => Ok(Started { status, outputs: [stdout, stderr] }),
        Some((stage, errno)) => Err(explain(request, stage, errno)),
    }
}

fn explain(request: &ExecRequest, stage: Stage, errno: i32) -> NotStarted {
    let program = escape(request.argv.first().map_or(&[][..], |arg| &arg.0));
    let cwd = escape(&request.cwd.0);
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
    fn new(request: &ExecRequest) -> Result<Self> {
        let c_string = |bytes: &[u8]| {
            CString::new(bytes)
                .map_err(|_| Error::Invalid(format!("'{}' holds a NUL byte", escape(bytes))))
        };
        let program = match request.argv.first() {
            Some(ByteString(program)) if !program.is_empty() => program,
            _ => return Err(Error::Invalid("the command is empty".into())),
        };
        if !request.cwd.0.starts_with(b"/") {
            let cwd = escape(&request.cwd.0);
            return Err(Error::Invalid(format!("the working directory '{cwd}' is not absolute")));
        }
        let mut env: BTreeMap<&[u8], &[u8]> = DEFAULT_ENV.into();
        env.insert(b"PWD", &request.cwd.0);
        for (name, value) in &request.env {
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
            argv: request.argv.iter().map(|arg| c_string(&arg.0)).collect::<Result<_>>()?,
            envp: env
                .iter()
                .map(|(name, value)| c_string(&[*name, *value].join(&b'=')))
                .collect::<Result<_>>()?,
            cwd: c_string(&request.cwd.0)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(argv: &[&str], env: &[(&str, &str)]) -> ExecRequest {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        ExecRequest {
            id: 1,
            argv: argv.iter().map(|arg| bytes(arg)).collect(),
            cwd: bytes("/tmp"),
            env: env.iter().map(|(name, value)| (bytes(name), bytes(value))).collect(),
            timeout_ms: None,
            keep_bytes: 0,
        }
    }

    #[test]
    fn programs_are_looked_up_as_a_shell_does() {
        let candidates =
            |argv: &[&str], env: &[_]| Plan::new(&request(argv, env)).unwrap().candidates;
        assert_eq!(
            candidates(&["a"], &[("PATH", "/x::y")]),
            [c"/x/a".into(), c"./a".into(), c"y/a".into()] as [CString; 3]
        );
        assert_eq!(candidates(&["./a"], &[]), [CString::from(c"./a")]);
    }

    #[test]
    fn senseless_requests_are_refused() {
        assert!(Plan::new(&request(&[], &[])).is_err());
        assert!(Plan::new(&request(&[""], &[])).is_err());
        assert!(Plan::new(&request(&["a\0b"], &[])).is_err());
        assert!(Plan::new(&request(&["a"], &[("A=B", "c")])).is_err());
        let relative = ExecRequest { cwd: ByteString(b"x".to_vec()), ..request(&["a"], &[]) };
        assert!(Plan::new(&relative).is_err());
    }

    #[test]
    fn given_variables_replace_the_defaults() {
        let plan = Plan::new(&request(&["a"], &[("HOME", "/h"), ("NEW", "")])).unwrap();
        assert!(plan.envp.contains(&c"HOME=/h".into()));
        assert!(plan.envp.contains(&c"NEW=".into()));
        assert!(plan.envp.contains(&c"PWD=/tmp".into()));
        assert!(!plan.envp.contains(&c"HOME=/root".into()));
    }
}
