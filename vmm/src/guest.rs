//! The host's two conversations with a guest: it calls the agent ([`link`]), and answers what the
//! guest asks ([`door`], [`content`]).

pub mod content;
pub mod door;
pub mod link;
