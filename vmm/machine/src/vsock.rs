//! The vsock device: a vhost-user backend that speaks the hybrid protocol on the host side.
//!
//! ```text
//! guest ─virtqueues─ device ── mux ── connection ──unix─ DIR/vsock        host: "CONNECT 1024\n" → "OK 1073741824\n"
//!                                             └──unix─ DIR/vsock_1025   guest: connect(CID 2, port 1025)
//! ```
//!
//! [`packet`] is the wire, [`connection`] one stream with its credit, [`mux`] the table of all
//! streams and their sockets, [`device`] the virtqueues. One thread runs all of it, and every
//! socket is edge triggered: what cannot be served now waits without waking anybody.

mod connection;
mod device;
mod dir;
mod mux;
mod packet;

#[cfg(test)]
mod device_tests;
#[cfg(test)]
mod tests;

pub(crate) use connection::{HELLO_MAX, parse_hello};
pub(crate) use device::VsockDevice;
pub(crate) use dir::SocketDir;
pub(crate) use mux::{
    ACCEPT_PAUSE, DIAL_EVERY, DIAL_FOR, HANDSHAKE, HOOK_EVERY, MAX_GUEST, MAX_HOST, MissingService,
    SOCKET,
};
