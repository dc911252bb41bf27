//! A small HTTP/1.1 server: hyper's protocol, our accept loop, our deadlines.
//!
//! 1. Every wait on a peer has a bound: handshake and first head together, later heads, body,
//!    idle time, and a response that the peer does not read.
//! 2. Every size has a bound that is checked before memory is taken: head, body, connections in
//!    all and by address.
//! 3. A handler gets a complete [`Request`] and answers a [`Response`]; it never sees a socket.
//!
//! Invariant: no peer can hold a connection without either making progress or being served.

mod guard;
mod limits;
mod query;
mod response;
mod server;

use std::net::SocketAddr;

use bytes::Bytes;
use hyper::{HeaderMap, Method};

pub use hyper::StatusCode;
pub use hyper::http::request::Parts;
pub use limits::Limits;
pub use query::{Query, QueryError, percent_decode};
pub use response::{Body, Response, bytes, empty, error, json, stream, text};
pub use server::{Admission, Metrics, Server};

/// A request with its whole body.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET, POST, …
    pub method: Method,
    /// The path as it was sent, still percent-encoded, without the query.
    pub path: String,
    /// The decoded query.
    pub query: Query,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, within [`Limits::body_bytes_max`].
    pub body: Bytes,
    /// The other end of the connection: a client or a proxy, see
    /// [`client_address`](crate::address::client_address).
    pub peer: SocketAddr,
}

impl Request {
    /// A header's value as text; `None` if it is absent or no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

#[cfg(test)]
mod tests;
