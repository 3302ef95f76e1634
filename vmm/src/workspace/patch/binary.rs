//! Content that is not text, as git's "GIT binary patch" carries it: deflated and in base 85, whole on
//! both sides, so that the patch can be taken back, too.
//!
//! `git apply` takes such a patch only with the full names of both blobs, and checks the old one
//! against the file that it finds.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha1::{Digest, Sha1};

/// Digits of base 85, in the order of their values.
const DIGITS: &[u8; 85] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";
/// Bytes in a full line.
const LINE: usize = 52;

/// Appends what stands below the modes: both names, then the new content, then the old.
pub fn write(out: &mut Vec<u8>, old: Option<&[u8]>, new: Option<&[u8]>) {
    let index = format!("index {}..{}\nGIT binary patch\n", blob(old), blob(new));
    out.extend_from_slice(index.as_bytes());
    for content in [new, old] {
        literal(out, content.unwrap_or_default());
    }
}

/// Git's name of a file's content; zeros where there is no file.
pub fn blob(content: Option<&[u8]>) -> String {
    let Some(content) = content else { return "0".repeat(40) };
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn literal(out: &mut Vec<u8>, content: &[u8]) {
    out.extend_from_slice(format!("literal {}\n", content.len()).as_bytes());
    for piece in deflated(content).chunks(LINE) {
        out.push(length_digit(piece.len()));
        for group in piece.chunks(4) {
            out.extend_from_slice(&base85(group));
        }
        out.push(b'\n');
    }
    out.push(b'\n');
}

fn deflated(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).and_then(|()| encoder.finish()).expect("a vector takes every byte")
}

/// How many bytes a line holds, 1 to 52: `A` to `Z`, then `a` to `z`.
fn length_digit(len: usize) -> u8 {
    let len = u8::try_from(len).unwrap_or(u8::MAX);
    if len <= 26 { b'A' + len - 1 } else { b'a' + len - 27 }
}

/// Up to four bytes, filled with zeros, as five digits, the highest first.
fn base85(group: &[u8]) -> [u8; 5] {
    let mut filled = [0; 4];
    filled[..group.len()].copy_from_slice(group);
    let mut rest = u32::from_be_bytes(filled);
    let mut digits = [0; 5];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 85) as usize];
        rest /= 85;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_git() {
        assert_eq!(blob(Some(b"")), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(blob(None), "0".repeat(40));
    }

    #[test]
    fn lines_say_how_much_they_hold() {
        assert_eq!([1, 26, 27, 52].map(length_digit), *b"AZaz");
        assert_eq!(base85(&[0xff; 4]), *b"|NsC0");
    }
}
