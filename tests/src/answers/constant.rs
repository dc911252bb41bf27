//! The same HTTP server with nothing behind it.

use std::ffi::OsString;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use shared::io::http::{Limits, Request, Server, StatusCode, bytes as whole};
use shared::io::shutdown::Shutdown;
use tokio::net::TcpListener;

/// Answers every request on the address in the first argument with as many bytes as the second one says,
/// until it is killed.
pub fn serve(arguments: &[OsString]) -> Result<()> {
    let [address, length] = arguments else { anyhow::bail!("an address and a length") };
    let address: SocketAddr = address.to_str().context("an address")?.parse()?;
    let length: usize = length.to_str().context("a length")?.parse()?;
    let body = Bytes::from(vec![b'x'; length]);
    // As every service does.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await.context("listen")?;
        let limits = Limits { connections_per_address_max: usize::MAX, ..Limits::default() };
        let server = Server { limits, ..Server::default() };
        let answer = move |_: Request| {
            std::future::ready(whole(StatusCode::OK, "application/json", body.clone()))
        };
        server.serve(listener, Shutdown::new(), answer).await;
        Ok(())
    })
}
