//! What the endpoint is told to be.
//!
//!     --key HEX  --alpn NAME  --bind IP:PORT  --relay URL (again for more)  --user-data TEXT
//!     --publish URL  --publish-direct  --pkarr URL   tell, and ask, this PKARR relay
//!     --dns ORIGIN IP:PORT                           ask this name server under this domain
//!     --n0                                           the servers and lookups of iroh's own preset
//!     --ca FILE                                      trust only this authority (in DER form)
//!     --mdns  --mdns-quiet                           the latter looks, but does not advertise

use anyhow::{Context, Result, bail};
use iroh::endpoint_info::UserData;
use iroh::{RelayUrl, SecretKey};
use std::net::SocketAddr;

#[derive(Clone, Copy, PartialEq)]
pub enum Mdns {
    Advertise,
    Quiet,
}

pub struct Options {
    pub key: Option<SecretKey>,
    pub alpn: Vec<u8>,
    pub bind: Option<SocketAddr>,
    pub relays: Vec<RelayUrl>,
    pub user_data: Option<UserData>,
    pub publish: Vec<String>,
    pub publish_direct: bool,
    pub pkarr: Vec<String>,
    pub dns: Option<(String, SocketAddr)>,
    pub n0: bool,
    pub ca: Option<Vec<u8>>,
    pub mdns: Option<Mdns>,
}

impl Options {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            key: None,
            alpn: b"km/echo/1".to_vec(),
            bind: None,
            relays: Vec::new(),
            user_data: None,
            publish: Vec::new(),
            publish_direct: false,
            pkarr: Vec::new(),
            dns: None,
            n0: false,
            ca: None,
            mdns: None,
        };
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} needs a value"))
            };
            match word.as_str() {
                "--key" => options.key = Some(value()?.parse()?),
                "--alpn" => options.alpn = value()?.into_bytes(),
                "--bind" => options.bind = Some(value()?.parse()?),
                "--relay" => options.relays.push(value()?.parse()?),
                "--user-data" => options.user_data = Some(value()?.parse()?),
                "--publish" => options.publish.push(value()?),
                "--publish-direct" => options.publish_direct = true,
                "--pkarr" => options.pkarr.push(value()?),
                "--dns" => options.dns = Some((value()?, value()?.parse()?)),
                "--n0" => options.n0 = true,
                "--ca" => options.ca = Some(std::fs::read(value()?)?),
                "--mdns" => options.mdns = Some(Mdns::Advertise),
                "--mdns-quiet" => options.mdns = Some(Mdns::Quiet),
                _ => bail!("what is {word}?"),
            }
        }
        Ok(options)
    }
}
