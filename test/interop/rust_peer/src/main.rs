//! A real iroh endpoint with the address lookups that it is told to have, and no others. It echoes
//! every stream of those who connect.
//!
//! Says on stdout what happens, one line each, and "-" for nothing: `id <hex>`, `ready <relays>`,
//! `found <hex> <addresses> <user data>` and `lost <hex>` (by mDNS), `accepted <hex>`,
//! `connected <hex>`, `echoed <hex> <text>`, `failed <hex> <why>`;
//! `answer <hex> <source> <addresses> <relays> <user data>` or `error <hex> <why>`, then
//! `resolved <hex>`. Reads commands from stdin: `connect <hex>`, `echo <hex> <text>`,
//! `resolve <hex>`. It ends when stdin does.

mod options;

use anyhow::{Result, ensure};
use iroh::address_lookup::{AddrFilter, DnsAddressLookup, PkarrPublisher, PkarrResolver};
use iroh::dns::DnsResolver;
use iroh::endpoint::{Connection, PortmapperConfig, presets};
use iroh::endpoint_info::EndpointInfo;
use iroh::tls::CaTlsConfig;
use iroh::{Endpoint, EndpointId, RelayMode, Watcher};
use iroh_mdns_address_lookup::{DiscoveryEvent, MdnsAddressLookup};
use n0_future::StreamExt;
use options::{Mdns, Options};
use tokio::io::{AsyncBufReadExt, BufReader};

fn join<T: ToString>(items: impl Iterator<Item = T>) -> String {
    let all: Vec<_> = items.map(|item| item.to_string()).collect();
    if all.is_empty() {
        "-".into()
    } else {
        all.join(",")
    }
}

fn user_data(info: &EndpointInfo) -> String {
    info.user_data().map_or("-".into(), |data| data.to_string())
}

fn say(event: DiscoveryEvent) {
    match event {
        DiscoveryEvent::Discovered { endpoint_info, .. } => {
            let addrs = join(endpoint_info.ip_addrs());
            println!(
                "found {} {addrs} {}",
                endpoint_info.endpoint_id,
                user_data(&endpoint_info)
            );
        }
        DiscoveryEvent::Expired { endpoint_id } => println!("lost {endpoint_id}"),
        _ => {}
    }
}

async fn bind(options: &Options) -> Result<Endpoint> {
    let relays = options.relays.iter().cloned();
    let builder = match options.n0 {
        true => Endpoint::builder(presets::N0),
        false => Endpoint::builder(presets::Minimal),
    };
    let mut builder = builder
        .portmapper_config(PortmapperConfig::Disabled)
        .alpns(vec![options.alpn.clone()])
        .relay_mode(match options.relays.is_empty() {
            true => RelayMode::Disabled,
            false => RelayMode::custom(relays),
        });
    if let Some(key) = &options.key {
        builder = builder.secret_key(key.clone());
    }
    if let Some(ca) = &options.ca {
        builder = builder.ca_tls_config(CaTlsConfig::custom_roots([ca.clone().into()]));
    }
    if let Some(data) = &options.user_data {
        builder = builder.user_data_for_address_lookup(data.clone());
    }
    if let Some(addr) = options.bind {
        builder = builder.clear_ip_transports().bind_addr(addr)?;
    }
    for url in &options.publish {
        let publisher = PkarrPublisher::builder(url.parse()?);
        builder = builder.address_lookup(match options.publish_direct {
            true => publisher.addr_filter(AddrFilter::unfiltered()),
            false => publisher,
        });
    }
    for url in &options.pkarr {
        builder = builder.address_lookup(PkarrResolver::builder(url.parse()?));
    }
    if let Some((origin, server)) = &options.dns {
        let resolver = DnsResolver::with_nameserver(*server);
        let lookup = DnsAddressLookup::builder(origin.clone()).dns_resolver(resolver);
        builder = builder.address_lookup(lookup);
    }
    Ok(builder.bind().await?)
}

async fn watch_lan(endpoint: &Endpoint, advertise: bool) -> Result<()> {
    let mdns = MdnsAddressLookup::builder()
        .advertise(advertise)
        .build(endpoint.id())?;
    endpoint.address_lookup()?.add(mdns.clone());
    let mut events = mdns.subscribe().await;
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            say(event);
        }
    });
    Ok(())
}

async fn serve(connection: Connection) -> Result<()> {
    loop {
        let (mut send, mut recv) = connection.accept_bi().await?;
        tokio::spawn(async move {
            if tokio::io::copy(&mut recv, &mut send).await.is_ok() {
                let _ = send.finish(); // fails when the peer wants no more: as well
            }
        });
    }
}

async fn accept_all(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        if let Ok(connection) = incoming.await {
            println!("accepted {}", connection.remote_id());
            tokio::spawn(serve(connection));
        }
    }
}

async fn say_home(endpoint: Endpoint) {
    let mut addr = endpoint.watch_addr();
    loop {
        let relays = join(addr.get().relay_urls());
        if relays != "-" {
            println!("ready {relays}");
            return;
        }
        if addr.updated().await.is_err() {
            return;
        }
    }
}

async fn echo(connection: &Connection, text: &str) -> Result<()> {
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(text.as_bytes()).await?;
    send.finish()?;
    let back = recv.read_to_end(text.len() + 1).await?;
    ensure!(
        back == text.as_bytes(),
        "{} other bytes came back",
        back.len()
    );
    Ok(())
}

/// `text` None: connects, and stays.
async fn dial(endpoint: &Endpoint, id: EndpointId, alpn: &[u8], text: Option<&str>) -> Result<()> {
    let connection = endpoint.connect(id, alpn).await?;
    println!("connected {id}");
    match text {
        Some(text) => {
            echo(&connection, text).await?;
            println!("echoed {id} {text}");
            connection.close(0u32.into(), b"");
        }
        None => drop(connection.closed().await),
    }
    Ok(())
}

async fn resolve(endpoint: &Endpoint, id: EndpointId) -> Result<()> {
    let mut items = Box::pin(endpoint.address_lookup()?.resolve(id));
    while let Some(item) = items.next().await {
        match item {
            Ok(Ok(item)) => {
                let info = item.endpoint_info();
                println!(
                    "answer {} {} {} {} {}",
                    info.endpoint_id,
                    item.provenance(),
                    join(info.ip_addrs()),
                    join(info.relay_urls()),
                    user_data(info)
                );
            }
            Ok(Err(error)) => println!("error {id} {error:#}"),
            Err(error) => println!("error {id} {error:#}"),
        }
    }
    println!("resolved {id}");
    Ok(())
}

async fn obey(endpoint: Endpoint, line: String, alpn: Vec<u8>) -> Result<()> {
    let mut words = line.splitn(3, ' ');
    let command = words.next().unwrap_or_default();
    let id: EndpointId = words.next().unwrap_or_default().parse()?;
    let done = match command {
        "resolve" => resolve(&endpoint, id).await,
        _ => dial(&endpoint, id, &alpn, words.next()).await,
    };
    if let Err(error) = done {
        println!("failed {id} {error:#}");
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let endpoint = bind(&options).await?;
    if let Some(mdns) = options.mdns {
        watch_lan(&endpoint, mdns == Mdns::Advertise).await?;
    }
    println!("id {}", endpoint.id());
    tokio::spawn(accept_all(endpoint.clone()));
    tokio::spawn(say_home(endpoint.clone()));

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        tokio::spawn(obey(endpoint.clone(), line, options.alpn.clone()));
    }
    Ok(()) // as if the machine went away: the peers have to notice by themselves
}
