//! quinn, a second opinion: the same handshake (raw Ed25519 keys both ways) without iroh paths.

use crate::quinn_tls::Identity;
use crate::transport::{self, Accepting};
use anyhow::{Context, Result};
use bytes::Bytes;
use quinn::{Connection, IdleTimeout, RecvStream, SendStream, TransportConfig, VarInt};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub struct Endpoint {
    quinn: quinn::Endpoint,
    identity: Identity,
    transport: Arc<TransportConfig>,
}

/// quinn's defaults, and iroh's timers: idle connections must stay.
fn transport_config() -> Result<TransportConfig> {
    let mut config = TransportConfig::default();
    config.keep_alive_interval(Some(Duration::from_secs(5)));
    config.max_idle_timeout(Some(IdleTimeout::try_from(Duration::from_secs(30))?));
    Ok(config)
}

pub fn bind() -> Result<Endpoint> {
    let identity = Identity::generate()?;
    let transport = Arc::new(transport_config()?);
    let mut server = quinn::ServerConfig::with_crypto(identity.server_config()?);
    server.transport_config(transport.clone());
    let quinn = quinn::Endpoint::server(server, (Ipv4Addr::LOCALHOST, 0).into())?;
    Ok(Endpoint { quinn, identity, transport })
}

impl transport::Endpoint for Endpoint {
    type Connection = Connection;

    fn ticket(&self) -> String {
        let addr = self.quinn.local_addr().expect("a bound socket has an address");
        format!("{}@{addr}", self.identity.id())
    }

    async fn accept(&self) -> Option<Accepting<Connection>> {
        let incoming = self.quinn.accept().await?;
        Some(Box::pin(async move { Ok(incoming.await?) }))
    }

    async fn connect(&self, ticket: &str) -> Result<Connection> {
        let (id, addr) = ticket.split_once('@').context("this is no ticket of quinn's server")?;
        let addr: SocketAddr = addr.parse()?;
        let mut config = quinn::ClientConfig::new(self.identity.client_config(id)?);
        config.transport_config(self.transport.clone());
        Ok(self.quinn.connect_with(config, addr, "peer.invalid")?.await?)
    }

    async fn close(&self) {
        self.quinn.close(VarInt::from_u32(0), b"");
        self.quinn.wait_idle().await;
    }
}

impl transport::Connection for Connection {
    type Writer = SendStream;
    type Reader = RecvStream;

    async fn open(&self) -> Result<(SendStream, RecvStream)> {
        Ok(self.open_bi().await?)
    }

    async fn accept(&self) -> Result<(SendStream, RecvStream)> {
        Ok(self.accept_bi().await?)
    }

    fn close(&self) {
        Connection::close(self, VarInt::from_u32(0), b"");
    }
}

impl transport::Writer for SendStream {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        Ok(self.write_chunk(data).await?)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(SendStream::finish(self)?)
    }

    fn reset(&mut self, code: u32) {
        let _ = SendStream::reset(self, code.into()); // fails when the stream has ended: as well
    }
}

impl transport::Reader for RecvStream {
    async fn read_exact(&mut self, buf: &mut [u8]) -> Result<()> {
        Ok(RecvStream::read_exact(self, buf).await?)
    }

    async fn discard(&mut self) -> Result<Option<usize>> {
        let mut pieces = [const { Bytes::new() }; 32];
        let Some(count) = self.read_chunks(&mut pieces).await? else { return Ok(None) };
        Ok(Some(pieces[..count].iter().map(Bytes::len).sum()))
    }

    fn stop(&mut self, code: u32) {
        let _ = RecvStream::stop(self, code.into()); // as above
    }
}
