//! The MCP server over HTTP: who gets in, and what is left when clients go.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::mcp_client::{PATIENCE, initialize, until};
use crate::support::{ENVIRONMENT, Home};

/// A server that listens.
struct Http {
    child: Child,
    address: String,
    ready: Value,
    /// A server whose caller stops reading ends.
    _stdout: BufReader<ChildStdout>,
}

impl Http {
    fn start<const N: usize>(home: &Home, args: [&str; N]) -> Self {
        let words = [&["mcp", "serve", "--http", "127.0.0.1:0", "--json"], &args[..]].concat();
        let mut command = home.command(words);
        command.current_dir(home.project()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("pyro runs");
        let mut ready = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        while !ready.ends_with("}\n") {
            assert_ne!(stdout.read_line(&mut ready).expect("a line"), 0, "{ready}");
        }
        let ready: Value = serde_json::from_str(&ready).expect("one document");
        let url = ready["url"].as_str().expect("an address");
        let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/mcp"));
        let address = address.expect("an address of this host").to_owned();
        Self { child, address, ready, _stdout: stdout }
    }

    /// Sends a request; the answer has not been read yet.
    fn send(&self, method: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let has_host = headers.iter().any(|(name, _)| *name == "Host");
        let mut head = format!("{method} /mcp HTTP/1.1\r\nConnection: close\r\n");
        if !has_host {
            head += &format!("Host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        // A server that refuses early may not read all of it.
        let _ = stream.write_all(body.as_bytes());
        stream
    }

    /// Status, head and body of an answer.
    fn answer(mut stream: TcpStream) -> (u16, String, String) {
        let mut all = Vec::new();
        // What came before the connection was cut is the answer.
        let _ = stream.read_to_end(&mut all);
        let all = String::from_utf8_lossy(&all).into_owned();
        let (head, body) = all.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{all}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    fn post(&self, headers: &[(&str, &str)], message: &Value) -> (u16, String, String) {
        Self::answer(self.send("POST", headers, &message.to_string()))
    }

    /// Status of a first request with these headers.
    fn status(&self, headers: &[(&str, &str)]) -> u16 {
        self.post(headers, &request("initialize", initialize("2025-11-25"))).0
    }

    /// Begins a session; its id.
    fn session(&self, token: &str) -> String {
        let (status, head, body) = self
            .post(&[("Authorization", token)], &request("initialize", initialize("2025-11-25")));
        assert_eq!(status, 200, "{body}");
        let id = head.lines().find_map(|line| line.strip_prefix("mcp-session-id: "));
        id.expect("a session").to_owned()
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let ended = until("the server ends", || self.child.try_wait().unwrap());
        if !std::thread::panicking() {
            assert_eq!(ended.code(), Some(143));
        }
    }
}

fn request(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

fn call(tool: &str, arguments: Value) -> Value {
    request("tools/call", json!({ "name": tool, "arguments": arguments }))
}

/// The last message of a stream of events, or the one of a plain answer.
fn last_message(body: &str) -> Value {
    let mut data = body.lines().filter_map(|line| line.strip_prefix("data:"));
    let last = data.rfind(|data| data.trim().starts_with('{')).unwrap_or(body);
    serde_json::from_str(last.trim()).unwrap_or_else(|error| panic!("{error}: {body}"))
}

const TOKEN: &str = "a-token-of-sixteen-and-more";
const BEARER: &str = "Bearer a-token-of-sixteen-and-more";

#[test]
fn only_those_with_the_token_and_from_this_host_get_in() {
    let home = Home::new();
    let http = Http::start(&home, ["--token", TOKEN]);
    assert_eq!(http.ready["token_file"], Value::Null);
    assert_eq!(http.status(&[]), 401);
    assert_eq!(http.status(&[("Authorization", TOKEN)]), 401);
    assert_eq!(http.status(&[("Authorization", "Bearer another-token-of-sixteen")]), 401);
    assert_eq!(http.status(&[("Authorization", "Basic YTpi")]), 401);
    assert_eq!(http.status(&[("Authorization", BEARER)]), 200);
    let with = |name, value| http.status(&[("Authorization", BEARER), (name, value)]);
    assert_eq!(with("Host", "evil.example"), 403);
    assert_eq!(with("Host", "evil.example:80"), 403);
    assert_eq!(with("Host", "localhost:1"), 200);
    assert_eq!(with("Origin", "http://evil.example"), 403);
    assert_eq!(with("Origin", "http://127.0.0.1.evil.example"), 403);
    assert_eq!(with("Origin", "null"), 403);
    assert_eq!(with("Origin", "http://localhost:6274"), 200);

    let (status, _, _) = Http::answer(http.send("POST", &[("Authorization", BEARER)], "no JSON"));
    assert!((400..500).contains(&status), "{status}");
    let large = format!("\"{}\"", "x".repeat(17 << 20));
    let (status, _, _) = Http::answer(http.send("POST", &[("Authorization", BEARER)], &large));
    assert_eq!(status, 413);
    let stray = [("Authorization", BEARER), ("Mcp-Session-Id", "none")];
    assert_eq!(http.post(&stray, &request("tools/list", json!({}))).0, 404);
    assert_eq!(Http::answer(http.send("PUT", &[("Authorization", BEARER)], "")).0, 405);
}

#[test]
fn a_token_is_made_when_none_is_given() {
    let home = Home::new();
    let http = Http::start(&home, []);
    let file = home.path().join("mcp-token");
    assert_eq!(http.ready["token_file"], file.to_str().unwrap());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = fs::read_to_string(&file).unwrap();
    assert_eq!(http.status(&[]), 401);
    assert_eq!(http.status(&[("Authorization", &format!("Bearer {}", token.trim()))]), 200);
    let again = Http::start(&home, []);
    assert_eq!(fs::read_to_string(&file).unwrap(), token, "one token for all servers of a home");
    assert_ne!(again.address, http.address);
}

#[test]
fn only_loopback_is_listened_to_and_a_taken_port_is_told() {
    let home = Home::new();
    for address in ["0.0.0.0:0", "192.0.2.1:80", "[::]:0", "nonsense"] {
        let (exit, error) = home.fails(["mcp", "serve", "--http", address]);
        assert_eq!((exit, &error["code"]), (2, &json!("invalid_argument")), "{error}");
    }
    let (exit, error) = home.fails(["mcp", "serve", "--http", "127.0.0.1:0", "--token", "weak"]);
    assert_eq!((exit, &error["code"]), (2, &json!("invalid_argument")), "{error}");
    let http = Http::start(&home, ["--token", TOKEN]);
    let (exit, error) = home.fails(["mcp", "serve", "--http", &http.address, "--token", TOKEN]);
    assert_eq!((exit, &error["code"]), (4, &json!("busy")), "{error}");
    let (exit, error) =
        home.fails(["mcp", "serve", "--http", "--allow-root", "/no/such/directory"]);
    assert_eq!((exit, &error["code"]), (3, &json!("path_not_found")), "{error}");
}

#[test]
fn sessions_work_side_by_side_and_clients_that_go_leave_nothing() {
    let home = Home::new();
    let http = Http::start(&home, ["--token", TOKEN]);
    let sessions = [http.session(BEARER), http.session(BEARER)];
    assert_ne!(sessions[0], sessions[1]);
    let run = |command: &str| {
        call(
            "vm_run",
            json!({ "environment": ENVIRONMENT, "command": command, "timeout_seconds": 900 }),
        )
    };
    let headers = |session: &'static str| [("Authorization", BEARER), ("Mcp-Session-Id", session)];
    let [one, two] = sessions.map(|session| &*session.leak());

    // Two at once.
    let streams = [one, two].map(|session| {
        http.send("POST", &headers(session), &run(&format!("echo {session}")).to_string())
    });
    for (stream, session) in streams.into_iter().zip([one, two]) {
        let (status, _, body) = Http::answer(stream);
        assert_eq!(status, 200, "{body}");
        let message = last_message(&body);
        let stdout = &message["result"]["structuredContent"]["stdout"];
        assert_eq!(*stdout, format!("{session}\n"), "{message}");
    }

    let runs = || (!home.machines().is_empty()).then_some(());
    let gone = || home.machines().is_empty().then_some(());
    until("VMs of before are gone", gone);

    // A connection that breaks.
    let stream = http.send("POST", &headers(one), &run("sleep 1000").to_string());
    until("the VM runs", runs);
    drop(stream);
    until("the VM is gone", gone);

    // A cancellation by another request.
    let stream = http.send("POST", &headers(one), &run("sleep 1000").to_string());
    until("the VM runs", runs);
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": { "requestId": 1 } });
    assert_eq!(http.post(&headers(one), &cancel).0, 202);
    until("the VM is gone", gone);
    drop(stream);

    // A session that is ended.
    let stream = http.send("POST", &headers(two), &run("sleep 1000").to_string());
    until("the VM runs", runs);
    let (status, _, _) = Http::answer(http.send("DELETE", &headers(two), ""));
    assert!((200..300).contains(&status), "{status}");
    until("the VM is gone", gone);
    drop(stream);
    assert_eq!(http.post(&headers(two), &request("tools/list", json!({}))).0, 404);

    // The newest protocol has no sessions: a request says everything.
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut message = run("sleep 1000");
    message["params"]["_meta"] = meta;
    let newest = [
        ("Authorization", BEARER),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "vm_run"),
    ];
    let stream = http.send("POST", &newest, &message.to_string());
    until("the VM runs", runs);
    drop(stream);
    until("the VM is gone", gone);

    // A server that is ended.
    let _stream = http.send("POST", &headers(one), &run("sleep 1000").to_string());
    until("the VM runs", runs);
    drop(http);
    until("the VM is gone", gone);
}
