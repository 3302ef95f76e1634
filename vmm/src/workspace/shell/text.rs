//! Bytes of a terminal as text: where they may be cut.

/// Bytes at the end of `data` that begin a UTF-8 character whose rest has not come yet.
pub fn incomplete_utf8(data: &[u8]) -> usize {
    for back in 1..=data.len().min(3) {
        let tail = &data[data.len() - back..];
        if matches!(tail[0], 0x80..=0xbf) {
            continue;
        }
        let begun = std::str::from_utf8(tail).is_err_and(|error| error.error_len().is_none());
        return if begun { back } else { 0 };
    }
    0
}

/// Length of the beginning of `data` that is at most `max` characters when what is not UTF-8 is
/// replaced.
pub fn prefix_of_chars(data: &[u8], max: usize) -> usize {
    let (mut len, mut chars) = (0, 0);
    for chunk in data.utf8_chunks() {
        let replaced = (!chunk.invalid().is_empty()).then(|| chunk.invalid().len());
        for size in chunk.valid().chars().map(char::len_utf8).chain(replaced) {
            if chars == max {
                return len;
            }
            len += size;
            chars += 1;
        }
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_a_character_that_may_still_be_completed_is_held_back() {
        assert_eq!(incomplete_utf8("aé".as_bytes()), 0);
        assert_eq!(incomplete_utf8(b"a\xc3"), 1);
        assert_eq!(incomplete_utf8(b"a\xf0\x9f\x98"), 3);
        assert_eq!(incomplete_utf8(b"a\xff"), 0);
        assert_eq!(incomplete_utf8(b"\x80\x80\x80\x80"), 0);
        assert_eq!(incomplete_utf8(b""), 0);
    }

    proptest! {
        #[test]
        fn pieces_of_some_characters_are_the_whole(
            data in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "\\PC{0,60}".prop_map(String::into_bytes),
            ],
            max in 1..20usize,
        ) {
            let mut pieces = String::new();
            let mut rest = &data[..];
            while !rest.is_empty() {
                let len = prefix_of_chars(rest, max);
                let piece = String::from_utf8_lossy(&rest[..len]);
                prop_assert!(len > 0 && piece.chars().count() <= max);
                pieces.push_str(&piece);
                rest = &rest[len..];
            }
            prop_assert_eq!(pieces, String::from_utf8_lossy(&data));
        }
    }
}
