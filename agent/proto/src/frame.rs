//! Length-prefixed postcard frames.

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest frame a host takes from a guest, in bytes. The guest is hostile: this bounds what one
/// connection can make the host allocate.
pub const HOST_FRAME_LIMIT: usize = 4 << 20;
/// Largest frame a guest takes from its host, in bytes: the node of a directory with millions of
/// entries is one frame.
pub const GUEST_FRAME_LIMIT: usize = 512 << 20;

/// Why no message could be read or written.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The connection failed, or ended inside a frame.
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    /// The frame is longer than the reader takes.
    #[error("a frame of {len} bytes is over the limit of {limit}")]
    TooLong {
        /// Announced length in bytes.
        len: usize,
        /// The reader's limit in bytes.
        limit: usize,
    },
    /// The bytes are not the expected message.
    #[error("not a valid message")]
    Decode(#[from] postcard::Error),
}

/// `message` as one frame.
pub fn encode_frame<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = postcard::to_extend(message, vec![0; 4])?;
    let len = frame.len() - 4;
    let header = u32::try_from(len)
        .map_err(|_| FrameError::TooLong { len, limit: u32::MAX as usize })?
        .to_le_bytes();
    frame[..4].copy_from_slice(&header);
    Ok(frame)
}

/// Writes `message` as one frame. The caller flushes buffered writers.
pub async fn write_frame<T: Serialize>(
    writer: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> Result<(), FrameError> {
    let frame = encode_frame(message)?;
    // Called by its full path: tokio-vsock's stream has an inherent method of the same name.
    AsyncWriteExt::write_all(writer, &frame).await?;
    Ok(())
}

/// Reads one message of at most `limit` bytes; `None` when the connection ended between frames.
///
/// Not cancel-safe: a reader dropped inside a frame leaves the connection unusable.
pub async fn read_frame<T: DeserializeOwned>(
    reader: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<Option<T>, FrameError> {
    let mut header = [0; 4];
    if reader.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut header[1..]).await?;
    let len = u32::from_le_bytes(header) as usize;
    if len > limit {
        return Err(FrameError::TooLong { len, limit });
    }
    // Grows as bytes arrive: an announced length alone allocates nothing.
    let mut body = Vec::new();
    reader.take(len as u64).read_to_end(&mut body).await?;
    if body.len() < len {
        return Err(FrameError::Io(std::io::ErrorKind::UnexpectedEof.into()));
    }
    let (message, rest) = postcard::take_from_bytes(&body)?;
    if rest.is_empty() {
        Ok(Some(message))
    } else {
        Err(FrameError::Decode(postcard::Error::DeserializeBadEncoding))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn frames_arrive_whole_and_in_order() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &"one").await.unwrap();
        write_frame(&mut bytes, &"two").await.unwrap();
        let mut reader = &bytes[..];
        let mut next = async || read_frame::<String>(&mut reader, 99).await.unwrap();
        assert_eq!(next().await.as_deref(), Some("one"));
        assert_eq!(next().await.as_deref(), Some("two"));
        assert_eq!(next().await, None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn long_short_and_padded_frames_are_errors() {
        let long = u32::MAX.to_le_bytes();
        assert!(matches!(
            read_frame::<String>(&mut &long[..], 10).await,
            Err(FrameError::TooLong { limit: 10, .. })
        ));
        let short = [5, 0, 0, 0, 1];
        assert!(matches!(read_frame::<String>(&mut &short[..], 10).await, Err(FrameError::Io(_))));
        let padded = [2, 0, 0, 0, 1, 1];
        assert!(matches!(
            read_frame::<bool>(&mut &padded[..], 10).await,
            Err(FrameError::Decode(_))
        ));
    }
}
