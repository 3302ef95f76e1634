//! Shared mappings, for writes that change no times.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;

/// One page of a file, mapped shared for writing.
pub struct Mapping(*mut u8);

const LEN: usize = 4096;

impl Mapping {
    /// Maps the first page; `None` when the file is shorter than a byte.
    pub fn new(file: &File) -> Option<Self> {
        if file.metadata().ok()?.len() == 0 {
            return None;
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping chosen by the kernel; checked below.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), LEN, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        (at != libc::MAP_FAILED).then_some(Self(at.cast()))
    }

    /// Writes the first byte. Only while the file is not empty.
    pub fn poke(&self, byte: u8) {
        // SAFETY: the page is mapped; callers keep the file from shrinking to nothing.
        unsafe { self.0.write_volatile(byte) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and not used any more.
        unsafe { libc::munmap(self.0.cast(), LEN) };
    }
}
