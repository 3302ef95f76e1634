//! A client of the Model Context Protocol that says exactly what a test wants, right or wrong.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::Home;

/// A real VM under emulation on a busy host takes its time.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A server on standard streams, and what it says.
pub struct Mcp {
    pub child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    next_id: u64,
    /// Notifications that came while an answer was awaited.
    pub notifications: Vec<Value>,
}

impl Mcp {
    /// Starts a server in `dir`, without a word.
    pub fn start<const N: usize>(home: &Home, dir: &Path, args: [&str; N]) -> Self {
        let mut command = home.command([&["mcp", "serve"], &args[..]].concat());
        command.current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("pyro runs");
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                // Standard output belongs to the protocol: anything else is a failure.
                let message = serde_json::from_str(&line).unwrap_or_else(
                    |error| json!({ "unreadable": line, "why": error.to_string() }),
                );
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, lines, next_id: 1, notifications: Vec::new() }
    }

    /// The same, after the handshake.
    pub fn begin<const N: usize>(home: &Home, dir: &Path, args: [&str; N]) -> Self {
        let mut this = Self::start(home, dir, args);
        let answer = this.request("initialize", initialize("2025-11-25"));
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25", "{answer}");
        this.notify("notifications/initialized", json!({}));
        this
    }

    /// Sends a line as it is.
    pub fn line(&mut self, line: &[u8]) {
        let stdin = self.stdin.as_mut().expect("the client has not hung up");
        stdin.write_all(line).and_then(|()| stdin.write_all(b"\n")).expect("the server reads");
    }

    pub fn send(&mut self, message: Value) {
        self.line(message.to_string().as_bytes());
    }

    pub fn notify(&mut self, method: &str, params: Value) {
        self.send(json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Sends a request; its id.
    pub fn ask(&mut self, method: &str, params: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// The next message of any kind.
    pub fn next(&mut self) -> Value {
        self.lines.recv_timeout(PATIENCE).expect("the server says something")
    }

    /// The answer to a request.
    pub fn answer(&mut self, id: u64) -> Value {
        loop {
            let message = self.next();
            if message["id"] == id {
                return message;
            }
            assert!(message["method"].is_string(), "what is this? {message}");
            self.notifications.push(message);
        }
    }

    pub fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params);
        self.answer(id)
    }

    /// Starts a call of a tool; its id.
    pub fn start_call(&mut self, tool: &str, arguments: Value) -> u64 {
        let meta = json!({ "progressToken": format!("token-{}", self.next_id) });
        self.ask("tools/call", json!({ "name": tool, "arguments": arguments, "_meta": meta }))
    }

    /// The result of a call that must succeed.
    #[track_caller]
    pub fn ok(&mut self, tool: &str, arguments: Value) -> Value {
        let id = self.start_call(tool, arguments);
        let answer = self.answer(id);
        assert_eq!(answer["result"]["isError"], false, "{tool}: {answer}");
        answer["result"]["structuredContent"].clone()
    }

    /// The error of a call that the tool must refuse.
    #[track_caller]
    pub fn refused(&mut self, tool: &str, arguments: Value) -> Value {
        let id = self.start_call(tool, arguments);
        let answer = self.answer(id);
        assert_eq!(answer["result"]["isError"], true, "{tool}: {answer}");
        answer["result"]["structuredContent"]["error"].clone()
    }

    /// Closes the client's end, as a client that has gone.
    pub fn hang_up(&mut self) {
        drop(self.stdin.take());
    }
}

impl Drop for Mcp {
    fn drop(&mut self) {
        self.hang_up();
        let _ = until("the server ends", || self.child.try_wait().ok().flatten());
    }
}

/// Parameters of the first request.
pub fn initialize(version: &str) -> Value {
    let client = json!({ "name": "test", "version": "1" });
    json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": client })
}

/// Polls until there is something.
#[track_caller]
pub fn until<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Home {
    /// A directory for a server to stand in.
    pub fn project(&self) -> std::path::PathBuf {
        let dir = self.scratch("project");
        std::fs::create_dir_all(&dir).expect("the directory can be made");
        dir
    }

    /// Shims that run: one for each VM.
    pub fn machines(&self) -> Vec<String> {
        self.processes().into_iter().filter(|line| line.contains(" shim ")).collect()
    }
}
