//! The guest's network: QEMU's user-mode stack, with a filter of ours between the two.
//!
//! ```text
//! guest ─virtio-net─ QEMU ──frames──▶ filter (shim) ──frames──▶ QEMU: slirp ──sockets──▶ world
//!                         ◀──frames──   policy       ◀──frames──
//! ```
//!
//! The guest's card and slirp are not connected within QEMU: each has a socket of its own to the
//! shim, so that no frame gets round the filter, and none passes once it is gone. [`policy`] decides
//! on a frame, [`refusal`] answers one that was refused, [`host`] knows this host's own addresses,
//! [`filter`] moves the frames.

mod filter;
mod host;
mod policy;
mod refusal;

#[cfg(test)]
mod tests;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;

use filter::Filter;
use host::OwnAddresses;

/// The guest's address.
pub const GUEST_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// Bits of the prefix of the network that the guest is in.
pub const GUEST_PREFIX: u8 = 24;
/// The guest's router. Slirp would connect it to the host's loopback; the filter does not let it.
pub const GATEWAY_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The guest's name server: slirp passes questions on to the first one of the host's
/// `/etc/resolv.conf`.
pub const NAMESERVER_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// The address of the guest's network card, of the range for QEMU's guests.
pub(crate) const GUEST_MAC: &str = "52:54:00:12:34:56";

/// The two ends that QEMU gets of a running filter.
pub(crate) struct Plug {
    /// For the guest's card.
    pub(crate) guest: OwnedFd,
    /// For slirp.
    pub(crate) slirp: OwnedFd,
}

/// Starts the filter in a thread of its own, which ends when QEMU does. `complain` hears why it
/// ended before.
pub(crate) fn start(complain: fn(&str)) -> io::Result<Plug> {
    let (guest, guest_end) = UnixStream::pair()?;
    let (slirp, slirp_end) = UnixStream::pair()?;
    let mut filter = Filter::new(guest, slirp, OwnAddresses::read()?)?;
    thread::Builder::new().name("network".into()).spawn(move || {
        if let Err(error) = filter.run() {
            complain(&format!("the guest has no network any more: {error}"));
        }
    })?;
    Ok(Plug { guest: guest_end.into(), slirp: slirp_end.into() })
}
