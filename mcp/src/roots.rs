//! Which host paths a tool may name.
//!
//! A model may say what someone else told it to say. So every host path lies under an allowed root,
//! no component of it is a symbolic link, and nothing that exists is written to. Paths are checked
//! here and opened later by the daemon, by name: whoever can swap a directory of an allowed root for
//! a link in between could as well put there what the link points to, unless the root belongs to
//! others too. Such a root is no good choice.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use percent_encoding::percent_decode_str;
use pyro_api::{ErrorBody, ErrorCode};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, statat};

use crate::options::Options;

/// One directory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Root {
    /// As whoever allowed it wrote it, absolute.
    named: PathBuf,
    /// Without links.
    real: PathBuf,
}

/// The host directories of one session, and what is in none of them.
#[derive(Debug, Clone)]
pub struct Roots {
    roots: Vec<Root>,
    /// Whoever runs the server named them one by one.
    explicit: bool,
    /// pyro's own directory.
    pyro_home: PathBuf,
    /// The home directory of whoever runs the server.
    user_home: Option<PathBuf>,
}

impl Roots {
    /// Those of `--allow-root`; each must be a directory. None: see [`Self::default_of`].
    pub fn explicit(
        options: &Options,
        pyro_home: &Path,
    ) -> Result<Option<Self>, (PathBuf, io::Error)> {
        let mut roots = Vec::new();
        for named in &options.allow_roots {
            let path = options.directory.join(named);
            roots.push(root(&path).map_err(|source| (path, source))?);
        }
        let explicit = true;
        Ok((!roots.is_empty()).then(|| Self { roots, explicit, ..Self::none(options, pyro_home) }))
    }

    /// The server's directory.
    pub fn default_of(options: &Options, pyro_home: &Path) -> Self {
        let mut this = Self::none(options, pyro_home);
        this.add(&options.directory);
        this
    }

    /// What the client says that it works on: `file` addresses. Others, and what is no directory
    /// here, count for nothing.
    pub fn of_client<'u>(
        options: &Options,
        pyro_home: &Path,
        uris: impl IntoIterator<Item = &'u str>,
    ) -> Self {
        let mut this = Self::none(options, pyro_home);
        uris.into_iter().filter_map(file_path).for_each(|path| this.add(&path));
        this
    }

    fn none(options: &Options, pyro_home: &Path) -> Self {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Self {
            roots: Vec::new(),
            explicit: false,
            pyro_home: real(pyro_home),
            user_home: options.user_home.as_deref().map(real),
        }
    }

    /// Adds a root that nobody named on purpose: one that holds the user's home is too much.
    fn add(&mut self, path: &Path) {
        let Ok(root) = root(path) else { return };
        let above_home = |home: &PathBuf| home.starts_with(&root.real) && *home != root.real;
        let too_much =
            root.real == Path::new("/") || self.user_home.as_ref().is_some_and(above_home);
        if !too_much && !self.roots.contains(&root) {
            self.roots.push(root);
        }
    }

    /// Real path of something that exists and may be read, or why it may not.
    pub fn source(&self, argument: &str, text: &str) -> Result<PathBuf, ErrorBody> {
        let (root, below) = self.place(argument, text)?;
        let path = root.real.join(&below);
        self.must_be_public(argument, text, &path)?;
        walk(root, &below).map_err(|stop| stop.explain(argument, text))?;
        if self.pyro_home.starts_with(&path) {
            return Err(self.refuse(argument, text, "it holds pyro's own directory"));
        }
        Ok(path)
    }

    /// Real path of something that does not exist and may be written, in a directory that does.
    pub fn target(&self, argument: &str, text: &str) -> Result<PathBuf, ErrorBody> {
        let (root, below) = self.place(argument, text)?;
        let path = root.real.join(&below);
        self.must_be_public(argument, text, &path)?;
        let exists = || {
            let message = format!("'{argument}': {text} exists already");
            ErrorBody::new(ErrorCode::AlreadyExists, message)
                .hint("name a path that does not exist; nothing is ever overwritten")
        };
        let (Some(parent), Some(name)) = (below.parent(), below.file_name()) else {
            return Err(exists());
        };
        let parent = walk(root, parent).map_err(|stop| stop.explain(argument, text))?;
        let is_dir = fstat(&parent).is_ok_and(|stat| kind(stat.st_mode) == FileType::Directory);
        if !is_dir {
            let message = format!("'{argument}': {text} is not in a directory");
            return Err(ErrorBody::new(ErrorCode::PathNotFound, message)
                .hint("the directory that it goes into must exist"));
        }
        match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => Ok(path),
            Ok(stat) if kind(stat.st_mode) == FileType::Symlink => {
                Err(Stop::Link(path).explain(argument, text))
            }
            Ok(_) => Err(exists()),
            Err(error) => Err(Stop::Io(path, error.into()).explain(argument, text)),
        }
    }

    /// The root that a path is under, and the rest of it.
    fn place(&self, argument: &str, text: &str) -> Result<(&Root, PathBuf), ErrorBody> {
        if text.is_empty() || text.contains('\0') {
            let message = format!("'{argument}' is no path: it is empty or holds a null byte");
            return Err(ErrorBody::new(ErrorCode::InvalidArgument, message));
        }
        if text.starts_with('~') {
            return Err(self.refuse(argument, text, "'~' is not expanded: write the whole path"));
        }
        let path = Path::new(text);
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(self.refuse(
                argument,
                text,
                "'..' is not allowed: write the path without it",
            ));
        }
        let below = |root: &Path| path.strip_prefix(root).ok().map(plain);
        let found = match path.is_absolute() {
            false => self.roots.first().map(|root| (root, plain(path))),
            true => self
                .roots
                .iter()
                .find_map(|root| Some((root, below(&root.real).or_else(|| below(&root.named))?))),
        };
        found.ok_or_else(|| self.refuse(argument, text, "it is under no directory that is allowed"))
    }

    /// Refuses pyro's own directory, and what is hidden in the user's home unless a root was named
    /// there on purpose.
    fn must_be_public(&self, argument: &str, text: &str, path: &Path) -> Result<(), ErrorBody> {
        if path.starts_with(&self.pyro_home) {
            return Err(self.refuse(argument, text, "it is pyro's own directory"));
        }
        let Some(home) = self.user_home.as_ref().filter(|_| !self.explicit) else { return Ok(()) };
        let Ok(below) = path.strip_prefix(home) else { return Ok(()) };
        match below.components().next() {
            None => Err(self.refuse(argument, text, "it is all of your home directory")),
            Some(first) if first.as_os_str().as_encoded_bytes().starts_with(b".") => {
                Err(self.refuse(argument, text, "it is hidden in your home directory"))
            }
            Some(_) => Ok(()),
        }
    }

    fn refuse(&self, argument: &str, text: &str, why: &str) -> ErrorBody {
        let hint = match self.roots.as_slice() {
            [] => "no directory is allowed: start the server with --allow-root DIR".to_owned(),
            roots => {
                let roots: Vec<_> =
                    roots.iter().map(|root| root.named.display().to_string()).collect();
                format!(
                    "allowed: {}; start the server with --allow-root DIR to allow another one",
                    roots.join(", ")
                )
            }
        };
        ErrorBody::new(ErrorCode::PathNotAllowed, format!("'{argument}': {text} is refused: {why}"))
            .hint(hint)
    }
}

/// Without `.` and doubled slashes.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

fn root(path: &Path) -> io::Result<Root> {
    let real = path.canonicalize()?;
    match real.is_dir() {
        true => Ok(Root { named: path.to_owned(), real }),
        false => Err(io::ErrorKind::NotADirectory.into()),
    }
}

/// The path of a `file` address on this host.
fn file_path(uri: &str) -> Option<PathBuf> {
    let rest = uri.strip_prefix("file://")?;
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    let path = PathBuf::from(OsString::from_vec(bytes));
    path.is_absolute().then_some(path)
}

/// Why a path cannot be walked.
#[derive(Debug)]
enum Stop {
    /// This is a symbolic link.
    Link(PathBuf),
    /// This cannot be opened.
    Io(PathBuf, io::Error),
}

impl Stop {
    fn explain(self, argument: &str, text: &str) -> ErrorBody {
        match self {
            Self::Link(at) => ErrorBody::new(
                ErrorCode::PathNotAllowed,
                format!("'{argument}': {text} is refused: {} is a symbolic link", at.display()),
            )
            .hint("links are not followed: write the path that it points to"),
            Self::Io(at, error) if error.kind() == io::ErrorKind::NotFound => ErrorBody::new(
                ErrorCode::PathNotFound,
                format!("'{argument}': {} does not exist", at.display()),
            )
            .hint("relative paths start at the first allowed directory"),
            Self::Io(at, error) => ErrorBody::new(
                ErrorCode::PathNotFound,
                format!("'{argument}': {} cannot be opened: {error}", at.display()),
            )
            .hint("each directory on the way must be one that the server may enter"),
        }
    }
}

/// Opens `below` from the root on, each component for itself, and follows no link.
fn walk(root: &Root, below: &Path) -> Result<OwnedFd, Stop> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = root.real.clone();
    let open = |dir: &OwnedFd, name: &OsStr| openat(dir, name, flags, Mode::empty());
    let mut dir = openat(CWD, &at, flags, Mode::empty())
        .map_err(|error| Stop::Io(at.clone(), error.into()))?;
    for part in below.components() {
        at.push(part);
        dir = open(&dir, part.as_os_str()).map_err(|error| Stop::Io(at.clone(), error.into()))?;
        let stat = fstat(&dir).map_err(|error| Stop::Io(at.clone(), error.into()))?;
        if kind(stat.st_mode) == FileType::Symlink {
            return Err(Stop::Link(at));
        }
    }
    Ok(dir)
}

fn kind(mode: u32) -> FileType {
    FileType::from_raw_mode(mode)
}

#[cfg(test)]
mod tests;
