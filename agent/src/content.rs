//! Content of files of `/workspace` for the host: how they are cut, and their bytes.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, fstat};
use pyro_format::{ChunkId, FileId, MAX_CHUNK, TreePath, cut};
use pyro_proto::{FileChunks, HOST_FRAME_LIMIT, MAX_DATA, Piece, Reply};

use crate::beneath::{self, Kind};
use crate::error::{Doing, Error, Result};
use crate::workspace::Workspace;

/// How often a file that changes while it is cut is read again.
const ATTEMPTS: usize = 3;
/// Most chunks one answer can hold: an id and a length each.
const MOST_CHUNKS: usize = (HOST_FRAME_LIMIT - 1024) / 36;

/// One `Chunks` or `Unreadable` for each file. Blocks.
pub fn cut_files(
    workspace: &Workspace,
    paths: &[TreePath],
    mut send: impl FnMut(Reply) -> Result<()>,
) -> Result<()> {
    let top = workspace.top()?;
    for path in paths {
        let result = open_file(top.as_fd(), path).and_then(|(file, stat)| cut_file(file, stat));
        send(match result {
            Ok(chunks) => Reply::Chunks(chunks),
            Err(error) => unreadable(path, &error),
        })?;
    }
    Ok(())
}

/// `Data` until each piece is complete, or `Unreadable`; then `Done`. Blocks.
pub fn read_pieces(
    workspace: &Workspace,
    pieces: &[Piece],
    mut send: impl FnMut(Reply) -> Result<()>,
) -> Result<()> {
    let top = workspace.top()?;
    let mut open: Option<(&TreePath, File)> = None;
    for piece in pieces {
        if open.as_ref().is_none_or(|(path, _)| *path != &piece.path) {
            match open_file(top.as_fd(), &piece.path) {
                Ok((file, _)) => open = Some((&piece.path, file)),
                Err(error) => {
                    open = None;
                    send(unreadable(&piece.path, &error))?;
                }
            }
        }
        if let Some((_, file)) = &open {
            read_piece(file, piece, &mut send)?;
        }
    }
    send(Reply::Done)
}

fn read_piece(
    file: &File,
    piece: &Piece,
    send: &mut impl FnMut(Reply) -> Result<()>,
) -> Result<()> {
    let (mut at, mut left) = (piece.offset, piece.len);
    while left > 0 {
        let mut data = vec![0; left.min(MAX_DATA as u64) as usize];
        let error = match file.read_at(&mut data, at) {
            Ok(0) => Error::NotFound("the file is too short".into()),
            Ok(len) => {
                data.truncate(len);
                at += len as u64;
                left -= len as u64;
                send(Reply::Data(data))?;
                continue;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => Error::Io { what: "cannot read".into(), source: error },
        };
        return send(unreadable(&piece.path, &error));
    }
    Ok(())
}

fn unreadable(path: &TreePath, error: &Error) -> Reply {
    Reply::Unreadable { message: format!("'{path}': {}", error.chain()) }
}

fn open_file(top: BorrowedFd<'_>, path: &TreePath) -> Result<(File, FileStat)> {
    let not_regular = || Error::Invalid("not a regular file".into());
    // Opening a pipe or a device would block or do things; a stat first does neither.
    let seen = beneath::open(top, path, OFlag::O_PATH | OFlag::O_NOFOLLOW)
        .and_then(fstat)
        .map_err(|errno| match errno {
            Errno::ELOOP => not_regular(),
            errno => Error::Io { what: "cannot open".into(), source: errno.into() },
        })?;
    if beneath::kind(&seen) != Kind::File {
        return Err(not_regular());
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    let file = File::from(beneath::open(top, path, flags).doing(|| "open".into())?);
    let stat = fstat(&file).doing(|| "look at".into())?;
    if beneath::kind(&stat) != Kind::File { Err(not_regular()) } else { Ok((file, stat)) }
}

/// Cuts a file; one that changes meanwhile is cut again, and the last reading counts.
fn cut_file(mut file: File, mut before: FileStat) -> Result<FileChunks> {
    let state = |stat: &FileStat| {
        let (mtime, ctime) =
            ((stat.st_mtime, stat.st_mtime_nsec), (stat.st_ctime, stat.st_ctime_nsec));
        (stat.st_size, mtime, ctime)
    };
    for attempt in 1.. {
        std::io::Seek::rewind(&mut file).doing(|| "read".into())?;
        let (content, size, chunks) = cut_stream(&file)?;
        let after = fstat(&file).doing(|| "look at".into())?;
        if state(&before) == state(&after) || attempt == ATTEMPTS {
            return Ok(FileChunks { size, content, mtime: beneath::mtime(&after), chunks });
        }
        before = after;
    }
    Err(Error::Invalid("the file keeps changing".into()))
}

type Cut = (FileId, u64, Vec<(ChunkId, u32)>);

fn cut_stream(mut file: impl Read) -> Result<Cut> {
    // Several longest chunks, so that the rest is moved to the front only now and then.
    let mut buffer = vec![0; 4 * MAX_CHUNK];
    let (mut start, mut end, mut ended) = (0, 0, false);
    let (mut whole, mut size, mut chunks) = (blake3::Hasher::new(), 0, Vec::new());
    loop {
        if end - start < MAX_CHUNK && !ended {
            buffer.copy_within(start..end, 0);
            (start, end) = (0, end - start);
            while end < buffer.len() && !ended {
                match file.read(&mut buffer[end..]) {
                    Ok(0) => ended = true,
                    Ok(len) => end += len,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error).doing(|| "read".into()),
                }
            }
        }
        let window = &buffer[start..end.min(start + MAX_CHUNK)];
        let len = cut(window);
        if len == 0 {
            break;
        }
        whole.update(&window[..len]);
        chunks.push((ChunkId::of(&window[..len]), len as u32));
        if chunks.len() > MOST_CHUNKS {
            let message = format!("more than {MOST_CHUNKS} chunks are too many for one file");
            return Err(Error::Invalid(message));
        }
        size += len as u64;
        start += len;
    }
    Ok((FileId::from_bytes(*whole.finalize().as_bytes()), size, chunks))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives few bytes at a time, as a slow disk may.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let limit = buffer.len().min(9_999);
            self.0.read(&mut buffer[..limit])
        }
    }

    #[test]
    fn cuts_do_not_depend_on_how_a_file_is_read() {
        let mut data = vec![0; 3_000_000];
        blake3::Hasher::new().finalize_xof().fill(&mut data);
        let (content, size, chunks) = cut_stream(Trickle(&data)).unwrap();
        assert_eq!((content, size), (FileId::of(&data), data.len() as u64));
        assert_eq!(chunks, cut_stream(&data[..]).unwrap().2);
        let mut rest = &data[..];
        for (id, len) in chunks {
            let (chunk, after) = rest.split_at(len as usize);
            assert_eq!(cut(&rest[..rest.len().min(MAX_CHUNK)]), chunk.len());
            assert_eq!(id, ChunkId::of(chunk));
            rest = after;
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn an_empty_file_has_no_chunks() {
        assert_eq!(cut_stream(&b""[..]).unwrap(), (FileId::of(b""), 0, vec![]));
    }
}
