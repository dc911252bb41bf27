//! Answers: whole bodies, and bodies that go on.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::StatusCode;
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use tokio::sync::mpsc;

/// Any body.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What a handler answers.
pub type Response = hyper::Response<Body>;

/// A body of the given type.
pub fn bytes(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    respond(status, content_type, Full::new(body.into()).boxed_unsync())
}

/// A plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    bytes(status, "text/plain; charset=utf-8", body)
}

/// A value as JSON.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => bytes(status, "application/json", body),
        Err(error) => {
            tracing::error!(%error, "a response could not be written as JSON");
            text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
        }
    }
}

/// A failure as JSON: `{"error": "…"}`. The message is for the caller; what the operator should
/// know belongs in the log.
pub fn error(status: StatusCode, message: &str) -> Response {
    json(status, &serde_json::json!({ "error": message }))
}

/// No body.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = status;
    response
}

/// A body that goes on until the sender is dropped. The channel's bound is the backpressure: what
/// a slow peer cannot take, its sender has to deal with.
pub fn stream(content_type: &'static str, pieces: mpsc::Receiver<Bytes>) -> Response {
    respond(StatusCode::OK, content_type, Pieces(pieces).boxed_unsync())
}

fn respond(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A channel as a body.
struct Pieces(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = ready!(self.0.poll_recv(context));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}
