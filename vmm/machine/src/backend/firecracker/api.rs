//! The requests that boot, save and restore a machine, in order. Source: Firecracker's published API
//! description, `fixtures/firecracker/firecracker.yaml`, against which tests compare every one.

use serde::Serialize;
use serde_json::Value;

use super::super::kernel_line;
use super::saved::{MEMORY, STATE};
use super::{LOG_PIPE, METRICS_PIPE, VSOCK};
use crate::MachineSpec;

/// Guests are alone with their host, so all have the same address; 0 to 2 are reserved (vsock(7)).
const GUEST_CID: u32 = 3;

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) body: Value,
}

impl Request {
    fn put(path: &str, body: &impl Serialize) -> Self {
        Self::new("PUT", path, body)
    }

    fn new(method: &'static str, path: &str, body: &impl Serialize) -> Self {
        // Only maps with keys that are no text could fail.
        let body = serde_json::to_value(body).unwrap_or_default();
        Self { method, path: path.to_owned(), body }
    }

    /// As errors call it.
    pub(super) fn step(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

#[derive(Serialize)]
struct Logger {
    log_path: &'static str,
    level: &'static str,
    show_level: bool,
}

#[derive(Serialize)]
struct Metrics {
    metrics_path: &'static str,
}

#[derive(Serialize)]
struct MachineConfiguration {
    vcpu_count: u32,
    mem_size_mib: u32,
}

#[derive(Serialize)]
struct BootSource {
    kernel_image_path: String,
    initrd_path: String,
    boot_args: String,
}

/// A bucket of bytes: so many at once, refilled within so many milliseconds.
#[derive(Clone, Copy, Serialize)]
struct TokenBucket {
    size: u64,
    refill_time: u64,
}

#[derive(Clone, Copy, Serialize)]
struct RateLimiter {
    bandwidth: TokenBucket,
}

/// What a disk may move in a second: more than one alone needs, and less than many need to take all of
/// the host's disk.
const DISK: RateLimiter =
    RateLimiter { bandwidth: TokenBucket { size: 512 << 20, refill_time: 1000 } };
/// Randomness comes from the host's kernel, and costs it time.
const ENTROPY: RateLimiter =
    RateLimiter { bandwidth: TokenBucket { size: 64 << 10, refill_time: 100 } };

#[derive(Serialize)]
struct Drive {
    drive_id: &'static str,
    path_on_host: String,
    is_root_device: bool,
    is_read_only: bool,
    cache_type: &'static str,
    rate_limiter: RateLimiter,
}

#[derive(Serialize)]
struct Vsock {
    guest_cid: u32,
    uds_path: &'static str,
}

#[derive(Serialize)]
struct EntropyDevice {
    rate_limiter: RateLimiter,
}

#[derive(Serialize)]
struct InstanceActionInfo {
    action_type: &'static str,
}

#[derive(Serialize)]
struct Vm {
    state: &'static str,
}

#[derive(Serialize)]
struct SnapshotCreateParams {
    snapshot_type: &'static str,
    snapshot_path: &'static str,
    mem_file_path: &'static str,
}

#[derive(Serialize)]
struct MemoryBackend {
    backend_type: &'static str,
    backend_path: &'static str,
}

#[derive(Serialize)]
struct SnapshotLoadParams {
    snapshot_path: &'static str,
    mem_backend: MemoryBackend,
    resume_vm: bool,
}

/// What makes Firecracker write down what goes on.
fn logs() -> [Request; 2] {
    [
        Request::put("/logger", &Logger { log_path: LOG_PIPE, level: "Warning", show_level: true }),
        Request::put("/metrics", &Metrics { metrics_path: METRICS_PIPE }),
    ]
}

/// What stops the virtual processors.
pub(super) fn pause() -> Request {
    Request::new("PATCH", "/vm", &Vm { state: "Paused" })
}

/// What lets them go on.
pub(super) fn resume() -> Request {
    Request::new("PATCH", "/vm", &Vm { state: "Resumed" })
}

/// What writes a paused machine to [`STATE`] and [`MEMORY`].
pub(super) fn save() -> Request {
    let (snapshot_path, mem_file_path) = (STATE, MEMORY);
    let params = SnapshotCreateParams { snapshot_type: "Full", snapshot_path, mem_file_path };
    Request::put("/snapshot/create", &params)
}

/// What makes a machine of these files and lets it go on. Its disks and its vsock device have the names
/// that they had; where it works, those are other files.
pub(super) fn restore() -> Vec<Request> {
    let mem_backend = MemoryBackend { backend_type: "File", backend_path: MEMORY };
    let params = SnapshotLoadParams { snapshot_path: STATE, mem_backend, resume_vm: false };
    let load = Request::put("/snapshot/load", &params);
    logs().into_iter().chain([load, resume()]).collect()
}

/// What makes a machine of a specification and starts it.
pub(super) fn boot(spec: &MachineSpec) -> Vec<Request> {
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let mut words = kernel_line::words();
    // The guest ends by a reset of the keyboard controller, which Firecracker takes for the end.
    words.extend(["reboot=k".to_owned(), "pci=off".to_owned()]);
    words.extend_from_slice(&spec.cmdline_extra);
    // Disks get their names in this order.
    let drive = |drive_id, path: &std::path::Path, is_read_only| {
        let path_on_host = text(path);
        let drive = Drive {
            drive_id,
            path_on_host,
            // No disk is the kernel's root: that is the initramfs.
            is_root_device: false,
            is_read_only,
            // What the guest syncs is synced on the host.
            cache_type: "Writeback",
            rate_limiter: DISK,
        };
        Request::put(&format!("/drives/{drive_id}"), &drive)
    };
    let machine = [
        Request::put(
            "/machine-config",
            &MachineConfiguration { vcpu_count: spec.vcpu_count, mem_size_mib: spec.mem_mib },
        ),
        Request::put(
            "/boot-source",
            &BootSource {
                kernel_image_path: text(&spec.kernel),
                initrd_path: text(&spec.initrd),
                boot_args: words.join(" "),
            },
        ),
        drive("root", &spec.root_image, true),
        drive("scratch", &spec.scratch, false),
        Request::put("/vsock", &Vsock { guest_cid: GUEST_CID, uds_path: VSOCK }),
        Request::put("/entropy", &EntropyDevice { rate_limiter: ENTROPY }),
        Request::put("/actions", &InstanceActionInfo { action_type: "InstanceStart" }),
    ];
    logs().into_iter().chain(machine).collect()
}
