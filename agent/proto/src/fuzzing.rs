//! What fuzzers throw bytes at: every message of the wire, as either side reads it. See the store's
//! module of the same name.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{
    Booted, Call, Change, Fetch, Fetched, Fresh, Hello, Reply, ReportEnd, Welcome, encode_frame,
    read_frame,
};

/// What one side takes from the other: bounds what a fuzzer may make it allocate, too.
const LIMIT: usize = 1 << 20;

/// A stream of messages of the kind that the first byte chooses.
pub fn wire(data: &[u8]) {
    let Some((kind, stream)) = data.split_first() else { return };
    match kind % 10 {
        0 => read_all::<Hello>(stream),
        1 => read_all::<Welcome>(stream),
        2 => read_all::<Booted>(stream),
        3 => read_all::<Call>(stream),
        4 => read_all::<Reply>(stream),
        5 => read_all::<Fetch>(stream),
        6 => read_all::<Fetched>(stream),
        7 => read_all::<Change>(stream),
        9 => read_all::<Fresh>(stream),
        _ => read_all::<ReportEnd>(stream),
    }
}

fn read_all<T: Serialize + DeserializeOwned>(mut stream: &[u8]) {
    while let Ok(Some(message)) = now(read_frame::<T>(&mut stream, LIMIT)) {
        let frame = encode_frame(&message).expect("what was read can be written");
        let again = now(read_frame::<T>(&mut &frame[..], usize::MAX));
        let again = again.expect("what was written can be read").expect("all of it");
        assert_eq!(encode_frame(&again).expect("as before"), frame);
    }
}

/// Reading from memory never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("there is nothing to wait for"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_kept_input_is_survived() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/fuzz/wire");
        let mut count = 0;
        for entry in fs::read_dir(&dir).unwrap() {
            super::wire(&fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "{dir:?} is empty");
    }
}
