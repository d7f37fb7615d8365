//! km-bench-load: other QUIC stacks, measured with the protocol and the members of `km-node perf`.

mod client;
mod iroh_stack;
mod meter;
mod options;
mod quinn_stack;
mod quinn_tls;
mod report;
mod server;
mod transport;
mod wire;

use anyhow::Result;
use options::{Options, Role};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use transport::Endpoint;

async fn server(endpoint: impl Endpoint) -> Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    println!("{{\"event\":\"ready\",\"ticket\":\"{}\"}}", endpoint.ticket());
    tokio::select! {
        () = server::serve(&endpoint) => {}
        _ = stop.recv() => {}
        _ = interrupt.recv() => {}
    }
    endpoint.close().await;
    Ok(())
}

async fn client(endpoint: impl Endpoint, options: Options) -> Result<()> {
    let endpoint = Arc::new(endpoint);
    let report =
        client::run(endpoint.clone(), &options.ticket, &options.mode, &options.plan).await?;
    println!("{}", report.finish());
    endpoint.close().await;
    Ok(())
}

async fn run(endpoint: impl Endpoint, options: Options) -> Result<()> {
    match options.role {
        Role::Server => server(endpoint).await,
        Role::Client => client(endpoint, options).await,
    }
}

async fn run_stack(options: Options) -> Result<()> {
    match options.stack.as_str() {
        "iroh" => run(iroh_stack::bind().await?, options).await,
        "quinn" => run(quinn_stack::bind()?, options).await,
        _ => anyhow::bail!("--stack is iroh or quinn"),
    }
}

/// What `#[tokio::main]` would make, or one thread where that was asked for.
fn runtime(options: &Options) -> Result<Runtime> {
    let mut builder = match options.threads {
        Some(1) => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if let Some(threads @ 2..) = options.threads {
        builder.worker_threads(threads);
    }
    Ok(builder.enable_all().build()?)
}

/// In a task, for the thread that waits for it is not one of the runtime's workers.
fn start(options: Options) -> Result<()> {
    runtime(&options)?.block_on(async { tokio::spawn(run_stack(options)).await? })
}

fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("km-bench-load: {error:#}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match start(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("km-bench-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}
