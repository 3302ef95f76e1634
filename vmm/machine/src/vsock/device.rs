//! The virtqueues: a vhost-user backend that moves packets between a guest and the [`Mux`].

use std::io::{self, Read, Write};
use std::ops::Deref;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use vhost::vhost_user::Listener;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VhostUserDaemon, VringMutex, VringT};
use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC,
};
use virtio_queue::{QueueOwnedT, QueueT, Reader, Writer};
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

use super::dir::SocketDir;
use super::mux::{GUEST_CID, MissingService, Mux};
use super::packet::{HEADER_LEN, Header};

type Memory = GuestMemoryAtomic<GuestMemoryMmap>;
type Ring = VringMutex<Memory>;

const RX: usize = 0;
const TX: usize = 1;
/// The event queue stays with the VMM.
const QUEUES: usize = 2;
/// The mux's descriptor among the worker's events; up to `QUEUES` they are taken.
const MUX_EVENT: u64 = QUEUES as u64 + 1;
const QUEUE_SIZE: usize = 1024;
/// Packets of one direction before the other has its turn.
const BATCH: usize = 256;
/// Turns before the worker looks at its other events.
const TURNS: usize = 64;

/// A running device; it serves one VMM and ends when that hangs up or the value is dropped.
pub(crate) struct VsockDevice {
    daemon: VhostUserDaemon<Arc<Device>>,
}

/// What the VMM process and its owner need of a fresh device.
pub(crate) struct Plug {
    /// The connected end for the VMM.
    pub(crate) vmm_end: OwnedFd,
    /// Reads as end-of-file once the VMM has set the device up.
    pub(crate) ready: OwnedFd,
}

impl VsockDevice {
    /// Starts serving: host clients on `vsock` in `dir`, the VMM on the returned plug. `missing`
    /// is called when the guest wants a host port that nobody listens on.
    pub(crate) fn start(
        dir: SocketDir,
        missing: MissingService,
    ) -> io::Result<(VsockDevice, Plug)> {
        // The library accepts but does not adopt a stream, so the pair is made by a listener
        // that exists for this moment, in a directory that only its owner may enter.
        const NAME: &str = "vhost";
        let listener = dir.listen(NAME)?;
        let vmm_end = UnixStream::connect(dir.path(NAME));
        dir.remove(NAME)?;
        let vmm_end = OwnedFd::from(vmm_end?);

        let (ready, announce) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let mux = Mux::new(dir, missing)?;
        let device = Arc::new(Device {
            exit: new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC)?,
            state: Mutex::new(State { mux, memory: None, announce: Some(announce) }),
        });
        let no_memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let mut daemon = VhostUserDaemon::new("vsock".to_owned(), device.clone(), no_memory)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let mux_fd = device.lock().mux.fd().as_raw_fd();
        for worker in daemon.get_epoll_handlers() {
            worker.register_listener(mux_fd, EventSet::IN, MUX_EVENT)?;
        }
        daemon
            .start(&mut Listener::from(listener))
            .map_err(|error| io::Error::other(error.to_string()))?;
        Ok((VsockDevice { daemon }, Plug { vmm_end, ready }))
    }
}

impl Drop for VsockDevice {
    fn drop(&mut self) {
        self.daemon.request_shutdown();
        // Both a hang-up and a shutdown end the thread; how does not matter any more.
        let _ = self.daemon.wait();
    }
}

struct State {
    mux: Mux,
    memory: Option<Memory>,
    announce: Option<OwnedFd>,
}

struct Device {
    state: Mutex<State>,
    exit: (EventConsumer, EventNotifier),
}

impl Device {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Moves packets both ways until neither side has more.
    fn turn(&mut self, rings: &[Ring]) {
        let (Some(rx), Some(tx)) = (rings.get(RX), rings.get(TX)) else { return };
        for _ in 0..TURNS {
            self.mux.poll(Instant::now());
            let Some(memory) = self.memory.clone() else { return };
            let received = receive(&mut self.mux, tx, &memory);
            let sent = send(&mut self.mux, rx, &memory);
            if !received && !sent {
                return self.mux.arm_timer(Instant::now());
            }
        }
        self.mux.wake_at(Instant::now());
    }
}

/// Takes packets of the guest; whether there were any.
fn receive(mux: &mut Mux, ring: &Ring, memory: &Memory) -> bool {
    let mut ring = ring.get_mut();
    if !ring.get_queue().ready() || !ring.is_enabled() {
        return false;
    }
    let memory = memory.memory();
    let now = Instant::now();
    let mut any = false;
    let _ = ring.disable_notification();
    for _ in 0..BATCH {
        if !mux.takes_packets() {
            break;
        }
        let next = ring.get_queue_mut().iter(memory.clone()).ok().and_then(|mut i| i.next());
        let Some(chain) = next else {
            if ring.enable_notification().is_ok_and(|more| more) {
                continue;
            }
            break;
        };
        let head = chain.head_index();
        if let Ok(mut reader) = Reader::new(memory.deref(), chain) {
            let mut raw = [0; HEADER_LEN];
            if reader.read_exact(&mut raw).is_ok() {
                mux.receive(&Header::decode(&raw), &mut reader, now);
            }
        }
        any |= ring.add_used(head, 0).is_ok();
    }
    if any && ring.needs_notification().unwrap_or(true) {
        let _ = ring.signal_used_queue();
    }
    any
}

/// Hands packets to the guest; whether there were any.
fn send(mux: &mut Mux, ring: &Ring, memory: &Memory) -> bool {
    let mut ring = ring.get_mut();
    if !mux.has_packets() || !ring.get_queue().ready() || !ring.is_enabled() {
        return false;
    }
    let memory = memory.memory();
    let now = Instant::now();
    let mut any = false;
    let _ = ring.disable_notification();
    for _ in 0..BATCH {
        if !mux.has_packets() {
            break;
        }
        let next = ring.get_queue_mut().iter(memory.clone()).ok().and_then(|mut i| i.next());
        let Some(chain) = next else {
            // The guest has no buffers: its next kick brings the worker back here.
            if ring.enable_notification().is_ok_and(|more| more) {
                continue;
            }
            break;
        };
        let head = chain.head_index();
        let mut written = 0;
        if let Ok(mut writer) = Writer::new(memory.deref(), chain)
            && let Some(space) = writer.available_bytes().checked_sub(HEADER_LEN)
        {
            let Some((header, payload)) = mux.produce(space, now) else {
                ring.get_queue_mut().go_to_previous_position();
                break;
            };
            let put = writer.write_all(&header.encode()).and_then(|()| writer.write_all(payload));
            if put.is_ok() {
                written = HEADER_LEN + payload.len();
            }
        }
        any |= ring.add_used(head, written as u32).is_ok();
    }
    if any && ring.needs_notification().unwrap_or(true) {
        let _ = ring.signal_used_queue();
    }
    any
}

impl VhostUserBackend for Device {
    type Bitmap = ();
    type Vring = Ring;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        // The VMM asks for the features when it sets the device up.
        self.lock().announce = None;
        1 << VIRTIO_F_VERSION_1
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | 1 << VIRTIO_RING_F_EVENT_IDX
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::CONFIG
    }

    fn reset_device(&self) {
        self.lock().mux.forget_guest();
    }

    fn set_event_idx(&self, _enabled: bool) {
        // The rings are told by the library; the device has no state of its own for it.
    }

    /// The configuration space is the guest's CID, eight bytes.
    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let cid = GUEST_CID.to_le_bytes();
        let from = (offset as usize).min(cid.len());
        let to = from.saturating_add(size as usize).min(cid.len());
        cid[from..to].to_vec()
    }

    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        self.lock().memory = Some(memory);
        Ok(())
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        Some((self.exit.0.try_clone().ok()?, self.exit.1.try_clone().ok()?))
    }

    fn stop_vring(&self, _queue: u32) -> io::Result<()> {
        self.lock().mux.forget_guest();
        Ok(())
    }

    fn handle_event(
        &self,
        _event: u16,
        _set: EventSet,
        rings: &[Ring],
        _thread: usize,
    ) -> io::Result<()> {
        // Whatever happened, one turn serves it. An error would end the worker for good.
        self.lock().turn(rings);
        Ok(())
    }
}
