//! One virtual machine: backends, the per-VM shim, the vsock device.
//!
//! ```text
//! daemon ── Machine ──spawns─▶ shim (run_shim) ──owns─▶ QEMU ─▶ guest
//!             │                  └─ vsock device ◀─virtqueues──┘
//!             └──DIR/vsock, DIR/vsock_1025──┘
//! ```
//!
//! A machine lives in a directory: `spec.json` says what it is, `shim.json` who runs it,
//! `exit.json` how it ended. The shim is a process of its own, so that a machine outlives the
//! daemon that launched it, and a daemon finds it again by the directory alone.
//!
//! This crate knows nothing of what runs inside the guest.

mod backend;
mod console;
mod error;
mod machine;
mod process;
mod records;
mod shim;
mod spec;
mod sys;
mod vsock;

pub use backend::{QemuFacts, Verdict, probe_kvm, qemu_facts};
pub use error::{Error, Result};
pub use machine::{Machine, MachineState};
pub use records::{Exit, ExitReason};
pub use shim::run_shim;
pub use spec::{BackendKind, MachineSpec};
