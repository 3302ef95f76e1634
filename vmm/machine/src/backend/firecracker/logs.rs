//! What Firecracker logs and counts, kept within bounds: it writes to pipes, which are read here.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::console::{BoundedLog, append};

/// A pipe, and the file that its content goes to.
#[derive(Debug)]
pub(super) struct Log {
    pipe: PathBuf,
    /// Its end for reading. For writing too, so that what is read never ends.
    end: File,
    file: PathBuf,
}

impl Log {
    /// Makes the pipe and opens it: who writes without waiting must find a reader.
    pub(super) fn make(pipe: PathBuf, file: &Path) -> io::Result<Self> {
        mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let end = File::options().read(true).write(true).open(&pipe)?;
        Ok(Self { pipe, end, file: file.to_owned() })
    }

    /// Where Firecracker writes.
    pub(super) fn pipe(&self) -> &Path {
        &self.pipe
    }

    /// Copies what comes for ever. A log that cannot be written is read all the same: who writes to a
    /// full pipe loses what does not fit.
    pub(super) async fn keep(self) {
        let Ok(mut pipe) = pipe::Receiver::from_file(self.end) else { return };
        let mut log = BoundedLog::create(&self.file).ok();
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count) = pipe.read(&mut buffer).await {
            append(&mut log, &buffer[..count]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_log_is_kept_within_bounds_and_outlives_its_writers() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        let log = Log::make(dir.path().join("pipe"), &file).unwrap();
        let pipe = log.pipe().to_owned();
        let keeping = tokio::spawn(log.keep());
        let read = || std::fs::read_to_string(&file).unwrap_or_default();
        let give_up = Instant::now() + Duration::from_secs(20);
        for word in ["first", "second"] {
            let mut writer = pipe::OpenOptions::new().read_write(true).open_sender(&pipe).unwrap();
            writer.write_all(word.as_bytes()).await.unwrap();
            for _ in 0..2000 {
                writer.write_all(&[b'x'; 1000]).await.unwrap();
            }
            writer.write_all(b"last").await.unwrap();
            while !read().ends_with("last") {
                assert!(Instant::now() < give_up, "{word}");
                tokio::task::yield_now().await;
            }
        }
        assert!(read().starts_with("first") && read().len() < 600 << 10);
        keeping.abort();
    }
}
