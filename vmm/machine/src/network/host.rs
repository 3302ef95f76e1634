//! Which addresses are this host's own.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;

/// Longest time for which an address that an interface got stays unknown.
const FRESH: Duration = Duration::from_secs(1);

/// The addresses of all interfaces, and the addresses to which they broadcast.
pub(super) struct OwnAddresses {
    known: BTreeSet<Ipv4Addr>,
    read_at: Instant,
}

impl OwnAddresses {
    pub(super) fn read() -> io::Result<Self> {
        let read_at = Instant::now();
        let mut known = BTreeSet::new();
        for interface in getifaddrs()? {
            for address in [interface.address, interface.broadcast].into_iter().flatten() {
                known.extend(address.as_sockaddr_in().map(|address| address.ip()));
            }
        }
        Ok(Self { known, read_at })
    }

    /// The addresses as they are now, or were a moment ago. Those that are known stay so when they
    /// cannot be read.
    pub(super) fn now(&mut self) -> &BTreeSet<Ipv4Addr> {
        if self.read_at.elapsed() >= FRESH {
            match Self::read() {
                Ok(new) => *self = new,
                Err(_) => self.read_at = Instant::now(),
            }
        }
        &self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_the_hosts_own() {
        assert!(OwnAddresses::read().unwrap().now().contains(&Ipv4Addr::LOCALHOST));
    }
}
