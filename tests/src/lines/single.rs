//! The set-ups `quinn-ordered` and `quinn-streams`: one QUIC connection over the first line.
//!
//! Stock settings (Cubic), but for one: with a stream for each message as many may be open as there are
//! messages, since the usual limit of 100 would hold back messages that congestion control lets pass.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig};
use quinn::{TransportConfig, VarInt};
use shared::message::Class;
use tokio::task::JoinSet;

use super::carriage::{ANY, Carriage, Ends};
use super::identity;
use super::streams::{self, Order, Streams};

/// One connection.
#[derive(Debug)]
pub(super) struct Single {
    upstream: Endpoint,
    edge: Endpoint,
    order: Order,
}

impl Single {
    /// An upstream that listens.
    pub(super) fn listen(order: Order) -> Result<Self> {
        let (server, client) = identity::pair()?;
        let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
        server.transport_config(transport());
        let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
        client.transport_config(transport());
        let mut edge = Endpoint::client(ANY)?;
        edge.set_default_client_config(client);
        Ok(Self { upstream: Endpoint::server(server, ANY)?, edge, order })
    }
}

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config.max_concurrent_uni_streams(VarInt::from_u32(streams::OPEN_MAX));
    Arc::new(config)
}

impl Carriage for Single {
    fn upstream(&self) -> Result<SocketAddr> {
        Ok(self.upstream.local_addr()?)
    }

    async fn start(
        self,
        lines: &[SocketAddr],
        _class: Class,
        ends: Ends,
    ) -> Result<JoinSet<Result<()>>> {
        let line = *lines.first().context("a line")?;
        let accepting = async { Ok(self.upstream.accept().await.context("a caller")?.await?) };
        let calling = async { Ok(self.edge.connect(line, identity::NAME)?.await?) };
        let (upstream, edge): (Connection, Connection) = tokio::try_join!(accepting, calling)
            .map_err(|error: anyhow::Error| error.context("connect"))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(streams::send(upstream, self.order, ends.due));
        tasks.spawn(streams::receive(edge, ends.arrived));
        Ok(tasks)
    }
}

impl Streams for Connection {
    type Writer = SendStream;
    type Reader = RecvStream;

    async fn open(&self) -> Result<SendStream> {
        Ok(self.open_uni().await?)
    }

    async fn accept(&self) -> Result<RecvStream> {
        Ok(self.accept_uni().await?)
    }
}
