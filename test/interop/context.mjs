// What a test case gets: peers, checks, and the clearing up after it.
import { isDeepStrictEqual } from 'node:util';
import { Peer, PeerError } from './peer_process.mjs';
import { Relay } from './relay_process.mjs';

export const ALPN = 'km/interop/1';
export const LOOPBACK4 = '127.0.0.1:0';
export const LOOPBACK6 = '[::1]:0';

/** The case cannot run with these peers. */
export class Skip extends Error {}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Context {
  #programs;
  #peers = [];
  #relays = [];

  /** `programs`: {us, them}, each {label, command, args, env}. */
  constructor(programs) {
    this.#programs = programs;
    this.checks = 0;
  }

  ok(condition, what) {
    this.checks++;
    if (!condition) throw new Error(what);
  }

  equal(actual, expected, what) {
    this.ok(isDeepStrictEqual(actual, expected),
      `${what}: got ${JSON.stringify(actual)}, expected ${JSON.stringify(expected)}`);
  }

  /** The members of `expected` must be in `actual` with these values. */
  includes(actual, expected, what) {
    for (const [key, value] of Object.entries(expected)) {
      this.equal(actual[key], value, `${what}: ${key}`);
    }
  }

  /** Starts `us` or `them` without an endpoint. */
  async start(side) {
    const { label, command, args, env } = this.#programs[side];
    const peer = new Peer(`${side} (${label})`, command, args, env);
    peer.side = side;
    this.#peers.push(peer);
    const hello = await peer.event('hello');
    peer.kind = hello.peer;
    peer.features = new Set(hello.features);
    return peer;
  }

  /** Starts `us` or `them` and opens its endpoint. */
  async open(side, options = {}) {
    const peer = await this.start(side);
    const answer = await peer.request('open', { bind: [LOOPBACK4], alpns: [ALPN], ...options });
    return Object.assign(peer, { remote: answer.remote, addrs: answer.addrs });
  }

  /** Starts a relay, `km` or `iroh`; its `url` answers. */
  async relay(kind = 'km', options = {}) {
    if (!Relay.program(kind)) throw new Skip(`there is no ${kind} relay here`);
    const relay = new Relay(kind, options);
    this.#relays.push(relay);
    await relay.start();
    return relay;
  }

  /** KeyMesh must have every feature. Only where iroh stands in for it (--self) it is a skip. */
  need(peer, ...features) {
    const missing = features.filter((feature) => !peer.features.has(feature));
    if (missing.length === 0) return;
    const text = `${peer.label} cannot do: ${missing.join(', ')}`;
    throw peer.kind === 'iroh' ? new Skip(text) : new Error(text);
  }

  /** Dials; both sides' connection numbers. */
  async connect(dialler, acceptor, members = {}) {
    const accepted = acceptor.event('connected');
    accepted.catch(() => {});
    const answer = await dialler.request('dial', {
      remote: acceptor.remote, addrs: acceptor.addrs, alpn: ALPN, ...members,
    });
    const event = await accepted;
    return { dialled: answer.conn, accepted: event.conn, answer, event };
  }

  /** Dials and expects a failure; the ending. */
  async refused(dialler, acceptor, members = {}) {
    try {
      await dialler.request('dial', {
        remote: acceptor.remote, addrs: acceptor.addrs, alpn: ALPN, ...members,
      });
    } catch (error) {
      if (error instanceof PeerError) return error.answer;
      throw error;
    }
    throw new Error(`${dialler.label} connected though it should have been refused`);
  }

  /** One transfer, checked on both sides. `from` and `to` are [peer, connection number]. */
  async transfer(from, to, members) {
    const [opener, openerConn] = from;
    const [server, serverConn] = to;
    const request = { conn: openerConn, bidi: true, count: 1, bytes: 1, hold: false, ...members };
    const { flows } = await opener.request('transfer', request);
    this.equal(flows.length, request.count, 'number of flows');
    const hashes = [];
    for (const flow of flows) {
      this.equal(flow.sent, request.bytes, 'bytes sent');
      if (request.bidi) {
        this.equal(flow.received, request.bytes, 'bytes echoed');
        this.equal(flow.received_sha256, flow.sent_sha256, 'hash of the echo');
      }
      hashes.push(flow.sent_sha256);
    }
    for (let i = 0; i < request.count; i++) {
      const seen = await server.event('stream', { conn: serverConn });
      this.includes(seen, { bidi: request.bidi, bytes: request.bytes, end: 'fin' }, 'stream seen');
      const index = hashes.indexOf(seen.sha256);
      this.ok(index >= 0, `${server.label} read other bytes than ${opener.label} sent`);
      hashes.splice(index, 1);
    }
  }

  /** Ends all peers in good order: each must exit with 0 (under ASan that includes no leak). */
  async finish() {
    for (const peer of this.#peers.filter((one) => one.alive)) {
      await peer.request('shutdown');
      const how = await peer.exit;
      this.equal(how.code, 0, `${peer.label} exit (${how.text})`);
    }
    for (const relay of this.#relays.filter((one) => one.alive)) {
      const how = await relay.stop();
      this.ok(relay.kind !== 'km' || how.code === 0, `${relay.label} exit (${how.text})`);
    }
  }

  /** Whatever still runs is killed; what the peers wrote to stderr. */
  async clear() {
    for (const peer of this.#peers) peer.kill();
    await Promise.all(this.#peers.map((peer) => peer.exit));
    await Promise.all(this.#relays.map((relay) => relay.clear()));
    return [...this.#peers, ...this.#relays].filter((peer) => peer.stderr)
      .map((peer) => `--- stderr of ${peer.label}\n${peer.stderr}`).join('\n');
  }
}

/** The same case twice: we dial, it dials. */
export function bothWays(name, run, extra = {}) {
  return [
    { name: `${name}_we_dial`, run: (t) => run(t, 'us', 'them'), ...extra },
    { name: `${name}_it_dials`, run: (t) => run(t, 'them', 'us'), ...extra },
  ];
}
