//! The end of what a shell printed: bounded, and read by position.

use std::collections::VecDeque;

/// Bytes that are kept.
pub const KEPT: usize = 1 << 20;

/// The last bytes of an endless output. Positions count from its start.
#[derive(Debug, Default)]
pub struct Ring {
    kept: VecDeque<u8>,
    end: u64,
}

impl Ring {
    /// Position of the oldest byte that is kept.
    pub fn start(&self) -> u64 {
        self.end - self.kept.len() as u64
    }

    /// Position of the next byte to come.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Takes all of `data`; the oldest bytes make room.
    pub fn push(&mut self, data: &[u8]) {
        self.end += data.len() as u64;
        let data = &data[data.len().saturating_sub(KEPT)..];
        let surplus = (self.kept.len() + data.len()).saturating_sub(KEPT);
        self.kept.drain(..surplus);
        self.kept.extend(data);
    }

    /// At most `max` bytes from `from` on, or from the oldest that is kept; the position of the
    /// first, and the bytes.
    pub fn read(&self, from: u64, max: usize) -> (u64, Vec<u8>) {
        let at = from.clamp(self.start(), self.end);
        // No more than the ring holds, so it fits.
        let skip = (at - self.start()) as usize;
        (at, self.kept.range(skip..).take(max).copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reading_takes_nothing_away_and_positions_stay() {
        let mut ring = Ring::default();
        ring.push(b"hello ");
        ring.push(b"world");
        for _ in 0..2 {
            assert_eq!(ring.read(0, 99), (0, b"hello world".to_vec()));
        }
        assert_eq!(ring.read(6, 3), (6, b"wor".to_vec()));
        assert_eq!(ring.read(11, 3), (11, vec![]));
        assert_eq!(ring.read(99, 3), (11, vec![]), "nothing is past the end");
    }

    #[test]
    fn more_than_it_keeps_at_once_leaves_the_end() {
        let mut ring = Ring::default();
        ring.push(b"old");
        ring.push(&[vec![b'x'; KEPT], b"end".to_vec()].concat());
        assert_eq!((ring.start(), ring.end()), (6, KEPT as u64 + 6));
        let (at, data) = ring.read(0, usize::MAX);
        assert_eq!((at, data.len()), (6, KEPT));
        assert!(data.ends_with(b"xend"));
    }

    proptest! {
        #[test]
        fn it_shows_the_end_of_all_that_was_pushed(
            pushes in proptest::collection::vec(0..400_000usize, 0..12),
            from in 0..4_000_000u64,
            max in 0..2_000_000usize,
        ) {
            let byte = |at: u64| (at % 251) as u8;
            let mut ring = Ring::default();
            for len in pushes {
                let data: Vec<u8> = (ring.end()..).take(len).map(byte).collect();
                ring.push(&data);
            }
            let kept = ring.end().min(KEPT as u64);
            prop_assert_eq!(ring.start(), ring.end() - kept);
            let (at, data) = ring.read(from, max);
            prop_assert_eq!(at, from.clamp(ring.start(), ring.end()));
            prop_assert_eq!(data.len() as u64, (ring.end() - at).min(max as u64));
            prop_assert!((at..).zip(&data).all(|(at, found)| byte(at) == *found));
        }
    }
}
