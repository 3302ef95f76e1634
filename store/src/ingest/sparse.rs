//! Files whose holes are left out of an archive: GNU sparse format 1.0, as GNU tar and bsdtar write
//! it into pax archives. (The older format of GNU archives is understood by the decoder.)
//!
//! The member's data begins with a map, decimal numbers each on a line: how many segments follow,
//! then offset and length of each; padded to 512 bytes. The segments' bytes come after it.

use std::io::{self, Read};

/// More segments than any file system gives a file that people pack; the map is kept in memory.
const MAX_SEGMENTS: u64 = 1 << 20;
const BLOCK: usize = 512;

/// The file as it was, holes as zeroes.
pub(super) struct Expanded<'a> {
    input: &'a mut dyn Read,
    /// Offset and end of each segment, in order, the first one last.
    segments: Vec<(u64, u64)>,
    at: u64,
    size: u64,
}

impl<'a> Expanded<'a> {
    /// Reads the map. The error says what is wrong with it.
    pub(super) fn new(input: &'a mut dyn Read, size: u64) -> Result<Self, String> {
        let mut map = Map { input, block: [0; BLOCK], at: BLOCK };
        let count = map.number()?;
        if count > MAX_SEGMENTS {
            return Err("is a sparse file of too many pieces".to_owned());
        }
        let mut segments = Vec::new();
        let mut last = 0;
        for _ in 0..count {
            let (offset, len) = (map.number()?, map.number()?);
            let end = offset.checked_add(len).filter(|end| offset >= last && *end <= size);
            last = end.ok_or("is a sparse file whose pieces overlap")?;
            segments.push((offset, last));
        }
        segments.reverse();
        Ok(Self { input: map.input, segments, at: 0, size })
    }
}

impl Read for Expanded<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.segments.last().is_some_and(|(_, end)| *end <= self.at) {
            self.segments.pop();
        }
        let (data, until) = match self.segments.last() {
            Some((offset, _)) if *offset > self.at => (false, *offset),
            Some((_, end)) => (true, *end),
            None => (false, self.size),
        };
        let wanted = (until - self.at).min(out.len() as u64) as usize;
        let len = if data {
            self.input.read(&mut out[..wanted])?
        } else {
            out[..wanted].fill(0);
            wanted
        };
        self.at += len as u64;
        Ok(len)
    }
}

struct Map<'a> {
    input: &'a mut dyn Read,
    block: [u8; BLOCK],
    at: usize,
}

impl Map<'_> {
    fn number(&mut self) -> Result<u64, String> {
        let bad = || "is a sparse file with a bad map".to_owned();
        let mut number = None::<u64>;
        loop {
            if self.at == BLOCK {
                self.input.read_exact(&mut self.block).map_err(|_| bad())?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'0'..=b'9' => {
                    let shifted = number.unwrap_or(0).checked_mul(10);
                    let next = shifted.and_then(|value| value.checked_add(u64::from(byte - b'0')));
                    number = Some(next.ok_or_else(bad)?);
                }
                b'\n' => return number.ok_or_else(bad),
                _ => return Err(bad()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expand(data: &[u8], size: u64) -> Result<Vec<u8>, String> {
        let mut input = data;
        let mut out = Vec::new();
        Expanded::new(&mut input, size)?
            .read_to_end(&mut out)
            .map_err(|error| error.to_string())
            .map(|_| out)
    }

    #[test]
    fn segments_stand_where_the_map_says() {
        let mut data = b"3\n2\n1\n4\n2\n8\n0\n".to_vec();
        data.resize(BLOCK, 0);
        data.extend_from_slice(b"abc");
        assert_eq!(expand(&data, 8).unwrap(), b"\0\0a\0bc\0\0");
        assert!(expand(&data, 5).is_err());
        let mut overlap = b"2\n2\n3\n4\n2\n".to_vec();
        overlap.resize(BLOCK, 0);
        assert!(expand(&overlap, 100).is_err());
        assert!(expand(b"1\n", 100).is_err());
    }

    proptest! {
        #[test]
        fn noise_is_refused_or_read_but_never_panics(
            text in "[0-9\n]{0,40}", size in 0u64..5000,
        ) {
            let mut data = text.into_bytes();
            data.resize(BLOCK * 2, b'\n');
            if let Ok(out) = expand(&data, size) {
                prop_assert!(out.len() as u64 <= size);
            }
        }
    }
}
