//! Lines over QUIC: endpoints, the handshake of a line, and its three kinds of streams.
//!
//! A line is one QUIC connection under mutual TLS. The caller opens the control stream and says
//! hello; the answerer welcomes it. Frames come in datagrams, and those that are large or old on
//! unidirectional streams; every uplink request is a bidirectional stream of its own.
//!
//! Invariant: nothing is read beyond its bound (`CONTROL_BYTES_MAX`, `FRAME_BYTES_MAX`), and every
//! wait of the handshake has a deadline.

use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;

use super::tls::{NodeName, Nodes, Role, SERVER_NAME, TlsError};
use crate::config::{Configure, Reader};
use crate::limits::CONTROL_BYTES_MAX;
use crate::line::{BITS_PER_SECOND, BudgetFactory};
use crate::wire::PROTOCOL_VERSION;
use crate::wire::control::{Down, Hello, Request, Response, Up, Welcome, down, up};
use crate::wire::frame::{Frame, FrameError};

/// How lines use the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bits per second that each line may use in the direction from here.
    pub bits_per_second: u64,
    /// Whether the kernel may cut one large write into datagrams (GSO).
    pub segmentation_offload: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { bits_per_second: BITS_PER_SECOND, segmentation_offload: true }
    }
}

impl Configure for Settings {
    fn read(reader: &mut Reader) -> Self {
        Self {
            bits_per_second: reader.ranged(
                "line.bits_per_second",
                BITS_PER_SECOND,
                64_000..=100_000_000_000,
                "Bandwidth that each line may use in the direction from here.",
            ),
            segmentation_offload: reader.value(
                "line.segmentation_offload",
                true,
                "Whether the kernel may cut one large write into datagrams (GSO); some network \
                 cards lose such batches whole.",
            ),
        }
    }
}

impl LineError {
    /// The code that the peer closed the line with, if it did.
    pub fn close_code(&self) -> Option<VarInt> {
        let closed = match self {
            Self::Connection(error)
            | Self::Write(quinn::WriteError::ConnectionLost(error))
            | Self::Read(quinn::ReadError::ConnectionLost(error)) => error,
            _ => return None,
        };
        match closed {
            quinn::ConnectionError::ApplicationClosed(close) => Some(close.error_code),
            _ => None,
        }
    }
}

/// Why a line could not be opened or ended.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The UDP socket could not be bound.
    #[error("cannot bind line address {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The node's certificates cannot be used.
    #[error("cannot set up TLS between nodes")]
    Tls(#[from] TlsError),
    /// The local endpoint refused to connect.
    #[error("cannot start connecting")]
    Connect(#[from] quinn::ConnectError),
    /// The connection failed or ended.
    #[error("the line ended")]
    Connection(#[from] quinn::ConnectionError),
    /// A stream could not be written.
    #[error("cannot write to the line")]
    Write(#[from] quinn::WriteError),
    /// A stream could not be read.
    #[error("cannot read from the line")]
    Read(#[from] quinn::ReadError),
    /// A stream that should end did not within its bound, or failed.
    #[error("cannot read the whole answer")]
    ReadToEnd(#[from] quinn::ReadToEndError),
    /// The peer's certificate does not say who it is, or it is not who it should be.
    #[error("the peer is not what it should be: {0}")]
    Peer(String),
    /// Something other than the expected message.
    #[error("the peer broke the protocol: {0}")]
    Protocol(&'static str),
    /// A control message that does not parse.
    #[error("a control message does not parse")]
    Decode(#[from] prost::DecodeError),
    /// A live frame that does not parse.
    #[error("a live frame does not parse")]
    Frame(#[from] FrameError),
    /// The peer did not answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// A line as its caller holds it.
#[derive(Debug)]
pub struct Call {
    /// For uplink requests, the live stream and the line's statistics.
    pub connection: Connection,
    /// Who answered.
    pub peer: NodeName,
    /// The control stream, outgoing.
    pub up: Sender<Up>,
    /// The control stream, incoming.
    pub down: Receiver<Down>,
    /// What the answerer said first.
    pub welcome: Welcome,
}

/// A line as its answerer holds it.
#[derive(Debug)]
pub struct Answered {
    /// For the live stream and for accepting uplink requests.
    pub connection: Connection,
    /// Who called, as its certificate says.
    pub peer: NodeName,
    /// What it said first; the node's name in it is that of the certificate.
    pub hello: Hello,
    /// The control stream, incoming.
    pub up: Receiver<Up>,
    /// The control stream, outgoing.
    pub down: Sender<Down>,
}

/// An endpoint that answers lines of nodes of the given roles on `address`; each line
/// keeps to `settings`.
pub fn answering(
    address: SocketAddr,
    nodes: &Nodes,
    accepts: &[Role],
    settings: Settings,
) -> Result<Endpoint, LineError> {
    let mut config = nodes.quic_server(accepts)?;
    let mut transport = transport(settings);
    // Only whoever answers sends frames.
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    config.transport_config(Arc::new(transport));
    config.migration(false);
    let endpoint =
        Endpoint::server(config, address).map_err(|source| LineError::Bind { address, source })?;
    Ok(endpoint)
}

/// An endpoint that calls nodes of one role from `address` (port 0 for any); each line
/// keeps to `settings`.
pub fn calling(
    address: SocketAddr,
    nodes: &Nodes,
    expects: Role,
    settings: Settings,
) -> Result<Endpoint, LineError> {
    let mut endpoint =
        Endpoint::client(address).map_err(|source| LineError::Bind { address, source })?;
    let mut config = nodes.quic_client(&[expects])?;
    let mut transport = transport(settings);
    // Only whoever calls asks.
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    config.transport_config(Arc::new(transport));
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}

/// Opens a line to `remote` within [`OPEN_TIMEOUT`].
pub async fn call(
    endpoint: &Endpoint,
    remote: SocketAddr,
    hello: Hello,
) -> Result<Call, LineError> {
    let opened = async {
        let connection = endpoint.connect(remote, SERVER_NAME)?.await?;
        let peer = peer_name(&connection)?;
        let (send, recv) = connection.open_bi().await?;
        let (mut up, mut down) = (Sender::new(send), Receiver::new(recv));
        up.send(&Up { kind: Some(up::Kind::Hello(hello)), number: 0 }).await?;
        let Some(Down { kind: Some(down::Kind::Welcome(welcome)), .. }) = down.receive().await?
        else {
            return Err(LineError::Protocol("the first answer must be a welcome"));
        };
        if welcome.node != peer.name {
            connection.close(CLOSE_PROTOCOL, b"welcome and certificate name different nodes");
            return Err(LineError::Peer(format!("{peer} says it is {:?}", welcome.node)));
        }
        Ok(Call { connection, peer, up, down, welcome })
    };
    within(OPEN_TIMEOUT, opened).await
}

/// Answers a line: takes its hello within [`OPEN_TIMEOUT`]. The service sends the welcome.
pub async fn answer(incoming: Incoming) -> Result<Answered, LineError> {
    let answered = async {
        let connection = incoming.await?;
        let peer = peer_name(&connection)?;
        let (send, recv) = connection.accept_bi().await?;
        let (mut up, down) = (Receiver::<Up>::new(recv), Sender::new(send));
        let Some(Up { kind: Some(up::Kind::Hello(hello)), .. }) = up.receive().await? else {
            return Err(LineError::Protocol("the first message must be a hello"));
        };
        if hello.protocol != PROTOCOL_VERSION {
            connection.close(CLOSE_REFUSED, b"another protocol version");
            return Err(LineError::Protocol("another protocol version"));
        }
        if hello.node != peer.name {
            connection.close(CLOSE_REFUSED, b"hello and certificate name different nodes");
            return Err(LineError::Peer(format!("{peer} says it is {:?}", hello.node)));
        }
        Ok(Answered { connection, peer, hello, up, down })
    };
    within(OPEN_TIMEOUT, answered).await
}

/// Asks the upstream and waits for its answer, at most `timeout`. A request that is given up before
/// is withdrawn, if it has not arrived yet.
pub async fn request(
    connection: &Connection,
    request: &Request,
    timeout: Duration,
) -> Result<Response, LineError> {
    let answered = async {
        let (send, mut recv) = connection.open_bi().await?;
        let mut asked = Asked(send);
        asked.0.write_chunk(Bytes::from(request.encode_to_vec())).await?;
        // Finishing fails only on a stream already closed; reading then tells why.
        let _ = asked.0.finish();
        let answer = recv.read_to_end(CONTROL_BYTES_MAX).await?;
        Ok(Response::decode(Bytes::from(answer))?)
    };
    within(timeout, answered).await
}

/// A request on its way, which is withdrawn when this is dropped.
struct Asked(SendStream);

impl Drop for Asked {
    fn drop(&mut self) {
        // Fails where all of it has arrived.
        let _ = self.0.reset(VarInt::from_u32(0));
    }
}

/// Reads an uplink request that the peer opened a stream for.
pub async fn read_request(recv: &mut RecvStream) -> Result<Request, LineError> {
    let bytes = within(OPEN_TIMEOUT, async { Ok(recv.read_to_end(CONTROL_BYTES_MAX).await?) });
    Ok(Request::decode(Bytes::from(bytes.await?))?)
}

/// Answers an uplink request.
pub async fn write_response(send: &mut SendStream, response: &Response) -> Result<(), LineError> {
    send.write_chunk(Bytes::from(response.encode_to_vec())).await?;
    let _ = send.finish();
    Ok(())
}

/// The sending half of a control stream: length (u32, big-endian) and message.
#[derive(Debug)]
pub struct Sender<M> {
    stream: SendStream,
    kind: PhantomData<fn(M)>,
}

impl<M: Message> Sender<M> {
    fn new(stream: SendStream) -> Self {
        // A stream that has ended already needs no priority.
        let _ = stream.set_priority(CONTROL_PRIORITY);
        Self { stream, kind: PhantomData }
    }

    /// Writes a message; waits while the peer does not read.
    pub async fn send(&mut self, message: &M) -> Result<(), LineError> {
        let length = message.encoded_len();
        if length > CONTROL_BYTES_MAX {
            return Err(LineError::Protocol("a control message is too long to send"));
        }
        let mut bytes = BytesMut::with_capacity(4 + length);
        bytes.put_u32(length as u32); // at most CONTROL_BYTES_MAX
        message.encode_raw(&mut bytes);
        Ok(self.stream.write_chunk(bytes.freeze()).await?)
    }
}

/// The receiving half of a control stream.
#[derive(Debug)]
pub struct Receiver<M> {
    stream: RecvStream,
    input: BytesMut,
    kind: PhantomData<fn() -> M>,
}

impl<M: Message + Default> Receiver<M> {
    fn new(stream: RecvStream) -> Self {
        Self { stream, input: BytesMut::new(), kind: PhantomData }
    }

    /// The next message; `None` when the peer ended the stream. May be cancelled without loss.
    pub async fn receive(&mut self) -> Result<Option<M>, LineError> {
        loop {
            if let Some(length) = self.input.first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if length > CONTROL_BYTES_MAX {
                    return Err(LineError::Protocol("a control message is too long"));
                }
                if self.input.len() >= 4 + length {
                    self.input.advance(4);
                    let message = self.input.split_to(length).freeze();
                    return Ok(Some(M::decode(message)?));
                }
            }
            match self.stream.read_chunk(READ_BYTES, true).await? {
                Some(chunk) => self.input.extend_from_slice(&chunk.bytes),
                None => return Ok(None),
            }
        }
    }
}

/// A stream of frames as its receiving end reads it.
#[derive(Debug)]
pub struct FrameReceiver {
    stream: RecvStream,
    input: BytesMut,
}

impl FrameReceiver {
    /// Reads frames from a stream that the peer opened.
    pub fn new(stream: RecvStream) -> Self {
        Self { stream, input: BytesMut::new() }
    }

    /// Appends every frame that has arrived to `frames`, waiting until there is at least one; answers
    /// the bytes that were read. `None` when the stream ended. May be cancelled without loss.
    pub async fn receive(&mut self, frames: &mut Vec<Frame>) -> Result<Option<usize>, LineError> {
        let mut bytes = 0;
        loop {
            while let Some(frame) = Frame::decode(&mut self.input)? {
                frames.push(frame);
            }
            if !frames.is_empty() {
                return Ok(Some(bytes));
            }
            match self.stream.read_chunk(READ_BYTES, true).await? {
                Some(chunk) => {
                    bytes += chunk.bytes.len();
                    self.input.extend_from_slice(&chunk.bytes);
                }
                None => return Ok(None),
            }
        }
    }
}

/// Writes frames on a stream of their own, sharing their bytes, and waits until all have arrived.
pub async fn send_frames(connection: &Connection, mut pieces: Vec<Bytes>) -> Result<(), LineError> {
    let mut stream = connection.open_uni().await?;
    let _ = stream.set_priority(LIVE_PRIORITY);
    stream.write_all_chunks(&mut pieces).await?;
    let _ = stream.finish();
    match stream.stopped().await {
        Ok(_) => Ok(()),
        Err(quinn::StoppedError::ConnectionLost(error)) => Err(error.into()),
        Err(quinn::StoppedError::ZeroRttRejected) => {
            Err(LineError::Protocol("a stream was refused"))
        }
    }
}

/// Closes endpoints with all their connections, and gives the peers a moment to hear of it.
pub async fn close(endpoints: &[Endpoint], reason: &str) {
    for endpoint in endpoints {
        endpoint.close(CLOSE_DONE, reason.as_bytes());
    }
    let told = async {
        for endpoint in endpoints {
            endpoint.wait_idle().await;
        }
    };
    // A peer that hears nothing finds out by itself.
    let _ = tokio::time::timeout(CLOSE_WITHIN, told).await;
}

/// Waits until the peer's certificate is trusted no more, and closes the connection then: the
/// handshake looked at it once, and a line lasts for weeks.
pub async fn distrusted(connection: &Connection, nodes: &Nodes) -> LineError {
    loop {
        let identity = connection.peer_identity();
        let chain = identity.and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
        if !chain.is_some_and(|chain| nodes.still_trusts(&chain)) {
            connection.close(CLOSE_PROTOCOL, b"certificate revoked");
            return LineError::Peer("its certificate is trusted no more".into());
        }
        tokio::time::sleep(TRUST_CHECK_PERIOD).await;
    }
}

fn peer_name(connection: &Connection) -> Result<NodeName, LineError> {
    NodeName::of_peer(connection.peer_identity())
        .ok_or_else(|| LineError::Peer("its certificate names no node".into()))
}

async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, LineError>>,
) -> Result<T, LineError> {
    tokio::time::timeout(timeout, work).await.unwrap_or(Err(LineError::TimedOut(timeout)))
}

fn transport(settings: Settings) -> quinn::TransportConfig {
    let mut config = quinn::TransportConfig::default();
    let Settings { bits_per_second, segmentation_offload } = settings;
    config.congestion_controller_factory(Arc::new(BudgetFactory { bits_per_second }));
    config.enable_segmentation_offload(segmentation_offload);
    // What does not leave at once is late: the pool takes another line.
    config.datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES);
    config.datagram_receive_buffer_size(Some(8 * DATAGRAM_BUFFER_BYTES));
    // The pool probes lines and gives them up; this only cleans up after a peer that vanished.
    config.max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()));
    config.max_concurrent_bidi_streams(VarInt::from_u32(REQUESTS_MAX));
    config.max_concurrent_uni_streams(VarInt::from_u32(STREAMS_MAX));
    // One direction of a line over 200 ms of round trip at 320 Mbit/s.
    config.stream_receive_window(VarInt::from_u32(WINDOW_BYTES));
    config.receive_window(VarInt::from_u32(2 * WINDOW_BYTES));
    config.send_window(2 * u64::from(WINDOW_BYTES));
    config
}

/// How long opening a line may take in all.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Uplink requests in flight on one line.
pub const REQUESTS_MAX: u32 = 1024;
/// Streams of frames in flight on one line.
pub const STREAMS_MAX: u32 = 256;
/// Close code of a line whose peer broke the protocol.
pub const CLOSE_PROTOCOL: VarInt = VarInt::from_u32(1);
/// Close code of a line that its side has no more use for.
pub const CLOSE_DONE: VarInt = VarInt::from_u32(0);
/// Close code of a line that its answerer does not take, now or soon.
pub const CLOSE_REFUSED: VarInt = VarInt::from_u32(2);
/// Close code of lines whose node has opened others from another process.
pub const CLOSE_REPLACED: VarInt = VarInt::from_u32(3);

/// How long closing may take: a few round trips.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Answers to requests, which may be large histories, have priority 0: nothing waits behind them.
const LIVE_PRIORITY: i32 = 1;
const CONTROL_PRIORITY: i32 = 2;
/// How often it is asked whether a peer's certificate still holds.
const TRUST_CHECK_PERIOD: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT_MS: u32 = 10_000;
const WINDOW_BYTES: u32 = 8 << 20;
/// Datagrams that wait for the congestion window: 20 ms at the default budget.
const DATAGRAM_BUFFER_BYTES: usize = 256 << 10;
const READ_BYTES: usize = 64 << 10;
