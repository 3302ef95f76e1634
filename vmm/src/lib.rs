//! The daemon: workspaces over machines, environments and the store.
