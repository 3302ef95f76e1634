//! What a guest reaches: nothing unless asked for, and then never the host and what is private.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use nix::ifaddrs::getifaddrs;
use serde_json::{Value, json};

use crate::outside::{self, Outside, ip};
use crate::process::kill_daemon;
use crate::push::random;
use crate::support::{ENVIRONMENT, Home, pyro, told};
use crate::tree::str_of;

const PROBE: &str = include_str!("network_probe.py");
const TALK: &str = include_str!("network_talk.py");
/// "No route to host", by Linux's number.
const UNREACHABLE: u64 = 113;

#[test]
fn without_being_asked_for_there_is_no_network() {
    let home = Home::new();
    let script = "ls /sys/class/net; tail -n +2 /proc/net/route; test ! -e /etc/resolv.conf";
    let ran = home.json(["run", ENVIRONMENT, "--", "sh", "-ec", script]);
    assert_eq!((&ran["stdout"], &ran["exit_code"]), (&json!("lo\n"), &json!(0)), "{ran}");
}

/// Sockets of this host that must hear nothing.
struct Listeners {
    streams: Vec<TcpListener>,
    datagrams: Vec<UdpSocket>,
}

impl Listeners {
    /// Each on TCP and UDP at the same port, which the answer names.
    fn open(addresses: &[Ipv4Addr]) -> (Self, Vec<u16>) {
        let mut listeners = Self { streams: Vec::new(), datagrams: Vec::new() };
        let mut ports = Vec::new();
        while ports.len() < addresses.len() {
            let stream = TcpListener::bind((addresses[ports.len()], 0)).unwrap();
            let address = stream.local_addr().unwrap();
            // Another program may have that port for datagrams.
            let Ok(datagram) = UdpSocket::bind(address) else { continue };
            stream.set_nonblocking(true).unwrap();
            datagram.set_nonblocking(true).unwrap();
            ports.push(address.port());
            listeners.streams.push(stream);
            listeners.datagrams.push(datagram);
        }
        (listeners, ports)
    }

    /// Who has been heard since the last time.
    fn heard(&self) -> Vec<SocketAddr> {
        let mut heard = Vec::new();
        let until_quiet = |mut next: Box<dyn FnMut() -> std::io::Result<SocketAddr> + '_>| {
            let mut from = Vec::new();
            loop {
                match next() {
                    Ok(address) => from.push(address),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return from,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        for stream in &self.streams {
            heard.extend(until_quiet(Box::new(|| stream.accept().map(|(_, from)| from))));
        }
        for datagram in &self.datagrams {
            let mut buffer = [0; 64];
            heard.extend(until_quiet(Box::new(move || {
                datagram.recv_from(&mut buffer).map(|(_, from)| from)
            })));
        }
        heard
    }

    /// That they hear at all.
    fn check(&self) {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (stream, datagram) in self.streams.iter().zip(&self.datagrams) {
            let port = stream.local_addr().unwrap().port();
            TcpStream::connect(("127.0.0.1", port)).unwrap();
            assert_eq!(datagram.local_addr().unwrap().port(), port);
            client.send_to(b"hello", ("127.0.0.1", port)).unwrap();
        }
        assert_eq!(self.heard().len(), self.streams.len() * 2);
    }
}

/// The IPv4 addresses of this host's interfaces, without the loopback's.
fn own_addresses() -> Vec<Ipv4Addr> {
    let addresses = getifaddrs().unwrap();
    let addresses =
        addresses.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()));
    // Networks of tests that run beside this one come and go.
    let lasts = |address: &Ipv4Addr| !address.is_loopback() && !outside::is_played(*address);
    addresses.filter(lasts).collect()
}

fn create(home: &Home) -> String {
    let created = home.json(["workspace", "create", ENVIRONMENT, "--network"]);
    assert_eq!(created["network_enabled"], true, "{created}");
    str_of(&created, "workspace_id").to_owned()
}

/// Runs a Python script in a workspace; its standard output. It must succeed.
fn guest_python(home: &Home, id: &str, script: &str, args: &[&str]) -> String {
    home.ok([&["workspace", "exec", id, "--", "python3", "-c", script], args].concat())
}

#[test]
fn the_host_and_what_is_private_hear_nothing_and_the_guest_is_told() {
    let home = Home::new();
    let (listeners, ports) = Listeners::open(&[Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED]);
    let id = create(&home);
    let own = own_addresses();
    let elsewhere = [
        "10.0.2.2",
        "10.0.2.3",
        "10.1.2.3",
        "100.100.100.200",
        "169.254.169.254",
        "172.17.0.1",
        "192.0.2.1",
        "192.168.0.1",
        "198.18.0.1",
        "168.63.129.16",
    ];
    let elsewhere = elsewhere.map(|address| address.parse::<Ipv4Addr>().unwrap());
    let polite: Vec<_> = elsewhere.iter().chain(&own).map(Ipv4Addr::to_string).collect();
    // To these the guest's own kernel sends nothing: frames that name them come from a hostile one.
    let odd = ["127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.2.255", "255.255.255.255", "224.0.0.1"];
    let all = [&polite[..], &odd.map(str::to_owned)].concat();
    let with_ports = |addresses: &[String]| {
        let pairs = addresses.iter().flat_map(|a| ports.iter().map(move |port| json!([a, port])));
        Value::from_iter(pairs).to_string()
    };
    let printed = guest_python(&home, &id, PROBE, &[&with_ports(&polite), &with_ports(&all)]);
    assert_eq!(listeners.heard(), [], "{printed}");
    let outcome: BTreeMap<String, Value> = serde_json::from_str(&printed).unwrap();
    assert_eq!(outcome.len(), polite.len() * ports.len() * 2);
    for (attempt, ended) in outcome {
        assert_eq!(ended, UNREACHABLE, "{attempt}");
    }
    listeners.check();
}

#[test]
fn public_addresses_and_names_are_reached_across_stop_start_and_a_killed_daemon() {
    let content = random(7, 8 << 20);
    let outside = match Outside::start(&content) {
        Ok(outside) => outside,
        Err(reason) => return eprintln!("skipped: no public address can be played here: {reason}"),
    };
    let home = Home::new();
    let resolver = home.scratch("resolv.conf");
    fs::write(&resolver, format!("nameserver {}\n", outside.server)).unwrap();
    // The daemon, and with it the machine, sees a resolver of the test's own.
    let started = Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-c",
            r#"mount --bind "$1" /etc/resolv.conf && exec "$2" env list"#,
        ])
        .args(["sh".as_ref(), resolver.as_os_str(), pyro().get_program()])
        .env("PYRO_HOME", home.path())
        .output()
        .unwrap();
    assert!(started.status.success(), "{}", told(&started));

    let id = create(&home);
    let talk = || {
        let server = outside.server.to_string();
        let printed = guest_python(&home, &id, TALK, &[&server, "www.example.test"]);
        assert_eq!(printed.trim(), content.len().to_string());
        assert!(outside.uploads.recv().unwrap() == content, "what went there and back has changed");
    };
    talk();
    home.json(["workspace", "stop", &id]);
    home.json(["workspace", "start", &id]);
    talk();
    kill_daemon(&home);
    talk();

    // This host's own addresses are refused, those too that it gets while the guest runs.
    let (listeners, ports) = Listeners::open(&[Ipv4Addr::UNSPECIFIED]);
    let later = Ipv4Addr::from_bits(outside.host.to_bits() ^ (1 << 16));
    ip(&["address", "add", &format!("{later}/32"), "dev", &outside.interface]).unwrap();
    let connect = "import errno, socket, sys, time
address, port, deadline = sys.argv[1], int(sys.argv[2]), time.monotonic() + 60
while True:
    with socket.socket() as s:
        found = s.connect_ex((address, port))
    if found == errno.EHOSTUNREACH or time.monotonic() > deadline:
        sys.exit(errno.errorcode.get(found, 'connected') if found != errno.EHOSTUNREACH else 0)
    time.sleep(0.05)";
    let port = ports[0].to_string();
    guest_python(&home, &id, connect, &[&later.to_string(), &port]);
    listeners.heard();
    guest_python(&home, &id, connect, &[&later.to_string(), &port]);
    guest_python(&home, &id, connect, &[&outside.host.to_string(), &port]);
    assert_eq!(listeners.heard(), []);
    listeners.check();
}
