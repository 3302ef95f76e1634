//! The store as its users see it.

mod archives;
mod bundle;
mod changing;
mod checkout;
mod crash;
mod damage;
mod faults;
mod fixtures;
mod gc;
mod layers;
mod mount;
mod opening;
mod roundtrip;
mod support;
mod torture;
mod walking;
mod writer;
