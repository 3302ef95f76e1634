//! The daemon's calls as tools of the Model Context Protocol.
//!
//! ```text
//! client ──JSON-RPC, stdio or HTTP──▶ server: tools/call ─▶ tools ─▶ daemon
//!                                        │ roots: which host paths        │
//!                                        └ progress, cancellation ◀───────┘ Event::Progress
//! ```
//!
//! A tool is its input type with one implementation of `Tool`: name, texts, hints, reply
//! type and the calls it makes. Schemas come from the types. What a tool answers is bounded, and
//! whatever was cut off can be read on. Dropping a call hangs up, which undoes it.

mod bounds;
mod daemon;
mod http;
mod http_guard;
mod lines;
mod options;
mod progress;
mod roots;
mod schema;
mod server;
mod stdio;
mod texts;
mod token;
mod tool;
mod tools;

pub use http::{HttpOptions, Listening, bind, serve_http};
pub use options::{Options, Profile};
pub use server::{ServeError, Server};
pub use stdio::serve_stdio;
pub use token::{Token, TokenError};
