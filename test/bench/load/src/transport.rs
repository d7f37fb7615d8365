//! What a QUIC stack must offer to be measured: one adapter a stack implements these traits.

use anyhow::Result;
use bytes::Bytes;
use std::future::Future;

/// An endpoint bound to loopback, as a server (ticket, accept) or as a client (connect).
pub trait Endpoint: Send + Sync + 'static {
    type Connection: Connection;

    /// The one word a client needs to reach this server.
    fn ticket(&self) -> String;

    /// The next incoming attempt, or `None` when the endpoint is closed.
    ///
    /// The handshake is finished by the future inside, so that slow ones do not hold up the rest.
    fn accept(&self) -> impl Future<Output = Option<Accepting<Self::Connection>>> + Send;

    /// A full handshake (no resumption) with the server of the ticket.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection>> + Send;
}

pub type Accepting<C> = std::pin::Pin<Box<dyn Future<Output = Result<C>> + Send>>;

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
}

pub trait Reader: Send + 'static {
    /// Waits for data, takes all there is in one go and throws it away: the number of bytes, `None` at the end.
    fn discard(&mut self) -> impl Future<Output = Result<Option<usize>>> + Send;

    /// Waits for data and returns a piece of it, `None` at the end.
    fn read(&mut self) -> impl Future<Output = Result<Option<Bytes>>> + Send;
}

/// Reads a message of a known length that may arrive in pieces. What follows it in the last piece is an error:
/// every message of the load protocol is answered before the next one.
pub async fn read_message<const N: usize>(reader: &mut impl Reader) -> Result<[u8; N]> {
    let mut message = [0; N];
    let mut have = 0;
    while have < N {
        let piece = reader.read().await?;
        let piece = piece.ok_or_else(|| anyhow::anyhow!("stream ended inside a message"))?;
        anyhow::ensure!(have + piece.len() <= N, "unexpected bytes after a message");
        message[have..have + piece.len()].copy_from_slice(&piece);
        have += piece.len();
    }
    Ok(message)
}
