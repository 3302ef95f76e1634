//! A stand-in for Firecracker, for tests: no machine runs in it. It takes Firecracker's command line and
//! listens on its socket; what it accepts and what it can answer is what Firecracker's published API
//! description says (`fixtures/firecracker/firecracker.yaml`), and nothing else.
//!
//! `STAND_IN_FAIL`, such as `PUT /boot-source=400`, is the request that gets an answer of that status.
//! `STAND_IN_FAIL=silence` takes connections and never answers. Each request that it accepts is a line on
//! its standard output.

use std::collections::BTreeMap;
use std::env;
use std::process::ExitCode;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

#[path = "../src/backend/firecracker/description.rs"]
mod description;

use description::Description;

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
    let listener = tokio::net::UnixListener::bind(socket).expect("a free name");
    if fail == "silence" {
        let mut taken = Vec::new();
        loop {
            taken.extend(listener.accept().await.ok());
        }
    }
    let router = Router::new().fallback(answer).with_state(fail);
    axum::serve(listener, router).await.expect("serves");
    ExitCode::SUCCESS
}

/// Tells every client of the host that the guest takes its connection, as the vsock device would.
fn answer_clients(listener: tokio::net::UnixListener) {
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut line = String::new();
            let _ = tokio::io::BufReader::new(&mut client).read_line(&mut line).await;
            let answer = if line.starts_with("CONNECT ") { "OK 1073741824\n" } else { "" };
            let _ = client.write_all(answer.as_bytes()).await;
        }
    });
}

async fn answer(
    State(fail): State<String>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> (StatusCode, String) {
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
    if let Some(status) = fail.strip_prefix(&format!("{method} {}=", uri.path())) {
        let status = status.parse().expect("a status");
        let documented = description.failures(method.as_str(), uri.path());
        assert!(documented.contains(&status), "{method} {uri} has no answer {status}");
        return fault(status, format!("stand-in: told to answer {status}"));
    }
    if let Some(socket) = body["uds_path"].as_str() {
        answer_clients(tokio::net::UnixListener::bind(socket).expect("a free name"));
    }
    println!("{method} {} {body}", uri.path());
    (StatusCode::NO_CONTENT, String::new())
}
