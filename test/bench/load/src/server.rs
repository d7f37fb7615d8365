//! The server's side of the perf protocol.

use crate::meter;
use crate::transport::{Accepting, Connection, Endpoint, Reader, Writer};
use crate::wire::{Command, HEAD_BYTES, ZEROS};
use anyhow::Result;
use bytes::Bytes;
use std::time::{Duration, Instant};

/// The code of docs/protocol-perf.md for what is no command.
const NOT_A_COMMAND: u32 = 2;

/// Serves until the endpoint is closed.
pub async fn serve<E: Endpoint>(endpoint: &E) {
    while let Some(accepting) = endpoint.accept().await {
        tokio::spawn(serve_attempt(accepting));
    }
}

async fn serve_attempt<C: Connection>(accepting: Accepting<C>) {
    // A client that leaves during the handshake is its own business: it reports the error.
    let Ok(connection) = accepting.await else { return };
    while let Ok((writer, reader)) = connection.accept().await {
        tokio::spawn(serve_stream(writer, reader));
    }
}

/// An error here is the client's stream or connection having ended: the client knows.
async fn serve_stream(mut writer: impl Writer, mut reader: impl Reader) -> Result<()> {
    let mut head = [0; HEAD_BYTES];
    reader.read_exact(&mut head).await?;
    match Command::decode(&head) {
        Some(Command::Upload) => {
            let bytes = receive_all(&mut reader).await?;
            answer(&mut writer, &bytes.to_be_bytes()).await
        }
        Some(Command::Download { ms }) => {
            receive_all(&mut reader).await?; // a reader dropped before the end says STOP_SENDING
            send_until(&mut writer, Instant::now() + Duration::from_millis(ms)).await
        }
        Some(Command::Request { bytes }) => {
            receive_all(&mut reader).await?;
            send_zeros(&mut writer, bytes).await
        }
        Some(Command::Usage) => {
            receive_all(&mut reader).await?;
            answer(&mut writer, &meter::usage().encode()).await
        }
        None => {
            writer.reset(NOT_A_COMMAND);
            reader.stop(NOT_A_COMMAND);
            Ok(())
        }
    }
}

async fn answer(writer: &mut impl Writer, message: &[u8]) -> Result<()> {
    writer.write(Bytes::copy_from_slice(message)).await?;
    writer.finish()
}

/// Sends to the end of the time, then ends the stream.
pub async fn send_until(writer: &mut impl Writer, until: Instant) -> Result<()> {
    loop {
        let last = Instant::now() >= until;
        writer.write(Bytes::from_static(&ZEROS)).await?;
        if last {
            return writer.finish();
        }
    }
}

/// Sends so many bytes, then ends the stream.
pub async fn send_zeros(writer: &mut impl Writer, mut left: u64) -> Result<()> {
    while left > 0 {
        let piece = left.min(ZEROS.len() as u64);
        writer.write(Bytes::from_static(&ZEROS[..piece as usize])).await?;
        left -= piece;
    }
    writer.finish()
}

/// Counts and drops what arrives up to the end of the stream.
pub async fn receive_all(reader: &mut impl Reader) -> Result<u64> {
    let mut total = 0;
    while let Some(bytes) = reader.discard().await? {
        total += bytes as u64;
    }
    Ok(total)
}
