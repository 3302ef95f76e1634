//! What all calls have in common.

use serde::{Serialize, de::DeserializeOwned};

/// One call of the daemon.
pub trait Call: Serialize + DeserializeOwned + Send + 'static {
    /// Last part of its URL path.
    const NAME: &'static str;
    /// What [`crate::Event::Result`] holds.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
}

macro_rules! calls {
    ($($name:literal: $call:ty => $reply:ty;)*) => {
        $(impl $crate::Call for $call {
            const NAME: &'static str = $name;
            type Reply = $reply;
        })*
    };
}
pub(crate) use calls;
