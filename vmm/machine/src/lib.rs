//! One virtual machine: backends, the per-VM shim, the vsock device.
//!
//! ```text
//! daemon ── Machine ──spawns─▶ shim (run_shim) ──owns─▶ QEMU ─▶ guest
//!             │                  ├─ vsock device ◀─virtqueues──┤
//!             │                  └─ network filter ◀─frames────┘
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
mod handover;
mod machine;
mod network;
mod process;
mod records;
mod services;
mod shim;
mod spec;
mod sys;
mod vsock;

pub use backend::{
    CgroupFacts, FIRECRACKER_VERSIONS, FirecrackerFacts, Kvm, QemuFacts, SandboxFacts, Verdict,
    cgroup_facts, firecracker_facts, has_user_networking, probe_kvm, qemu_facts, sandbox_facts,
};
pub use error::{Error, Result};
pub use machine::{Machine, MachineState};
pub use network::{GATEWAY_IP, GUEST_IP, GUEST_PREFIX, NAMESERVER_IP};
pub use process::boot_id;
pub use records::{Exit, ExitReason};
pub use shim::run_shim;
pub use spec::{BackendKind, MachineSpec};
