//! Who may talk to the server over HTTP, and when they have gone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::token::Token;

/// Cancelled when the connection of a request's answer is gone. Calls on standard streams have one
/// that never is.
#[derive(Debug, Clone, Default)]
pub struct Hangup(CancellationToken);

impl Hangup {
    /// Whether it is gone.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Returns when it is gone.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }
}

/// Lets nobody in without the token. `None`: everybody who can reach the address.
pub async fn authorize(
    State(token): State<Option<Arc<Token>>>,
    request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let allowed = token.is_none_or(|token| given.is_some_and(|given| token.is_bearer(given)));
    if allowed {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, r#"Bearer realm="pyro""#)];
    let text =
        "Unauthorized: send the header 'Authorization: Bearer TOKEN' with the server's token";
    (StatusCode::UNAUTHORIZED, challenge, text).into_response()
}

/// On loopback a connection that ends is a client that has gone: what it waits for is given up,
/// whether the answer has begun or not.
pub async fn watch(mut request: Request, next: Next) -> Response {
    let hangup = Hangup::default();
    let guard = hangup.0.clone().drop_guard();
    request.extensions_mut().insert(hangup);
    let response = next.run(request).await;
    response.map(|inner| Body::new(Watched { inner, _guard: guard }))
}

/// A body whose end is noticed.
struct Watched {
    inner: Body,
    _guard: DropGuard,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
