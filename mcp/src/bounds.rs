//! What one answer may hold: a model reads all of it.

use std::ops::RangeInclusive;

use pyro_api::{ErrorBody, ErrorCode, SkippedEntry};

/// Characters of one text when the caller does not say.
pub const CHARS: u32 = 16 << 10;
/// Characters of one output of a VM that is gone afterwards: there is no second look.
pub const LAST_CHARS: u32 = 32 << 10;
/// Most characters of one text.
pub const MAX_CHARS: u32 = 1 << 20;
/// Entries of a list that is a remark beside an answer.
const REMARKS: usize = 50;

/// The argument `name`, or its default; one that is out of range is refused.
pub fn within(
    name: &str,
    given: Option<u32>,
    default: u32,
    range: RangeInclusive<u32>,
) -> Result<u32, ErrorBody> {
    let value = given.unwrap_or(default);
    if range.contains(&value) {
        return Ok(value);
    }
    Err(ErrorBody::new(
        ErrorCode::InvalidArgument,
        format!("'{name}' must be {} to {}, not {value}", range.start(), range.end()),
    ))
}

/// The argument `max_chars`.
pub fn max_chars(given: Option<u32>, default: u32) -> Result<usize, ErrorBody> {
    within("max_chars", given, default, 1..=MAX_CHARS).map(|chars| chars as usize)
}

/// Head and tail of a text of more than `max` characters, with a note between them, and whether
/// something was left out.
pub fn head_and_tail(text: String, max: usize) -> (String, bool) {
    let count = text.chars().count();
    if count <= max {
        return (text, false);
    }
    let at = |chars: usize| text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
    let head = &text[..at(max - max / 2)];
    let tail = &text[at(count - max / 2)..];
    let note = format!("\n[... {} characters left out ...]\n", count - max);
    ([head, &note, tail].concat(), true)
}

/// Part of a list: `limit` items from `offset` on, and where the next part begins.
pub fn page<T>(items: Vec<T>, offset: u64, limit: u32) -> (Vec<T>, Option<u64>) {
    let total = items.len() as u64;
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let part: Vec<T> = items.into_iter().skip(start).take(limit as usize).collect();
    let end = offset.saturating_add(part.len() as u64);
    (part, (end < total).then_some(end))
}

/// The bytes of `whole` from `offset` on, at most `max` and no broken character at the end, and
/// where the next part begins.
pub fn window(whole: &[u8], offset: u64, max: usize) -> (&[u8], Option<u64>) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
    let rest = &whole[start..];
    if rest.len() <= max {
        return (rest, None);
    }
    let mut end = max;
    // A character has four bytes at most; what is no UTF-8 is cut where it is.
    while end > 0 && max - end < 4 && rest[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    if end == 0 || rest[end] & 0xc0 == 0x80 {
        end = max;
    }
    (&rest[..end], Some((start + end) as u64))
}

/// Shortens what was left out of a seed, or an export, and says so.
pub fn remarks(skipped: &mut Vec<SkippedEntry>, warnings: &mut Vec<String>) {
    let more = skipped.len().saturating_sub(REMARKS);
    skipped.truncate(REMARKS);
    let unsaid = warnings.len().saturating_sub(REMARKS);
    warnings.truncate(REMARKS);
    if more > 0 {
        warnings.push(format!("{more} more entries were skipped that are not listed here"));
    }
    if unsaid > 0 {
        warnings.push(format!("{unsaid} more warnings are not listed here"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_fits_is_left_alone() {
        assert_eq!(head_and_tail("äöü".into(), 3), ("äöü".into(), false));
        assert_eq!(head_and_tail(String::new(), 1), (String::new(), false));
    }

    #[test]
    fn a_longer_text_keeps_its_head_and_its_tail() {
        let (text, cut) = head_and_tail("aäbcdefgü".into(), 5);
        assert_eq!((text.as_str(), cut), ("aäb\n[... 4 characters left out ...]\ngü", true));
        assert_eq!(head_and_tail("ab".into(), 1).0, "a\n[... 1 characters left out ...]\n");
    }

    #[test]
    fn pages_meet_and_end() {
        let items: Vec<u32> = (0..5).collect();
        assert_eq!(page(items.clone(), 0, 2), (vec![0, 1], Some(2)));
        assert_eq!(page(items.clone(), 2, 3), (vec![2, 3, 4], None));
        assert_eq!(page(items.clone(), 5, 3), (vec![], None));
        assert_eq!(page(items, u64::MAX, 3), (vec![], None));
    }

    #[test]
    fn windows_meet_end_and_break_no_character() {
        let text = "aä€😀z".as_bytes();
        for max in 4..=text.len() {
            let (mut joined, mut offset) = (Vec::new(), Some(0));
            while let Some(at) = offset {
                let (part, next) = window(text, at, max);
                assert!(std::str::from_utf8(part).is_ok() && part.len() <= max, "{max}: {part:?}");
                joined.extend_from_slice(part);
                offset = next;
            }
            assert_eq!(joined, text, "{max}");
        }
        assert_eq!(window(text, 99, 4), (&[][..], None));
        let bytes = [0x80; 9];
        assert_eq!(
            window(&bytes, 0, 4),
            (&bytes[..4], Some(4)),
            "bytes that are no text move on too"
        );
    }

    #[test]
    fn an_argument_out_of_range_is_named() {
        assert_eq!(within("limit", None, 7, 1..=9), Ok(7));
        assert_eq!(within("limit", Some(9), 7, 1..=9), Ok(9));
        let error = within("limit", Some(0), 7, 1..=9).unwrap_err();
        assert_eq!(error.message, "'limit' must be 1 to 9, not 0");
    }
}
