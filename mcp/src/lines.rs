//! Messages as lines, and what is no message answered as the protocol says.

use std::io;
use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{
    ClientJsonRpcMessage, ErrorCode, ErrorData, JsonRpcMessage, RequestId, ServerJsonRpcMessage,
};
use rmcp::transport::Transport;
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Mutex, mpsc};
use tokio_util::task::AbortOnDropHandle;

/// Longest line, in bytes: as long as a call of the daemon may be.
const MAX_LINE: usize = 16 << 20;
/// Messages that were read and not looked at yet.
const AHEAD: usize = 16;

type Writer<W> = Arc<Mutex<Option<W>>>;

/// A client that writes lines and reads lines.
#[derive(Debug)]
pub struct Lines<W> {
    messages: mpsc::Receiver<ClientJsonRpcMessage>,
    writer: Writer<W>,
    _reader: AbortOnDropHandle<()>,
}

impl<W: AsyncWrite + Send + Unpin + 'static> Lines<W> {
    /// Reads on a task of its own, so that no message is lost half read.
    pub fn new(reader: impl AsyncRead + Send + Unpin + 'static, writer: W) -> Self {
        let writer = Arc::new(Mutex::new(Some(writer)));
        let (sender, messages) = mpsc::channel(AHEAD);
        let reading = read(BufReader::new(reader), writer.clone(), sender);
        Self { messages, writer, _reader: AbortOnDropHandle::new(tokio::spawn(reading)) }
    }
}

impl<W: AsyncWrite + Send + Unpin + 'static> Transport<RoleServer> for Lines<W> {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        write(self.writer.clone(), message)
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        self.messages.recv().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.writer.lock().await.take();
        Ok(())
    }
}

async fn write<W: AsyncWrite + Unpin>(
    writer: Writer<W>,
    message: ServerJsonRpcMessage,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(&message)?;
    line.push(b'\n');
    let mut writer = writer.lock().await;
    let Some(writer) = writer.as_mut() else { return Err(io::ErrorKind::NotConnected.into()) };
    writer.write_all(&line).await?;
    writer.flush().await
}

async fn read<W: AsyncWrite + Unpin>(
    mut reader: impl AsyncBufRead + Unpin,
    writer: Writer<W>,
    messages: mpsc::Sender<ClientJsonRpcMessage>,
) {
    let mut begun = false;
    while let Ok(line) = next_line(&mut reader, MAX_LINE).await {
        let parsed = match line {
            Line::End => return,
            Line::Whole(line) => parse(&line),
            Line::TooLong => Err(Some((None, too_long()))),
        };
        let sent = match parsed {
            // Before the first request nothing else means anything.
            Ok(message) if begun || matches!(message, JsonRpcMessage::Request(_)) => {
                begun = true;
                messages.send(message).await.is_ok()
            }
            Ok(_) | Err(None) => true,
            Err(Some((id, error))) => {
                write(writer.clone(), ServerJsonRpcMessage::error(error, id)).await.is_ok()
            }
        };
        if !sent {
            return;
        }
    }
}

fn too_long() -> ErrorData {
    ErrorData::invalid_request(format!("Invalid Request: more than {MAX_LINE} bytes"), None)
}

/// A message, or the error that answers it, or nothing to say.
fn parse(line: &[u8]) -> Result<ClientJsonRpcMessage, Option<(Option<RequestId>, ErrorData)>> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii();
    if line.is_empty() {
        return Err(None);
    }
    let reason = match serde_json::from_slice(line) {
        Ok(message) => return Ok(message),
        Err(error) => error,
    };
    let value: Value = serde_json::from_slice(line).map_err(|error| {
        let message = format!("Parse error: {error}");
        Some((None, ErrorData::new(ErrorCode::PARSE_ERROR, message, None)))
    })?;
    let id = value.get("id").and_then(|id| serde_json::from_value(id.clone()).ok());
    // A notification has no answer, and an answer has none either.
    let is_request = value.get("method").is_none_or(|method| !method.is_string() || id.is_some());
    let is_answer = value.get("result").or(value.get("error")).is_some();
    if !is_request || is_answer {
        return Err(None);
    }
    let why = match &value {
        Value::Array(_) => "batches are not spoken".to_owned(),
        Value::Object(_) => reason.to_string(),
        _ => "it is no object".to_owned(),
    };
    Err(Some((id, ErrorData::invalid_request(format!("Invalid Request: {why}"), None))))
}

#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole(Vec<u8>),
    /// It was passed over.
    TooLong,
    End,
}

/// The next line without its end. Keeps no more than `max` bytes of it.
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin), max: usize) -> io::Result<Line> {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok(match (too_long, line.is_empty()) {
                (true, _) => Line::TooLong,
                (false, true) => Line::End,
                (false, false) => Line::Whole(line),
            });
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        too_long |= line.len() + part.len() > max;
        if too_long {
            line = Vec::new();
        } else {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(if too_long { Line::TooLong } else { Line::Whole(line) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> (Option<RequestId>, i32) {
        let (id, error) = parse(line.as_bytes()).unwrap_err().unwrap();
        (id, error.code.0)
    }

    #[test]
    fn what_is_no_message_is_answered_with_its_id() {
        assert_eq!(refused("no JSON"), (None, -32700));
        assert_eq!(refused("{"), (None, -32700));
        assert_eq!(refused("[]"), (None, -32600));
        assert_eq!(refused("7"), (None, -32600));
        assert_eq!(refused("{}"), (None, -32600));
        let id = Some(RequestId::Number(5));
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":5,"method":42}"#), (id.clone(), -32600));
        assert_eq!(refused(r#"{"id":5,"method":"ping"}"#), (id, -32600));
    }

    #[test]
    fn what_has_no_answer_gets_none() {
        for line in ["", "  \r", r#"{"method":"notifications/odd","params":7}"#] {
            assert_eq!(parse(line.as_bytes()).unwrap_err(), None, "{line}");
        }
    }

    #[test]
    fn a_byte_order_mark_and_spaces_do_not_matter() {
        let line = "\u{feff} {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\r";
        assert!(matches!(parse(line.as_bytes()), Ok(JsonRpcMessage::Request(_))));
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_passed_over() {
        let text = b"ab\nabcdef\n\ncd";
        for buffer in [1, 2, 100] {
            let mut reader = BufReader::with_capacity(buffer, &text[..]);
            let mut lines = Vec::new();
            loop {
                match next_line(&mut reader, 3).await.unwrap() {
                    Line::End => break,
                    line => lines.push(line),
                }
            }
            let whole = |text: &[u8]| Line::Whole(text.to_vec());
            assert_eq!(lines, [whole(b"ab"), Line::TooLong, whole(b""), whole(b"cd")], "{buffer}");
        }
    }
}
