// A peer (PROTOCOL.md) that is the real iroh, through its node binding. The binding is loaded from
// $KM_INTEROP_IROH, the directory that setup.sh prints.
//
// Discovery is off (the minimal preset), relays are those that `open` names, sockets are bound to
// loopback addresses.
// Quirks of the binding (1.1.0, which holds iroh 1.0.2): its package.json names a main file that is
// not there, so index.js is named here; Incoming and Accepting are used up by their first call;
// there is no 0-RTT call, no timeouts to set and no key update.
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { breakStream, serve, transfer } from './iroh_flows.mjs';
import { Datagrams } from './iroh_datagrams.mjs';
import { ending } from './iroh_errors.mjs';

const root = process.env.KM_INTEROP_IROH;
if (!root) {
  process.stderr.write('iroh_peer: KM_INTEROP_IROH is not set, see setup.sh\n');
  process.exit(2);
}
const require = createRequire(join(root, 'package.json'));
const iroh = require('./node_modules/@number0/iroh/index.js');
const { version } = require('./node_modules/@number0/iroh/package.json');

const bytesOf = (text) => [...Buffer.from(text, 'utf8')];
const hexBytes = (hex) => [...Buffer.from(hex, 'hex')];
const say = (object) => process.stdout.write(`${JSON.stringify(object)}\n`);

class Failure extends Error {
  constructor(members) {
    super(members.text);
    this.members = members;
  }
}

let endpoint = null;
let options = {};
let serveMode = 'echo';
let lastConn = 0;
const conns = new Map();

class Conn {
  constructor(raw) {
    this.number = ++lastConn;
    this.raw = raw;
    this.local = null; // what we closed it with
    this.datagrams = new Datagrams(raw);
    conns.set(this.number, this);
    if (options.max_streams_bidi) {
      raw.setMaxConcurrentBiStreams(BigInt(options.max_streams_bidi));
    }
    raw.closed().then((text) => {
      conns.delete(this.number);
      say({ event: 'closed', conn: this.number, ...ending(text, this.local) });
    });
  }

  // Apart from the constructor, so that `connected` or the answer to `dial` comes first.
  serve() {
    this.#accept(() => this.raw.acceptBi(), (stream) => [stream.send, stream.recv]);
    this.#accept(() => this.raw.acceptUni(), (stream) => [null, stream]);
  }

  async #accept(next, halves) {
    const report = (event) => say({ event: 'stream', conn: this.number, ...event });
    try {
      for (;;) {
        const [send, recv] = halves(await next());
        serve(send, recv, serveMode, report);
      }
    } catch {
      // the connection ended
    }
  }
}

function connOf(request) {
  const conn = conns.get(request.conn);
  if (!conn) throw new Failure({ error: 'NOT_FOUND', text: `no connection ${request.conn}` });
  return conn;
}

async function handleIncoming(incoming) {
  const verdict = options.incoming ?? 'accept';
  if (verdict === 'refuse' || verdict === 'ignore') return incoming[verdict]();
  if (verdict === 'retry' && !(await incoming.remoteAddrValidated())) return incoming.retry();
  const raw = await (await incoming.accept()).connect();
  const conn = new Conn(raw);
  say({
    event: 'connected',
    conn: conn.number,
    remote: raw.remoteId().toString(),
    alpn: Buffer.from(raw.alpn()).toString('utf8'),
  });
  conn.serve();
}

async function acceptLoop() {
  for (;;) {
    const incoming = await endpoint.acceptNext();
    if (!incoming) return;
    handleIncoming(incoming).catch((error) => {
      say({ event: 'attempt_failed', ...ending(error.message) });
    });
  }
}

const addressOf = ({ remote, addrs, relays }) => {
  if (relays?.length > 1) {
    throw new Failure({ error: 'LIMIT', text: 'the binding takes one relay url' });
  }
  return new iroh.EndpointAddr(iroh.EndpointId.fromString(remote), relays?.[0] ?? null, addrs);
};

/** For codecs: whatever the binding throws is a refusal. */
function refusable(name, work) {
  try {
    return work();
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure({ error: name, text: error.message.split('\n')[0] });
  }
}

const operations = {
  async open(request) {
    options = request;
    const builder = iroh.Endpoint.builder();
    iroh.presetMinimal(builder);
    const relays = request.relays ?? [];
    builder.relayMode(relays.length > 0
      ? iroh.RelayMode.customFromUrls(relays) : iroh.RelayMode.disabled());
    if (request.secret) builder.secretKey(hexBytes(request.secret));
    builder.alpns((request.alpns ?? []).map(bytesOf));
    for (const address of request.bind) builder.bindAddr(address);
    endpoint = await builder.bind();
    acceptLoop();
    if (relays.length > 0) await endpoint.online();
    // An address family that `bind` does not name gets a wildcard socket; nobody is told of it.
    const families = new Set(request.bind.map((address) => address.startsWith('[')));
    const addrs = endpoint.boundSockets().filter((address) => families.has(address.startsWith('[')));
    return { remote: endpoint.id().toString(), addrs };
  },

  async dial(request) {
    if (request.early !== undefined) {
      throw new Failure({ error: 'UNSUPPORTED', text: 'the binding has no 0-RTT call' });
    }
    let raw;
    try {
      raw = await endpoint.connect(addressOf(request), bytesOf(request.alpn));
    } catch (error) {
      throw new Failure({ ...ending(error.message), text: error.message });
    }
    const conn = new Conn(raw);
    conn.serve();
    return {
      conn: conn.number,
      remote: raw.remoteId().toString(),
      alpn: Buffer.from(raw.alpn()).toString('utf8'),
    };
  },

  transfer: (request) => transfer(connOf(request).raw, request),
  datagrams: (request) => connOf(request).datagrams.ask(request),
  break: (request) => breakStream(connOf(request).raw, request),

  serve(request) {
    serveMode = request.mode;
    return {};
  },

  stats(request) {
    const { raw } = connOf(request);
    const stats = raw.stats();
    return {
      tx_packets: stats.udpTxDatagrams,
      rx_packets: stats.udpRxDatagrams,
      paths: raw.paths().map((path) => ({ remote: path.remoteAddr, selected: path.isSelected })),
    };
  },

  close(request) {
    const conn = connOf(request);
    conn.local = { code: request.code, reason: request.reason };
    conn.raw.close(BigInt(request.code), bytesOf(request.reason));
    return {};
  },

  async shutdown() {
    await endpoint?.close();
    return {};
  },

  key(request) {
    return { remote: iroh.SecretKey.fromBytes(hexBytes(request.secret)).public().toString() };
  },

  id_parse(request) {
    return refusable('BAD_ID', () => ({ hex: iroh.EndpointId.fromString(request.text).toString() }));
  },

  ticket_parse(request) {
    return refusable('BAD_TICKET', () => {
      const ticket = iroh.EndpointTicket.fromString(request.text);
      const address = ticket.endpointAddr();
      const relay = address.relayUrl();
      return {
        remote: address.id().toString(),
        addrs: address.directAddresses(),
        relays: relay === null ? [] : [relay],
        text: ticket.toString(),
      };
    });
  },

  ticket_make(request) {
    return refusable('BAD_TICKET', () => ({
      text: iroh.EndpointTicket.fromAddr(addressOf(request)).toString(),
    }));
  },
};

async function answer(request) {
  const operation = operations[request.op];
  try {
    if (!operation) throw new Failure({ error: 'UNSUPPORTED', text: `no operation ${request.op}` });
    say({ id: request.id, ok: true, ...(await operation(request)) });
  } catch (error) {
    const members = error.members ?? { error: 'INTERNAL', text: error.message };
    say({ id: request.id, ok: false, ...members });
  }
  if (request.op === 'shutdown') process.stdout.write('', () => process.exit(0));
}

say({ event: 'hello', peer: 'iroh', version, features: ['attempts'] });
const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => answer(JSON.parse(line)));
lines.on('close', () => process.exit(0));
