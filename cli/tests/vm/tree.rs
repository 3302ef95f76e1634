//! Whole trees compared: the host's and a guest's view of a directory, listed by the same script.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::support::{Home, told};

/// Lists a directory: hex path, kind, mode, mtime in ns, size, SHA-256 or hex target. Goes by
/// directory handles, so that no path is too long.
const LISTING: &str = r#"
import hashlib, os, stat, sys
KINDS = {stat.S_IFREG: 'f', stat.S_IFDIR: 'd', stat.S_IFLNK: 'l', stat.S_IFIFO: 'p', stat.S_IFSOCK: 's'}
def content(name, fd):
    digest = hashlib.sha256()
    with open(os.open(name, os.O_RDONLY, dir_fd=fd), 'rb') as file:
        if os.fstat(file.fileno()).st_size > 256 << 20:
            return '-'
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
def tell(path, st, what):
    kind = KINDS.get(stat.S_IFMT(st.st_mode), '?')
    mode = '-' if kind == 'l' else '%o' % stat.S_IMODE(st.st_mode)
    size = st.st_size if kind == 'f' else 0
    print(path.hex() or '-', kind, mode, st.st_mtime_ns, size, what or '-')
def walk(fd, prefix):
    for name in sorted(os.listdir(fd), key=os.fsencode):
        path = prefix + os.fsencode(name)
        st = os.stat(name, dir_fd=fd, follow_symlinks=False)
        what = ''
        if stat.S_ISREG(st.st_mode):
            what = content(name, fd)
        elif stat.S_ISLNK(st.st_mode):
            what = os.fsencode(os.readlink(name, dir_fd=fd)).hex()
        tell(path, st, what)
        if stat.S_ISDIR(st.st_mode):
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
            walk(below, path + b'/')
            os.close(below)
top = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
tell(b'', os.fstat(top), '')
walk(top, b'')
"#;

/// What is at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// `f`, `d`, `l`, `p` (fifo) or `s` (socket).
    pub kind: char,
    /// Permission bits, octal; `-` for a link.
    pub mode: String,
    /// Modification time in nanoseconds; `-` where it does not count.
    pub mtime: String,
    /// Length of a file in bytes.
    pub size: u64,
    /// SHA-256 of a file (`-` above 256 MiB), target of a link in hex.
    pub what: String,
}

/// A directory with everything in it; the empty path is the directory itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing(pub BTreeMap<Vec<u8>, Item>);

impl Listing {
    /// A directory of the host.
    pub fn host(dir: &Path) -> Self {
        Self::parse(python(LISTING, [dir]))
    }

    /// `/workspace` as the guest sees it.
    pub fn guest(home: &Home, workspace: &str) -> Self {
        let exec = ["workspace", "exec", workspace, "--", "python3", "-c", LISTING, "/workspace"];
        Self::parse(home.output(exec))
    }

    fn parse(output: Output) -> Self {
        assert!(output.status.success(), "{}", told(&output));
        let text = String::from_utf8(output.stdout).expect("hex and digits");
        let item = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let [path, kind, mode, mtime, size, what] = words[..] else { panic!("{line}") };
            let item = Item {
                kind: kind.chars().next().expect("a kind"),
                mode: mode.to_owned(),
                mtime: mtime.to_owned(),
                size: size.parse().expect("a size"),
                what: what.to_owned(),
            };
            (unhex(path), item)
        };
        Self(text.lines().map(item).collect())
    }

    /// Without what no tree can hold.
    pub fn storable(mut self) -> Self {
        self.0.retain(|_, item| "fdl".contains(item.kind));
        self
    }

    /// Without modification times.
    pub fn timeless(mut self) -> Self {
        self.0.values_mut().for_each(|item| item.mtime = "-".to_owned());
        self
    }

    /// What a patch can say: files and links, executable or not.
    pub fn patchable(self) -> Self {
        let mut listing = self.timeless();
        listing.0.retain(|_, item| item.kind != 'd');
        for item in listing.0.values_mut().filter(|item| item.kind == 'f') {
            let mode = u32::from_str_radix(&item.mode, 8).expect("octal");
            item.mode = if mode & 0o100 == 0 { "644" } else { "755" }.to_owned();
        }
        listing
    }

    /// Fails with what differs, if anything does.
    #[track_caller]
    pub fn is(&self, other: &Self) {
        let paths: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let differing: Vec<_> = paths
            .into_iter()
            .filter(|path| self.0.get(*path) != other.0.get(*path))
            .map(|path| {
                let path_text = String::from_utf8_lossy(&path[..path.len().min(200)]);
                format!(
                    "{path_text:?}: {:?}\n   instead of {:?}",
                    self.0.get(path),
                    other.0.get(path)
                )
            })
            .collect();
        let shown = differing.len().min(20);
        assert!(
            differing.is_empty(),
            "{} differ:\n{}",
            differing.len(),
            differing[..shown].join("\n")
        );
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.trim_matches('-').as_bytes();
    let byte =
        |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

/// Runs a Python script on the host.
pub fn python<A: AsRef<OsStr>>(script: &str, args: impl IntoIterator<Item = A>) -> Output {
    let output = Command::new("python3").arg("-c").arg(script).args(args).output();
    let output = output.expect("python3 runs");
    assert!(output.status.success(), "{}", told(&output));
    output
}

/// The exact bytes of an entry's path, or of another text with a `_b64` beside it.
pub fn bytes(entry: &Value, field: &str) -> Vec<u8> {
    match entry[format!("{field}_b64")].as_str() {
        Some(text) => STANDARD.decode(text).expect("Base64"),
        None => entry[field].as_str().expect("text").as_bytes().to_vec(),
    }
}

/// Path and status of every entry of a diff, in its order.
pub fn changes(diff: &Value) -> Vec<(Vec<u8>, &str)> {
    let entries = diff["entries"].as_array().expect("entries");
    let change = |entry| (bytes(entry, "path"), str_of(entry, "status"));
    entries.iter().map(change).collect()
}

/// Fails unless a diff lists exactly these paths, in this order.
#[track_caller]
pub fn assert_changes(diff: &Value, wanted: &[(&str, &str)]) {
    let found = changes(diff);
    let found: Vec<_> =
        found.iter().map(|(path, status)| (String::from_utf8_lossy(path), *status)).collect();
    let found: Vec<_> = found.iter().map(|(path, status)| (path.as_ref(), *status)).collect();
    assert_eq!(found, wanted);
}

/// The entry of a diff with this path.
#[track_caller]
pub fn entry<'d>(diff: &'d Value, path: &str) -> &'d Value {
    let entries = diff["entries"].as_array().expect("entries");
    let found = entries.iter().find(|entry| entry["path"] == path);
    found.unwrap_or_else(|| panic!("no entry {path:?}"))
}

/// A field that is a string.
#[track_caller]
pub fn str_of<'d>(document: &'d Value, field: &str) -> &'d str {
    document[field].as_str().unwrap_or_else(|| panic!("{field} of {document}"))
}

/// Names in a directory, sorted.
pub fn names(dir: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().as_bytes().to_vec()
    };
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}
