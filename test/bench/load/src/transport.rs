//! What a QUIC stack must offer to be measured: one adapter a stack implements these traits.

use anyhow::Result;
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;

/// An endpoint bound to loopback.
pub trait Endpoint: Send + Sync + 'static {
    type Connection: Connection;

    /// The one word a client needs to reach this endpoint.
    fn ticket(&self) -> String;

    /// The next incoming attempt, or `None` when the endpoint is closed.
    ///
    /// The handshake is finished by the future inside, so that slow ones do not hold up the rest.
    fn accept(&self) -> impl Future<Output = Option<Accepting<Self::Connection>>> + Send;

    /// A full handshake, no resumption, with the endpoint that the ticket names.
    fn connect(&self, ticket: &str) -> impl Future<Output = Result<Self::Connection>> + Send;

    /// Closes what is open and tells the peers.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

pub type Accepting<C> = Pin<Box<dyn Future<Output = Result<C>> + Send>>;

pub trait Connection: Send + Sync + 'static {
    type Writer: Writer;
    type Reader: Reader;

    fn open(&self) -> impl Future<Output = Result<(Self::Writer, Self::Reader)>> + Send;

    /// The peer's next stream; an error when the connection has ended.
    fn accept(&self) -> impl Future<Output = Result<(Self::Writer, Self::Reader)>> + Send;

    fn close(&self);
}

pub trait Writer: Send + 'static {
    /// Takes all of `data`, waiting for room; no copy where the stack can do without.
    fn write(&mut self, data: Bytes) -> impl Future<Output = Result<()>> + Send;

    fn finish(&mut self) -> Result<()>;

    fn reset(&mut self, code: u32);
}

pub trait Reader: Send + 'static {
    /// Waits until `buf` is full; an error when the stream ends before that.
    fn read_exact(&mut self, buf: &mut [u8]) -> impl Future<Output = Result<()>> + Send;

    /// Waits for data, takes all there is in one go and drops it: how much, `None` at the end.
    fn discard(&mut self) -> impl Future<Output = Result<Option<usize>>> + Send;

    fn stop(&mut self, code: u32);
}
