//! Names and kinds of files that break careless programs: create → diff → export.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::Home;
use crate::tree::{Listing, bytes, changes, python, str_of};

/// Makes the seed in the directory that is its argument.
const SEED: &str = r#"
import os, socket, sys
os.chdir(sys.argv[1])
def put(path, data=b'content\n'):
    with open(path, 'wb') as file:
        file.write(data)
os.makedirs('names/empty')
odd = [b'new\nline', b'\xff\xfe', b'n' * 255, b' lead', b'trail ', b'-rf', b'tab\t"q\\', b'\x01\x1b[31m', b'*?[', b'~', b'\xc3\xa9', b'e\xcc\x81']
for number, name in enumerate(odd):
    put(b'names/' + name, b'%d\n' % number)
os.mkdir(b'names/dir\xff\n')
put(b'names/dir\xff\n/in')
put('zero', b'')
for target, name in [(b'loop-b', b'loop-a'), (b'loop-a', b'loop-b'), (b'.', b'self'), (b'nowhere/at/all', b'dangling'), (b'/etc/passwd', b'absolute'), (b'../../..', b'out'), (b'\xff\n', b'link\xff'), (b't' * 4000, b'long')]:
    os.symlink(target, name)
put('hard-1', b'linked\n')
os.link('hard-1', 'hard-2')
os.mkdir('ro')
put('ro/inner')
put('ro/file')
os.chmod('ro/file', 0o444)
for mode in (0o600, 0o640, 0o755, 0o711, 0o777, 0o400):
    put('mode-%o' % mode, b'x')
    os.chmod('mode-%o' % mode, mode)
if os.geteuid() == 0:
    os.mkdir('closed')
    put('closed/inner')
    os.chmod('closed/inner', 0)
    os.chmod('closed', 0)
os.mkfifo('fifo')
socket.socket(socket.AF_UNIX).bind('socket')
path = '/'.join(['d' * 249] * 15)
os.makedirs(path)
put(path + '/' + 'f' * 250)
assert len(path) == 3749
here = os.open('.', os.O_RDONLY)
for level in range(40):
    name = 'e' * 200
    os.mkdir(name, dir_fd=here)
    here = os.open(name, os.O_RDONLY, dir_fd=here)
with open(os.open('bottom', os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=here), 'wb') as file:
    file.write(b'deep\n')
with open('sparse', 'wb') as file:
    file.truncate(2 << 30)
    file.seek(1 << 30)
    file.write(b'middle')
for root, dirs, files, fd in os.fwalk('.', topdown=False):
    for number, name in enumerate(sorted(dirs + files)):
        os.utime(name, ns=(0, (1_000_000_000 + number) * 10**9 + 123456789), dir_fd=fd, follow_symlinks=False)
os.chmod('ro', 0o555)
os.utime('.', ns=(0, 987654321_123456789))
"#;

/// What a guest does to it.
const CHANGE: &str = r#"
import os, socket
def put(path, data):
    with open(path, 'ab') as file:
        file.write(data)
put(b'names/new\nline', b'more\n')
put(b'names/made\xfe\n', b'new\n')
put('ro/file', b'more\n')
os.mkdir('made')
os.chmod('made', 0o500)
os.unlink('dangling')
os.symlink(b'\xfd/away', b'made\xfd')
os.mkfifo('guest-fifo')
socket.socket(socket.AF_UNIX).bind('guest-socket')
here = os.open('.', os.O_RDONLY)
while True:
    try:
        here = os.open('e' * 200, os.O_RDONLY, dir_fd=here)
    except FileNotFoundError:
        break
with open(os.open('bottom', os.O_WRONLY | os.O_APPEND, dir_fd=here), 'wb') as file:
    file.write(b'deeper\n')
with open(os.open('b' * 255, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=here), 'wb') as file:
    file.write(b'new\n')
with open('sparse', 'rb') as file:
    file.seek(1 << 30)
    assert file.read(6) == b'middle'
"#;

#[test]
fn every_name_and_kind_comes_back_identical() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    python(SEED, [&seed]);
    let planted = Listing::host(&seed);

    let created =
        home.json(["workspace", "create", "debian:12", "--seed-path", seed.to_str().unwrap()]);
    let id = str_of(&created, "workspace_id").to_owned();
    let skipped = reasons(&created["workspace_seed"]["skipped"]);
    assert_eq!(skipped, [("fifo".into(), "fifo".into()), ("socket".into(), "socket".into())]);

    let storable = planted.clone().storable();
    Listing::guest(&home, &id).is(&storable);
    let untouched = home.json(["workspace", "diff", &id]);
    assert_eq!(untouched["changed"], false, "{untouched}");

    home.ok(["workspace", "exec", &id, "--", "python3", "-c", CHANGE]);
    let diff = home.json(["workspace", "diff", &id]);
    let deep = ["e".repeat(200).as_str()].repeat(40).join("/");
    let wanted: Vec<(Vec<u8>, &str)> = vec![
        (b"dangling".to_vec(), "deleted"),
        (format!("{deep}/{}", "b".repeat(255)).into_bytes(), "added"),
        (format!("{deep}/bottom").into_bytes(), "modified"),
        (b"made".to_vec(), "added"),
        (b"made\xfd".to_vec(), "added"),
        (b"names/made\xfe\n".to_vec(), "added"),
        (b"names/new\nline".to_vec(), "modified"),
        (b"ro/file".to_vec(), "modified"),
    ];
    assert_eq!(changes(&diff), wanted);
    let skipped = reasons(&diff["skipped"]);
    assert_eq!(
        skipped,
        [("guest-fifo".into(), "fifo".into()), ("guest-socket".into(), "socket".into())]
    );

    let output = home.scratch("out");
    let exported =
        home.json(["workspace", "export", &id, ".", "--output", output.to_str().unwrap()]);
    assert_eq!(reasons(&exported["skipped"]), skipped);
    let view = Listing::guest(&home, &id).storable();
    let copy = Listing::host(&output);
    copy.is(&view);
    let sparse = fs::metadata(output.join("sparse")).unwrap();
    assert_eq!((sparse.len(), sparse.blocks() * 512 < 1 << 20), (2 << 30, true));
    let mut file = fs::File::open(output.join("sparse")).unwrap();
    file.seek(SeekFrom::Start(1 << 30)).unwrap();
    let mut middle = [0; 7];
    file.read_exact(&mut middle).unwrap();
    assert_eq!(&middle, b"middle\0");

    let hex = home.json([
        "workspace",
        "export",
        &id,
        "--path-b64",
        "bmFtZXMvbWFkZf4K",
        "--output",
        home.scratch("odd").to_str().unwrap(),
    ]);
    assert_eq!(bytes(&hex, "workspace_path"), b"/workspace/names/made\xfe\n");
    assert_eq!(fs::read(home.scratch("odd")).unwrap(), b"new\n");

    git_applies(&home, &id, &seed, &copy);
    // A full scan would read all of it in the guest.
    home.sh(&id, "rm sparse");
    let diff = home.json(["workspace", "diff", &id]);
    assert_eq!(home.json(["workspace", "diff", &id, "--full"])["tree"], diff["tree"]);
    for tree in [&seed, &output] {
        Command::new("chmod").args(["-R", "u+rwx"]).arg(tree).output().unwrap();
    }
}

/// The patch, applied to the seed, gives what was exported.
fn git_applies(home: &Home, id: &str, seed: &Path, exported: &Listing) {
    let patch = home.output(["workspace", "diff", id, "--patch"]).stdout;
    // Git itself opens no path beyond PATH_MAX: what is that deep is taken out of its patch.
    let deep = patch_without(&patch, &b"e".repeat(200));
    let file = home.scratch("the.patch");
    fs::write(&file, deep).unwrap();
    let applied = Command::new("git")
        .args([OsStr::new("apply"), OsStr::new("--whitespace=nowarn"), file.as_os_str()])
        .current_dir(seed)
        .env("GIT_CEILING_DIRECTORIES", seed.parent().unwrap())
        .output()
        .unwrap();
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let shallow = |listing: Listing| {
        let mut listing = listing.storable().patchable();
        listing.0.retain(|path, _| !path.starts_with(&b"e".repeat(200)));
        listing
    };
    shallow(Listing::host(seed)).is(&shallow(exported.clone()));
}

fn patch_without(patch: &[u8], name: &[u8]) -> Vec<u8> {
    let start = b"diff --git ";
    let mut at = Vec::new();
    for line in 0..patch.len() {
        let begins = line == 0 || patch[line - 1] == b'\n';
        if begins && patch[line..].starts_with(start) {
            at.push(line);
        }
    }
    at.push(patch.len());
    let parts = at.windows(2).map(|ends| &patch[ends[0]..ends[1]]);
    let head = |part: &[u8]| part.split(|byte| *byte == b'\n').next().unwrap_or_default().to_vec();
    let kept = parts.filter(|part| !head(part).windows(name.len()).any(|window| window == name));
    kept.collect::<Vec<_>>().concat()
}

fn reasons(skipped: &Value) -> Vec<(String, String)> {
    let pair =
        |entry: &Value| (str_of(entry, "path").to_owned(), str_of(entry, "reason").to_owned());
    skipped.as_array().expect("skipped").iter().map(pair).collect()
}

#[test]
fn a_large_sparse_file_that_a_guest_makes_costs_what_it_holds() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    let id = home.workspace(&seed);
    home.sh(
        &id,
        "truncate -s 256M sparse; printf end | dd of=sparse bs=1 seek=128M conv=notrunc 2>&1",
    );
    let diff = home.json(["workspace", "diff", &id]);
    assert_eq!(changes(&diff), [(b"sparse".to_vec(), "added")]);
    assert_eq!(diff["entries"][0]["new_size"], 256 << 20);
    let output = home.scratch("sparse");
    let exported =
        home.json(["workspace", "export", &id, "sparse", "--output", output.to_str().unwrap()]);
    let fetched = exported["bytes_fetched"].as_u64().unwrap();
    assert!(fetched < 1 << 20, "{fetched} bytes crossed");
    let written = fs::metadata(&output).unwrap();
    assert_eq!((written.len(), written.blocks() * 512 < 1 << 20), (256 << 20, true));
    let mut file = fs::File::open(&output).unwrap();
    file.seek(SeekFrom::Start(128 << 20)).unwrap();
    let mut end = [0; 4];
    file.read_exact(&mut end).unwrap();
    assert_eq!(&end, b"end\0");
}
