//! Where a file is cut: FastCDC, with parameters measured on source trees.

use fastcdc::v2020::{FastCDC, Normalization};

/// Files up to this many bytes are one chunk and are never scanned for cuts.
pub const SMALL_FILE: usize = 32 * 1024;
/// Shortest chunk but a file's last, in bytes.
pub const MIN_CHUNK: usize = 32 * 1024;
/// Average chunk, in bytes. 16 KiB would shrink increments by a third and grow the index by as much.
const AVG_CHUNK: usize = 64 * 1024;
/// Longest chunk, in bytes.
pub const MAX_CHUNK: usize = 256 * 1024;

/// Length of the chunk at the start of `window` (FastCDC 2020, normalisation 3).
///
/// `window` must hold [`MAX_CHUNK`] bytes or reach to the end of the file; then the cuts depend on
/// the content alone, not on how it was read. Returns 0 only for an empty window.
pub fn cut(window: &[u8]) -> usize {
    if window.len() <= MIN_CHUNK {
        return window.len();
    }
    let fastcdc =
        FastCDC::with_level(window, MIN_CHUNK, AVG_CHUNK, MAX_CHUNK, Normalization::Level3);
    fastcdc.cut(0, window.len()).1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(data: &[u8]) -> Vec<usize> {
        let (mut at, mut lengths) = (0, Vec::new());
        while at < data.len() {
            lengths.push(cut(&data[at..data.len().min(at + MAX_CHUNK)]));
            at += lengths[lengths.len() - 1];
        }
        lengths
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn chunks_stay_within_their_bounds() {
        let lengths = lengths(&noise(3_000_000));
        let (last, body) = lengths.split_last().unwrap();
        assert!(body.iter().all(|len| (MIN_CHUNK..=MAX_CHUNK).contains(len)), "{lengths:?}");
        assert!(*last <= MAX_CHUNK && body.len() > 10);
    }

    #[test]
    fn an_insertion_moves_only_the_cuts_around_it() {
        let before = noise(3_000_000);
        let mut after = before.clone();
        after.splice(1_000_000..1_000_000, *b"inserted");
        let (old, new) = (lengths(&before), lengths(&after));
        let same_start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
        let same_end = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
        assert!(same_start + same_end + 2 >= old.len(), "{old:?} {new:?}");
    }
}
