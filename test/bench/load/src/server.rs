//! The server's side of the load protocol.

use crate::meter::monotonic_ns;
use crate::transport::{Accepting, Connection, Endpoint, Reader, Writer, read_message};
use crate::wire::{self, Received, Usage};
use anyhow::{Result, bail};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is sent in bulk, over and over.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Serves until the endpoint is closed.
pub async fn serve<E: Endpoint>(endpoint: &E) {
    while let Some(accepting) = endpoint.accept().await {
        tokio::spawn(serve_attempt(accepting));
    }
}

async fn serve_attempt<C: Connection>(accepting: Accepting<C>) {
    // A client that leaves during the handshake is its own business: it reports the error.
    let Ok(connection) = accepting.await else { return };
    let connection = Arc::new(connection);
    while let Ok((writer, reader)) = connection.accept().await {
        tokio::spawn(async move {
            if let Err(error) = serve_stream(writer, reader).await {
                eprintln!("stream: {error:#}");
            }
        });
    }
}

async fn serve_stream(mut writer: impl Writer, mut reader: impl Reader) -> Result<()> {
    let Some(first) = reader.read().await? else { return Ok(()) };
    let rest = first.slice(1..);
    match first[0] {
        wire::CONTROL => control(writer, reader).await,
        wire::UPLOAD => upload(&mut writer, reader, rest.len()).await,
        wire::ECHO => echo(writer, reader, rest).await,
        wire::DOWNLOAD => {
            anyhow::ensure!(rest.is_empty(), "the client sends the kind of stream by itself");
            let message: [u8; 8] = read_message(&mut reader).await?;
            send_for(&mut writer, Duration::from_millis(wire::number(&message, 0))).await
        }
        other => bail!("unknown kind of stream {other:#x}"),
    }
}

async fn control(mut writer: impl Writer, mut reader: impl Reader) -> Result<()> {
    loop {
        writer.write(Usage::now().encode().into()).await?;
        // The stream ends with its connection, often by the client closing that: no error.
        match reader.read().await {
            Ok(Some(_)) => continue,
            Ok(None) | Err(_) => return Ok(()),
        }
    }
}

async fn upload(writer: &mut impl Writer, reader: impl Reader, already: usize) -> Result<()> {
    let received = receive_all(reader, already).await?;
    writer.write(received.encode().into()).await?;
    writer.finish()
}

async fn echo(mut writer: impl Writer, mut reader: impl Reader, rest: Bytes) -> Result<()> {
    if !rest.is_empty() {
        writer.write(rest).await?;
    }
    loop {
        match reader.read().await {
            Ok(Some(data)) => writer.write(data).await?,
            Ok(None) => return writer.finish(),
            Err(_) => return Ok(()), // closed by the client, as above
        }
    }
}

/// Sends for a while, then ends the stream.
pub async fn send_for(writer: &mut impl Writer, time: Duration) -> Result<()> {
    let chunk = Bytes::from(vec![0u8; CHUNK_BYTES]);
    let start = Instant::now();
    while start.elapsed() < time {
        writer.write(chunk.clone()).await?;
    }
    writer.finish()
}

/// Counts what arrives up to the end of the stream.
pub async fn receive_all(mut reader: impl Reader, already: usize) -> Result<Received> {
    let now = monotonic_ns();
    let mut received = Received { bytes: already as u64, first_ns: now, last_ns: now };
    while let Some(bytes) = reader.discard().await? {
        let now = monotonic_ns();
        if received.bytes == 0 {
            received.first_ns = now;
        }
        received.bytes += bytes as u64;
        received.last_ns = now;
    }
    Ok(received)
}
