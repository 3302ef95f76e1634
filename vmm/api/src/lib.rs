//! The daemon's calls and their client.
