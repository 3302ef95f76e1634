//! A real registry on loopback, and images made with the tools that people make them with.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Debian's `docker-registry`, gone when dropped.
pub struct Registry {
    child: Child,
    log: PathBuf,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

impl Registry {
    /// Starts one that keeps everything in `dir`; `more` is added to its configuration.
    pub fn start(dir: &Path, more: &str) -> Self {
        fs::create_dir_all(dir).unwrap();
        let (config, log) = (dir.join("config.yml"), dir.join("log"));
        let storage = dir.join("storage");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n{more}",
            storage.display()
        );
        fs::write(&config, text).unwrap();
        let mut child = Command::new("docker-registry")
            .args(["serve"])
            .arg(&config)
            .stdout(fs::File::create(&log).unwrap())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry, of Debian, is installed");
        // Its own words say which port it got.
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the registry ended");
            if let Some((_, address)) = line.split_once("listening on ") {
                break address.split(['"', ',', ' ']).next().unwrap().trim().to_owned();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self { child, log, address }
    }

    /// Puts an image of an OCI layout under a name; `more` goes to `skopeo`.
    pub fn push(&self, layout: &str, name: &str, more: &[&str]) -> String {
        let reference = format!("{}/{name}", self.address);
        skopeo(
            &[
                &["copy", "-q", "--dest-tls-verify=false"],
                more,
                &[&format!("oci:{layout}"), &format!("docker://{reference}")],
            ]
            .concat(),
        );
        reference
    }

    /// How often a blob was asked for.
    pub fn blobs_served(&self) -> usize {
        let log = fs::read_to_string(&self.log).unwrap();
        log.lines().filter(|line| line.contains("\"GET /v2/") && line.contains("/blobs/")).count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn skopeo(args: &[&str]) {
    let output = Command::new("skopeo").args(args).output();
    let output = output.expect("skopeo, of Debian, is installed");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub fn umoci(args: &[&str]) {
    let output = Command::new("umoci").args(args).output();
    let output = output.expect("umoci, of Debian, is installed");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An OCI layout with the image `layout:first` of one layer, in which `fill` put what it holds.
pub fn image(dir: &Path, fill: impl FnOnce(&Path)) -> String {
    let layout = dir.join("layout");
    let (layout, bundle) = (layout.to_str().unwrap(), dir.join("bundle"));
    let first = format!("{layout}:first");
    umoci(&["init", "--layout", layout]);
    umoci(&["new", "--image", &first]);
    umoci(&["unpack", "--image", &first, bundle.to_str().unwrap()]);
    fill(&bundle.join("rootfs"));
    umoci(&["repack", "--image", &first, bundle.to_str().unwrap()]);
    layout.to_owned()
}

/// A way to a server that breaks connections in the middle.
pub struct Flaky {
    /// `127.0.0.1:PORT`.
    pub address: String,
    passed: Arc<AtomicUsize>,
}

impl Flaky {
    /// Leads to `server`; each of the first `cuts` connections that carry more than `limit` bytes to the
    /// client ends there.
    pub fn before(server: &str, limit: usize, cuts: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let passed = Arc::<AtomicUsize>::default();
        let (server, counted) = (server.to_owned(), passed.clone());
        std::thread::spawn(move || {
            let left = Arc::new(AtomicUsize::new(cuts));
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect(&server).unwrap();
                let (mut to, mut from) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                let (left, counted) = (left.clone(), counted.clone());
                std::thread::spawn(move || pass_on(server, client, limit, &left, &counted));
            }
        });
        Self { address, passed }
    }

    /// Bytes that came to clients.
    pub fn passed(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }
}

fn pass_on(
    mut server: TcpStream,
    mut client: TcpStream,
    limit: usize,
    cuts: &AtomicUsize,
    passed: &AtomicUsize,
) {
    let mut here = 0;
    let mut buffer = [0; 16 * 1024];
    while let Ok(len @ 1..) = server.read(&mut buffer) {
        let cut = here + len > limit
            && cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        if cut || client.write_all(&buffer[..len]).is_err() {
            break;
        }
        here += len;
        passed.fetch_add(len, Ordering::SeqCst);
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
