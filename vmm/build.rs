//! Builds the guest agent as a static executable, to be carried inside `pyro`.
//!
//! A build of its own: another profile, linked statically, in a target directory of its own, since
//! the outer build holds the lock of the usual one.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// No musl toolchain is needed: glibc links statically too. The explicit target keeps the flags
/// from procedural macros, which must stay dynamic.
const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    let var = |name: &str| env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let root = PathBuf::from(var("CARGO_MANIFEST_DIR")).join("..");
    for source in ["agent/src", "agent/Cargo.toml", "agent/proto", "store/format", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let target_dir = PathBuf::from(var("OUT_DIR")).join("agent");
    let status = Command::new(var("CARGO"))
        .current_dir(&root)
        .args(["build", "--package", "pyro-agent", "--profile", "agent", "--target", TARGET])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        // Settings of the outer build do not concern this one.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the guest agent does not build: {status}");
    let agent = target_dir.join(TARGET).join("agent/pyro-agent");
    println!("cargo::rustc-env=PYRO_AGENT={}", agent.display());
}
