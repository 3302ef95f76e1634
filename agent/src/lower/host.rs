//! The content connection: tagged requests to a host that may die and come back.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::time::Duration;

use parking_lot::Mutex;
use pyro_proto::{
    AGENT_PORT, Fetch, FetchBody, Fetched, FetchedBody, FrameError, GENERATION, GUEST_FRAME_LIMIT,
    HOST_PORT, Hello, MAX_DATA, Role, Source, read_frame, write_frame,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_vsock::{VsockAddr, VsockListener, VsockStream};

/// First and longest pause between attempts to reach the host.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How the host is reached.
pub trait Dial: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;
    /// Connects once.
    fn dial(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// How the host reaches the agent, too.
pub trait Listen: Dial + Clone {
    /// Takes the host's connections from now on. They end when the host can never come back.
    fn listen(&self) -> io::Result<mpsc::Receiver<Self::Stream>>;
}

/// The host's vsock port of a real VM.
#[derive(Debug, Clone, Copy)]
pub struct Vsock;

impl Dial for Vsock {
    type Stream = VsockStream;

    async fn dial(&self) -> io::Result<VsockStream> {
        VsockStream::connect(VsockAddr::new(tokio_vsock::VMADDR_CID_HOST, HOST_PORT)).await
    }
}

impl Listen for Vsock {
    fn listen(&self) -> io::Result<mpsc::Receiver<VsockStream>> {
        let address = VsockAddr::new(tokio_vsock::VMADDR_CID_ANY, AGENT_PORT);
        let listener = VsockListener::bind(address)?;
        let (sender, streams) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                // A connection that failed on arrival is the host's to repeat.
                let Ok((stream, _)) = listener.accept().await else { continue };
                if sender.send(stream).await.is_err() {
                    return;
                }
            }
        });
        Ok(streams)
    }
}

/// Connects and says hello, again and again until it works.
pub async fn reach<D: Dial>(dial: &D, role: Role) -> D::Stream {
    let mut pause = PAUSE.0;
    loop {
        if let Ok(mut stream) = dial.dial().await {
            let hello = Hello { generation: GENERATION, role };
            if write_frame(&mut stream, &hello).await.is_ok() {
                return stream;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Asks the host for nodes and ranges. Clones share one connection.
#[derive(Debug, Clone)]
pub struct Content(mpsc::UnboundedSender<Request>);

#[derive(Debug)]
struct Request {
    source: Source,
    body: FetchBody,
    answer: oneshot::Sender<FetchedBody>,
}

/// An answer that will come: a host that is gone is waited for.
pub type Answer = oneshot::Receiver<FetchedBody>;

impl Content {
    /// Starts the connection on the current runtime.
    pub fn start(dial: impl Dial) -> Self {
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(keep_connected(dial, requests));
        Self(sender)
    }

    /// Sends one request; the answer may be awaited in any order.
    pub fn ask(&self, source: Source, body: FetchBody) -> Answer {
        let (answer, receiver) = oneshot::channel();
        // The other end lives as long as its runtime; without it the answer is an error.
        let _ = self.0.send(Request { source, body, answer });
        receiver
    }

    /// Bytes of one file, at most [`MAX_DATA`].
    pub fn ask_range(
        &self,
        source: Source,
        path: pyro_format::TreePath,
        offset: u64,
        len: u32,
    ) -> Answer {
        self.ask(source, FetchBody::Range { path, offset, len: len.min(MAX_DATA as u32) })
    }
}

/// Requests without an answer, by tag. They outlive connections.
type Pending = Mutex<BTreeMap<u64, Request>>;

async fn keep_connected<D: Dial>(dial: D, mut requests: mpsc::UnboundedReceiver<Request>) {
    let pending = Pending::default();
    let mut next_tag = 0;
    loop {
        let (reader, writer) = tokio::io::split(reach(&dial, Role::Content).await);
        // Both sides run at once: a host that is busy answering may not be reading.
        let finished = tokio::select! {
            result = receive(reader, &pending) => result.map(|()| false),
            result = send(writer, &pending, &mut requests, &mut next_tag) => result,
        };
        if let Ok(true) = finished {
            return;
        }
    }
}

/// Sends what is pending, then what comes. Ends with `true` when nobody can ask any more.
async fn send(
    mut writer: impl AsyncWrite + Unpin,
    pending: &Pending,
    requests: &mut mpsc::UnboundedReceiver<Request>,
    next_tag: &mut u64,
) -> Result<bool, FrameError> {
    let fetch = |tag: u64, request: &Request| Fetch {
        tag,
        source: request.source,
        body: request.body.clone(),
    };
    let unanswered: Vec<Fetch> =
        pending.lock().iter().map(|(tag, request)| fetch(*tag, request)).collect();
    for request in unanswered {
        write_frame(&mut writer, &request).await?;
    }
    while let Some(request) = requests.recv().await {
        let tag = *next_tag;
        *next_tag += 1;
        let message = fetch(tag, &request);
        pending.lock().insert(tag, request);
        write_frame(&mut writer, &message).await?;
    }
    Ok(true)
}

async fn receive(mut reader: impl AsyncRead + Unpin, pending: &Pending) -> Result<(), FrameError> {
    while let Some(Fetched { tag, body }) = read_frame(&mut reader, GUEST_FRAME_LIMIT).await? {
        if let Some(request) = pending.lock().remove(&tag) {
            // Whoever asked may have stopped waiting.
            let _ = request.answer.send(body);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pyro_format::TreePath;
    use tokio::io::DuplexStream;

    use super::*;

    /// Hands out prepared connections, then refuses.
    struct Prepared(Arc<Mutex<Vec<DuplexStream>>>);

    impl Dial for Prepared {
        type Stream = DuplexStream;

        async fn dial(&self) -> io::Result<DuplexStream> {
            self.0.lock().pop().ok_or(io::ErrorKind::ConnectionRefused.into())
        }
    }

    async fn next_fetch(host: &mut DuplexStream) -> Fetch {
        read_frame(host, 1 << 20).await.unwrap().unwrap()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn unanswered_requests_are_sent_again_to_the_next_host() {
        let (guest, mut host) = tokio::io::duplex(1 << 16);
        let ends = Arc::new(Mutex::new(vec![guest]));
        let content = Content::start(Prepared(ends.clone()));
        let ask = |offset| content.ask_range(Source::Lower, TreePath::root(), offset, 1);
        let (first, second) = (ask(1), ask(2));

        let hello: Hello = read_frame(&mut host, 100).await.unwrap().unwrap();
        assert_eq!(hello.role, Role::Content);
        let (one, two) = (next_fetch(&mut host).await, next_fetch(&mut host).await);
        let answer = Fetched { tag: two.tag, body: FetchedBody::Bytes(vec![2]) };
        write_frame(&mut host, &answer).await.unwrap();
        assert_eq!(second.await, Ok(FetchedBody::Bytes(vec![2])));

        let (guest, mut host_again) = tokio::io::duplex(1 << 16);
        ends.lock().push(guest);
        drop(host);
        let _: Hello = read_frame(&mut host_again, 100).await.unwrap().unwrap();
        assert_eq!(next_fetch(&mut host_again).await, one);
        let answer = Fetched { tag: one.tag, body: FetchedBody::Error(2) };
        write_frame(&mut host_again, &answer).await.unwrap();
        assert_eq!(first.await, Ok(FetchedBody::Error(2)));
    }
}
