//! One virtual machine: backends, the per-VM shim, the vsock device.
