//! The product as its users meet it: the `pyro` binary, real VMs, an isolated home for each test.

mod main_job;
mod support;
