//! Pack files: where all objects live.
//!
//! ```text
//! header │ frame │ frame │ … │ frame table │ records sorted by id │ trailer
//! ```
//! A frame is up to a MiB of neighbouring objects compressed together, so that small files cost
//! what an archive of them would. The footer (frame table, records, trailer) is covered by the
//! BLAKE3 digest in the trailer, which also names the pack; every frame by a checksum of its stored
//! bytes; every object by its own id. A pack is written once and never changed.

mod layout;
mod reader;
mod writer;

pub(crate) use layout::{Effort, Footer, Frame, Record};
pub(crate) use reader::{Pack, decode_frame, frame_is_intact};
pub(crate) use writer::{
    CONTENT_FRAME, EncodedFrame, FrameBuilder, NODE_FRAME, OpenPack, PackBody, SealedPack,
};

#[cfg(test)]
mod tests;
