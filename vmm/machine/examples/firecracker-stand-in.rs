//! A stand-in for Firecracker, for tests: no machine runs in it. It takes Firecracker's command line and
//! listens on its socket; what it accepts and what it can answer is what Firecracker's published API
//! description says (`fixtures/firecracker/firecracker.yaml`), and nothing else.
//!
//! `STAND_IN_FAIL`, such as `PUT /boot-source=400`, is the request that gets an answer of that status.
//! `STAND_IN_FAIL=silence` takes connections and never answers. Each request that it accepts is a line on
//! its standard output. With `STAND_IN_GUEST` it says what a guest's agent says when it boots, without being
//! one.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use pyro_proto::{
    Booted, Call, Fresh, GENERATION, GUEST_FRAME_LIMIT, HOST_PORT, Hello, Reply, Role, Welcome,
    read_frame, write_frame,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::AbortHandle;

#[path = "../src/backend/firecracker/description.rs"]
mod description;

use description::Description;

/// What it would run.
#[derive(Default)]
struct Machine {
    fail: String,
    /// Of its vsock device.
    socket: String,
    disks: Vec<String>,
    paused: bool,
    guest: Option<AbortHandle>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if words == ["--version"] {
        println!("Firecracker stand-in, which runs nothing");
        return ExitCode::SUCCESS;
    }
    // Each word has a value; the jailer adds some that tell when it began.
    let options: BTreeMap<_, _> =
        words.chunks_exact(2).map(|pair| (pair[0].as_str(), &pair[1])).collect();
    let (Some(socket), Some(_)) = (options.get("--api-sock"), options.get("--id")) else {
        eprintln!("stand-in: bad command line {words:?}");
        return ExitCode::FAILURE;
    };
    let fail = env::var("STAND_IN_FAIL").unwrap_or_default();
    if fail == "exit" {
        eprintln!("stand-in: told to fail");
        return ExitCode::FAILURE;
    }
    let listener = UnixListener::bind(socket).expect("a free name");
    if fail == "silence" {
        let mut taken = Vec::new();
        loop {
            taken.extend(listener.accept().await.ok());
        }
    }
    let machine = Arc::new(Mutex::new(Machine { fail, ..Machine::default() }));
    let router = Router::new().fallback(answer).with_state(machine);
    axum::serve(listener, router).await.expect("serves");
    ExitCode::SUCCESS
}

async fn answer(
    State(machine): State<Arc<Mutex<Machine>>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> (StatusCode, String) {
    let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
    let fault = |status: u16, message: String| {
        let status = StatusCode::from_u16(status).expect("a status");
        (status, json!({ "fault_message": message }).to_string())
    };
    let description = Description::read();
    let body: Value = match serde_json::from_slice(&body) {
        Ok(body) => body,
        Err(error) => return fault(400, format!("stand-in: the body is no JSON: {error}")),
    };
    if let Err(problem) = description.check(method.as_str(), uri.path(), &body) {
        return fault(400, format!("stand-in: {problem}"));
    }
    if let Some(status) = machine.fail.strip_prefix(&format!("{method} {}=", uri.path())) {
        let status = status.parse().expect("a status");
        let documented = description.failures(method.as_str(), uri.path());
        assert!(documented.contains(&status), "{method} {uri} has no answer {status}");
        return fault(status, format!("stand-in: told to answer {status}"));
    }
    if let Err(problem) = machine.obey(uri.path(), &body) {
        return fault(400, format!("stand-in: {problem}"));
    }
    println!("{method} {} {body}", uri.path());
    (StatusCode::NO_CONTENT, String::new())
}

impl Machine {
    fn obey(&mut self, path: &str, body: &Value) -> Result<(), String> {
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        match path {
            "/vsock" => self.attach(text("uds_path")),
            "/actions" => self.go_on(),
            "/vm" if text("state") == "Paused" => {
                self.paused = true;
                self.guest.take().inspect(AbortHandle::abort);
            }
            "/vm" => self.go_on(),
            "/snapshot/create" => {
                if !self.paused {
                    return Err("it is not paused".into());
                }
                let state = json!({ "socket": self.socket, "disks": self.disks });
                let memory = [&[0; 1 << 20][..], b"memory"].concat();
                fs::write(text("snapshot_path"), state.to_string()).map_err(|e| e.to_string())?;
                fs::write(text("mem_file_path"), memory).map_err(|e| e.to_string())?;
            }
            "/snapshot/load" => {
                let state = fs::read(text("snapshot_path")).map_err(|e| e.to_string())?;
                let state: Value = serde_json::from_slice(&state).map_err(|e| e.to_string())?;
                let memory = body["mem_backend"]["backend_path"].as_str().unwrap_or_default();
                fs::metadata(memory).map_err(|e| e.to_string())?;
                for disk in state["disks"].as_array().into_iter().flatten() {
                    let disk = disk.as_str().unwrap_or_default();
                    fs::File::open(disk).map_err(|e| format!("{disk}: {e}"))?;
                }
                self.attach(state["socket"].as_str().unwrap_or_default().to_owned());
                self.paused = true;
            }
            _ if path.starts_with("/drives/") => self.disks.push(text("path_on_host")),
            _ => {}
        }
        Ok(())
    }

    fn attach(&mut self, socket: String) {
        let listener = UnixListener::bind(&socket).expect("a free name");
        self.socket = socket;
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(take_client(client));
            }
        });
    }

    fn go_on(&mut self) {
        self.paused = false;
        if env::var_os("STAND_IN_GUEST").is_some() {
            let socket = format!("{}_{HOST_PORT}", self.socket);
            self.guest = Some(tokio::spawn(say_hello(socket)).abort_handle());
        }
    }
}

/// Tells a client of the host that the guest takes its connection, as the vsock device would, and answers the
/// call to power off, as a guest would.
async fn take_client(mut client: UnixStream) {
    let mut line = Vec::new();
    while let Ok(byte) = client.read_u8().await
        && byte != b'\n'
    {
        line.push(byte);
    }
    if !line.starts_with(b"CONNECT ") || client.write_all(b"OK 1073741824\n").await.is_err() {
        return;
    }
    if let Ok(Some(Call::PowerOff)) = read_frame::<Call>(&mut client, GUEST_FRAME_LIMIT).await {
        let _ = write_frame(&mut client, &Reply::Done).await;
        std::process::exit(0);
    }
}

/// What an agent says until it takes calls.
async fn say_hello(socket: String) {
    let mut host = UnixStream::connect(socket).await.expect("the host listens");
    let hello = Hello { generation: GENERATION, role: Role::Control };
    write_frame(&mut host, &hello).await.expect("the host listens");
    let Ok(Some(welcome)) = read_frame::<Welcome>(&mut host, GUEST_FRAME_LIMIT).await else {
        return;
    };
    let Ok(Some(fresh)) = read_frame::<Fresh>(&mut host, GUEST_FRAME_LIMIT).await else { return };
    println!("welcome {} {:?}", welcome.hostname, fresh.entropy);
    let _ = write_frame(&mut host, &Booted::Ready { agent_version: "stand-in".into() }).await;
}
