//! The product as its users meet it: the `pyro` binary, real VMs, an isolated home for each test.

mod attach;
mod bad_input;
mod crash;
mod detached;
mod diff;
mod disk;
mod docs;
mod export;
mod main_job;
mod mcp;
mod mcp_client;
mod mcp_exec;
mod mcp_http;
mod names;
mod network;
mod outside;
mod process;
mod property;
mod push;
mod served;
mod shell;
mod store;
mod support;
mod tree;
mod vms;
mod vsock;
