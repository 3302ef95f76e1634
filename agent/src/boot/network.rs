//! The network, if the host gives one: it says so, and how, on the kernel's command line, as in
//! `pyro.network=10.0.2.15/24,10.0.2.2,10.0.2.3`. Without that word there is no interface but the
//! loopback, and nothing is loaded.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use super::{NEW_ROOT, early};
use crate::error::{Doing, Error, Result};
use crate::sys::Interface;

/// The name that the kernel gives the first card.
const CARD: &str = "eth0";
const WORD: &str = "pyro.network=";

/// What the host says.
#[derive(Debug, PartialEq, Eq)]
struct Network {
    address: Ipv4Addr,
    /// Bits of the network's prefix.
    prefix: u8,
    gateway: Ipv4Addr,
    name_server: Ipv4Addr,
}

/// Sets up the network that the host gives, if it does. Needs the environment's root in place.
/// Blocks.
pub fn set_up() -> Result<()> {
    let line = fs::read_to_string("/proc/cmdline").doing(|| "read the command line".into())?;
    let Some(word) = line.split_whitespace().find_map(|word| word.strip_prefix(WORD)) else {
        return Ok(());
    };
    let network = Network::parse(word)
        .ok_or_else(|| Error::Invalid(format!("the host gives no sensible network: {word}")))?;
    early::load_modules("network")?;
    network.bring_up().doing(|| format!("bring up the network interface {CARD}"))?;
    // A directory, say, that a command put there is no reason not to boot.
    if let Err(error) = network.write_resolver(&Path::new(NEW_ROOT).join("etc")) {
        eprintln!("pyro-agent: {}", error.chain());
    }
    Ok(())
}

impl Network {
    /// `ADDRESS/PREFIX,GATEWAY,NAME_SERVER`
    fn parse(word: &str) -> Option<Self> {
        let mut parts = word.split(',');
        let (address, prefix) = parts.next()?.split_once('/')?;
        let network = Self {
            address: address.parse().ok()?,
            prefix: prefix.parse().ok().filter(|prefix| *prefix <= 32)?,
            gateway: parts.next()?.parse().ok()?,
            name_server: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(network)
    }

    fn bring_up(&self) -> std::io::Result<()> {
        // The host passes IPv4 alone: with no IPv6 address programs do not wait for one to answer.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{CARD}/disable_ipv6"), "1");
        let mut card = Interface::named(CARD)?;
        card.set_address(self.address, self.prefix)?;
        card.up()?;
        card.set_gateway(self.gateway)
    }

    /// Replaces whatever is there, a link too.
    fn write_resolver(&self, etc: &Path) -> Result<()> {
        let new = etc.join(".resolv.conf.pyro");
        let text = format!("nameserver {}\n", self.name_server);
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, etc.join("resolv.conf")))
            .inspect_err(|_| drop(fs::remove_file(&new)))
            .doing(|| "write /etc/resolv.conf".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_word_is_read_and_nonsense_is_not() {
        let network = Network::parse("10.0.2.15/24,10.0.2.2,10.0.2.3").unwrap();
        let ip = |last| Ipv4Addr::new(10, 0, 2, last);
        let expected = Network { address: ip(15), prefix: 24, gateway: ip(2), name_server: ip(3) };
        assert_eq!(network, expected);
        for word in
            ["", "1", "10.0.2.15", "10.0.2.15/33,10.0.2.2,10.0.2.3", "10.0.2.15/24,10.0.2.2"]
        {
            assert_eq!(Network::parse(word), None, "{word}");
        }
        assert_eq!(Network::parse("10.0.2.15/24,10.0.2.2,10.0.2.3,x"), None);
    }

    #[test]
    fn the_resolver_replaces_a_link_and_leaves_its_target_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("resolv.conf"));
        fs::write(&target, "untouched").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let network = Network::parse("10.0.2.15/24,10.0.2.2,10.0.2.3").unwrap();
        network.write_resolver(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(&link).unwrap(), "nameserver 10.0.2.3\n");
        assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
