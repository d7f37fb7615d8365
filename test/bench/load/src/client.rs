//! The client's side: runs one mode and says what it saw, as docs/protocol-perf.md has it.

use crate::meter::{self, percentile};
use crate::report::Report;
use crate::server::{receive_all, send_until, send_zeros};
use crate::transport::{Connection, Endpoint, Reader, Writer};
use crate::wire::{self, Command, Usage};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How many connections are dialled at once before they are left idle.
const DIALS_AT_ONCE: usize = 32;
const SETTLE: Duration = Duration::from_secs(2);

pub struct Plan {
    pub time: Duration,
    pub streams: usize,
    pub size: u64,
    pub connections: usize,
    pub parallel: usize,
}

pub async fn run<E: Endpoint>(
    endpoint: Arc<E>,
    ticket: &str,
    mode: &str,
    plan: &Plan,
) -> Result<Report> {
    match mode {
        "upload" | "download" => bulk(&endpoint.connect(ticket).await?, mode, plan).await,
        "latency" => latency(&endpoint.connect(ticket).await?, plan).await,
        "handshake" => handshakes(endpoint, ticket, plan).await,
        "memory" => memory(endpoint, ticket, plan).await,
        _ => anyhow::bail!("--mode is upload, download, latency, handshake or memory"),
    }
}

async fn start<C: Connection>(connection: &C, command: Command) -> Result<(C::Writer, C::Reader)> {
    let (mut writer, reader) = connection.open().await?;
    writer.write(Bytes::copy_from_slice(&command.encode())).await?;
    Ok((writer, reader))
}

async fn server_usage(connection: &impl Connection) -> Result<Usage> {
    let (mut writer, mut reader) = start(connection, Command::Usage).await?;
    writer.finish()?;
    let mut message = [0; Usage::LEN];
    reader.read_exact(&mut message).await.context("the server did not say what it used")?;
    Ok(Usage::decode(&message))
}

// --- goodput ---------------------------------------------------------------------------------

async fn upload(mut writer: impl Writer, mut reader: impl Reader, until: Instant) -> Result<u64> {
    send_until(&mut writer, until).await?;
    let mut count = [0; 8];
    reader.read_exact(&mut count).await?;
    Ok(wire::number(&count))
}

async fn download(mut writer: impl Writer, mut reader: impl Reader) -> Result<u64> {
    writer.finish()?;
    receive_all(&mut reader).await
}

async fn bulk(connection: &impl Connection, mode: &str, plan: &Plan) -> Result<Report> {
    let server_before = server_usage(connection).await?;
    let client_before = meter::usage();
    let started = Instant::now();
    let until = started + plan.time;
    let mut streams = JoinSet::new();
    for _ in 0..plan.streams {
        if mode == "upload" {
            let (writer, reader) = start(connection, Command::Upload).await?;
            streams.spawn(upload(writer, reader, until));
        } else {
            let ms = plan.time.as_millis() as u64;
            let (writer, reader) = start(connection, Command::Download { ms }).await?;
            streams.spawn(download(writer, reader));
        }
    }
    let mut bytes = 0;
    while let Some(stream) = streams.join_next().await {
        bytes += stream??;
    }
    let seconds = started.elapsed().as_secs_f64();
    let client = meter::usage().cpu_ns - client_before.cpu_ns;
    let server = server_usage(connection).await?.cpu_ns - server_before.cpu_ns;
    ensure!(bytes > 0, "nothing arrived");
    let per_gb = |ns: u64| ns as f64 / bytes as f64; // seconds a gigabyte: both are 10^9
    Ok(Report::new(mode)
        .number("seconds", seconds)
        .count("bytes", bytes)
        .number("gbit_s", bytes as f64 * 8e-9 / seconds)
        .count("streams", plan.streams as u64)
        .number("cpu_client_s_per_gb", per_gb(client))
        .number("cpu_server_s_per_gb", per_gb(server)))
}

// --- latency ---------------------------------------------------------------------------------

async fn latency(connection: &impl Connection, plan: &Plan) -> Result<Report> {
    let until = Instant::now() + plan.time;
    let mut samples = Vec::new();
    while samples.is_empty() || Instant::now() < until {
        let (mut writer, mut reader) = connection.open().await?;
        let sent = Instant::now();
        let head = Command::Request { bytes: plan.size }.encode();
        writer.write(Bytes::copy_from_slice(&head)).await?;
        send_zeros(&mut writer, plan.size).await?;
        let bytes = receive_all(&mut reader).await?;
        samples.push(sent.elapsed());
        ensure!(bytes == plan.size, "an answer had {bytes} bytes");
    }
    Ok(Report::new("latency")
        .count("count", samples.len() as u64)
        .count("bytes", plan.size)
        .micros("p50_us", percentile(&mut samples, 50))
        .micros("p99_us", percentile(&mut samples, 99)))
}

// --- handshakes ------------------------------------------------------------------------------

async fn handshake<E: Endpoint>(
    endpoint: Arc<E>,
    ticket: String,
    until: Instant,
) -> Result<(Vec<Duration>, Instant)> {
    let mut samples = Vec::new();
    loop {
        let dialled = Instant::now();
        let connection = endpoint.connect(&ticket).await?;
        samples.push(dialled.elapsed());
        connection.close();
        let now = Instant::now();
        if now >= until {
            return Ok((samples, now));
        }
    }
}

async fn handshakes<E: Endpoint>(endpoint: Arc<E>, ticket: &str, plan: &Plan) -> Result<Report> {
    let started = Instant::now();
    let mut dialling = JoinSet::new();
    for _ in 0..plan.parallel {
        dialling.spawn(handshake(endpoint.clone(), ticket.to_owned(), started + plan.time));
    }
    let mut samples = Vec::new();
    let mut ended = started;
    while let Some(dialled) = dialling.join_next().await {
        let (more, last) = dialled??;
        samples.extend(more);
        ended = ended.max(last);
    }
    let rate = samples.len() as f64 / (ended - started).as_secs_f64();
    Ok(Report::new("handshake")
        .count("count", samples.len() as u64)
        .count("parallel", plan.parallel as u64)
        .number("per_second", rate)
        .micros("p50_us", percentile(&mut samples, 50))
        .micros("p99_us", percentile(&mut samples, 99)))
}

// --- memory ----------------------------------------------------------------------------------

async fn dial_all<E: Endpoint>(
    endpoint: Arc<E>,
    ticket: &str,
    count: usize,
) -> Result<Vec<E::Connection>> {
    let mut idle = Vec::with_capacity(count);
    let mut dialling = JoinSet::new();
    let mut dialled = 0;
    while idle.len() < count {
        while dialled < count && dialling.len() < DIALS_AT_ONCE {
            let (endpoint, ticket) = (endpoint.clone(), ticket.to_owned());
            dialling.spawn(async move { endpoint.connect(&ticket).await });
            dialled += 1;
        }
        idle.push(dialling.join_next().await.context("fewer dials than connections")???);
    }
    Ok(idle)
}

async fn memory<E: Endpoint>(endpoint: Arc<E>, ticket: &str, plan: &Plan) -> Result<Report> {
    let control = endpoint.connect(ticket).await?;
    let server_before = server_usage(&control).await?;
    let client_before = meter::usage();
    let idle = dial_all(endpoint, ticket, plan.connections).await?;
    tokio::time::sleep(SETTLE).await;
    let server = server_usage(&control).await?;
    let client = meter::usage();
    let each = |before: Usage, after: Usage| {
        after.resident_bytes.saturating_sub(before.resident_bytes) as f64 / idle.len() as f64
    };
    Ok(Report::new("memory")
        .count("connections", idle.len() as u64)
        .number("client_bytes_per_conn", each(client_before, client))
        .number("server_bytes_per_conn", each(server_before, server)))
}
