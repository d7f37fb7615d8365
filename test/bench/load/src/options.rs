//! The command line: the options of `km-node perf` that matter here, and the stack.

use crate::client::Plan;
use anyhow::{Context, Result, bail, ensure};
use std::time::Duration;

pub const USAGE: &str = "\
usage: km-bench-load server|client --stack NAME [TICKET --mode NAME] [OPTION...]
  --stack NAME    iroh or quinn
  --threads N     worker threads (default: one a core)
client, as of km-node perf:
  --mode NAME     upload, download, latency, handshake or memory
  --time S        seconds a mode (5)
  --streams N     upload, download: streams at once (1)
  --size BYTES    latency: bytes of request and answer (64)
  --parallel N    handshake: dials at once (1)
  --conns N       memory: idle connections (500)";

#[derive(Debug, PartialEq)]
pub enum Role {
    Server,
    Client,
}

pub struct Options {
    pub role: Role,
    pub stack: String,
    pub threads: Option<usize>,
    pub ticket: String,
    pub mode: String,
    pub plan: Plan,
}

fn at_least_one(text: &str) -> Result<usize> {
    let number = text.parse().with_context(|| format!("'{text}' is no number"))?;
    ensure!(number > 0, "'{text}' is too small");
    Ok(number)
}

pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Options> {
    let role = match words.next().as_deref() {
        Some("server") => Role::Server,
        Some("client") => Role::Client,
        _ => bail!("server or client?"),
    };
    let plan = Plan {
        time: Duration::from_secs(5),
        streams: 1,
        size: 64,
        connections: 500,
        parallel: 1,
    };
    let (stack, ticket, mode) = Default::default();
    let mut options = Options { role, stack, threads: None, ticket, mode, plan };
    while let Some(word) = words.next() {
        if !word.starts_with("--") {
            options.ticket = word;
            continue;
        }
        let value = words.next().with_context(|| format!("{word} wants a value"))?;
        match word.as_str() {
            "--stack" => options.stack = value,
            "--mode" => options.mode = value,
            "--threads" => options.threads = Some(at_least_one(&value)?),
            "--time" => options.plan.time = Duration::from_secs(at_least_one(&value)? as u64),
            "--streams" => options.plan.streams = at_least_one(&value)?,
            "--size" => options.plan.size = value.parse().context("--size wants a number")?,
            "--parallel" => options.plan.parallel = at_least_one(&value)?,
            "--conns" => options.plan.connections = at_least_one(&value)?,
            _ => bail!("there is no option {word}"),
        }
    }
    ensure!(!options.stack.is_empty(), "--stack is missing");
    ensure!(options.role == Role::Server || !options.ticket.is_empty(), "the ticket is missing");
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Options> {
        parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn what_is_given_is_taken() {
        let options = parse_line("client --stack iroh T --mode memory --conns 9").unwrap();
        assert_eq!((options.stack.as_str(), options.ticket.as_str()), ("iroh", "T"));
        assert_eq!(options.plan.connections, 9);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for line in
            ["", "client --stack iroh", "server", "server --stack", "client --stack q T --time 0"]
        {
            assert!(parse_line(line).is_err(), "{line}");
        }
    }
}
