//! Real iroh on loopback: no relay, no discovery, no port mapping, everything else as it comes.

use crate::transport::{self, Accepting};
use crate::wire::ALPN;
use anyhow::{Context, Result};
use bytes::Bytes;
use iroh::endpoint::{Connection, PortmapperConfig, RecvStream, SendStream, presets};
use iroh::{EndpointAddr, RelayMode, TransportAddr};
use iroh_tickets::{Ticket, endpoint::EndpointTicket};

pub struct Endpoint(iroh::Endpoint);

pub async fn bind() -> Result<Endpoint> {
    let endpoint = iroh::Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_address_lookup()
        .portmapper_config(PortmapperConfig::Disabled)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")?
        .alpns(vec![ALPN.to_vec()])
        .max_tls_tickets(0) // every handshake is a full one
        .bind()
        .await?;
    Ok(Endpoint(endpoint))
}

impl transport::Endpoint for Endpoint {
    type Connection = Connection;

    /// iroh's own ticket, so that other programs that know it can dial this server too.
    fn ticket(&self) -> String {
        let sockets = self.0.bound_sockets().into_iter().map(TransportAddr::Ip);
        EndpointTicket::new(EndpointAddr::from_parts(self.0.id(), sockets)).encode_string()
    }

    async fn accept(&self) -> Option<Accepting<Connection>> {
        let incoming = self.0.accept().await?;
        Some(Box::pin(async move { Ok(incoming.await?) }))
    }

    async fn connect(&self, ticket: &str) -> Result<Connection> {
        let ticket = EndpointTicket::decode_string(ticket).context("this is no endpoint ticket")?;
        Ok(self.0.connect(ticket.endpoint_addr().clone(), ALPN).await?)
    }

    async fn close(&self) {
        self.0.close().await;
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
        Connection::close(self, 0u32.into(), b"");
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
        let Some(count) = self.read_many_chunks(&mut pieces).await? else { return Ok(None) };
        Ok(Some(pieces[..count].iter().map(Bytes::len).sum()))
    }

    fn stop(&mut self, code: u32) {
        let _ = RecvStream::stop(self, code.into()); // as above
    }
}
