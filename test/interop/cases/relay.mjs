// Peers that know nothing of each other but an id and a relay.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { bothWays, Skip, sleep } from '../context.mjs';

const MIB = 1 << 20;

/** Dials by id and relay alone. */
async function connectBy(t, dialler, acceptor, relays) {
  return t.connect(dialler, acceptor, { addrs: [], relays });
}

async function exchange(t, one, other) {
  await t.transfer(one, other, { bytes: 1 });
  await t.transfer(other, one, { bytes: 1, bidi: false });
  await t.transfer(one, other, { bytes: MIB });
  await t.transfer(other, one, { bytes: MIB });
  await t.transfer(one, other, { count: 50, bytes: 1000 });
}

/** Packets of the connection went through the relay and nowhere else. */
async function throughRelay(t, [peer, conn], url) {
  const { paths } = await peer.request('stats', { conn });
  const used = paths.filter((path) => path.selected);
  t.ok(used.length > 0 && used.every((path) => path.remote.includes(new URL(url).host)),
    `${peer.label} takes the relay: ${JSON.stringify(paths)}`);
}

async function relayOnly(t, dialSide, acceptSide, kind) {
  const relay = await t.relay(kind);
  const acceptor = await t.open(acceptSide, { relays: [relay.url], policy: 'any' });
  const dialler = await t.open(dialSide, { relays: [relay.url], policy: 'any' });
  const { dialled, accepted } = await connectBy(t, dialler, acceptor, [relay.url]);
  await exchange(t, [dialler, dialled], [acceptor, accepted]);
  if (dialSide === 'us') await throughRelay(t, [dialler, dialled], relay.url);
  if (acceptSide === 'us') await throughRelay(t, [acceptor, accepted], relay.url);
}

/** Who dials needs no relay of its own. */
async function dialOnly(t, dialSide, acceptSide) {
  const relay = await t.relay();
  const acceptor = await t.open(acceptSide, { relays: [relay.url] });
  const dialler = await t.open(dialSide);
  const { dialled, accepted } = await connectBy(t, dialler, acceptor, [relay.url]);
  await exchange(t, [dialler, dialled], [acceptor, accepted]);
}

/** With a direct address that works beside it, the relay is not needed. */
async function directWins(t, dialSide, acceptSide) {
  const relay = await t.relay();
  const acceptor = await t.open(acceptSide, { relays: [relay.url] });
  const dialler = await t.open(dialSide, { relays: [relay.url] });
  const { dialled, accepted } = await t.connect(dialler, acceptor, { relays: [relay.url] });
  await exchange(t, [dialler, dialled], [acceptor, accepted]);
  const us = dialSide === 'us' ? [dialler, dialled] : [acceptor, accepted];
  const { paths } = await us[0].request('stats', { conn: us[1] });
  t.ok(paths.some((path) => path.selected && path.remote.startsWith('127.0.0.1:')
    && !path.remote.startsWith(new URL(relay.url).host)), `direct: ${JSON.stringify(paths)}`);
}

/** The home of each is another relay: who dials goes to the other's. */
async function twoRelays(t, dialSide, acceptSide) {
  const [here, there] = [await t.relay(), await t.relay()];
  const acceptor = await t.open(acceptSide, { relays: [there.url] });
  const dialler = await t.open(dialSide, { relays: [here.url] });
  const { dialled, accepted } = await connectBy(t, dialler, acceptor, [there.url]);
  await exchange(t, [dialler, dialled], [acceptor, accepted]);
}

/** The relay is killed in mid-transfer and started again: the same connection goes on. */
async function restart(t, dialSide, acceptSide) {
  const relay = await t.relay();
  const acceptor = await t.open(acceptSide, { relays: [relay.url] });
  const dialler = await t.open(dialSide, { relays: [relay.url] });
  const { dialled, accepted } = await connectBy(t, dialler, acceptor, [relay.url]);
  const transfer = t.transfer([dialler, dialled], [acceptor, accepted], { bytes: 64 * MIB });
  transfer.catch(() => {});
  await sleep(150);
  await relay.stop('SIGKILL');
  await sleep(500);
  await relay.start();
  await transfer;
  await exchange(t, [acceptor, accepted], [dialler, dialled]);
}

/** A relay that is stopped in good order, and one that hangs, are two more ways to lose it. */
async function hang(t, dialSide, acceptSide) {
  const relay = await t.relay();
  const acceptor = await t.open(acceptSide, { relays: [relay.url] });
  const dialler = await t.open(dialSide, { relays: [relay.url] });
  const { dialled, accepted } = await connectBy(t, dialler, acceptor, [relay.url]);
  await t.transfer([dialler, dialled], [acceptor, accepted], { bytes: MIB });
  relay.freeze();
  await sleep(1000);
  relay.freeze(false);
  await t.transfer([dialler, dialled], [acceptor, accepted], { bytes: MIB });
  await relay.stop();
  await relay.start();
  await exchange(t, [dialler, dialled], [acceptor, accepted]);
}

/** stdout and stderr of km-node, which must succeed. */
function kmNode(...args) {
  const program = join(process.env.KM_BIN_DIR, 'km-node');
  return new Promise((resolve, reject) => {
    execFile(program, args, { timeout: 30_000 }, (error, stdout, stderr) => {
      if (error) reject(new Error(`km-node: ${error.message}\n${stdout}${stderr}`));
      else resolve(stdout + stderr);
    });
  });
}

/** Logs in at a relay: which version is spoken, and whether a challenge was needed. Over TLS it is
 *  not: the header with its keying material proves who we are. */
async function login(t, kind, tls, version) {
  if (!process.env.KM_BIN_DIR) throw new Skip('KM_BIN_DIR does not say where km-node is');
  const relay = await t.relay(kind, { tls });
  const ca = tls ? ['--relay-ca', relay.caFile] : [];
  const said = await kmNode('relay', 'ping', relay.url, '--log', 'relay=info', ...ca);
  const [, spoken, challenged] = /relay-connected version=(\d) challenged=(\d)/.exec(said) ?? [];
  t.equal(spoken, String(version), `version, in ${said}`);
  t.equal(challenged, tls ? '0' : '1', 'challenged');
}

const logins = (name, kind, version) => [
  { name: `${name}_login_challenge`, run: (t) => login(t, kind, false, version) },
  { name: `${name}_login_header`, run: (t) => login(t, kind, true, version) },
];

const pair = (name, run, a, b) => ({ name, run: (t) => run(t, a, b) });

export const relayCases = [
  pair('relay_iroh_to_iroh', relayOnly, 'them', 'them'),
  pair('relay_keymesh_to_keymesh', relayOnly, 'us', 'us'),
  ...bothWays('relay_only', relayOnly),
  ...bothWays('relay_direct_wins', directWins),
  ...bothWays('relay_two_relays', twoRelays),
  pair('relay_dial_only', dialOnly, 'us', 'them'),
  pair('relay_dial_only_keymesh', dialOnly, 'us', 'us'),
  ...logins('relay', 'km', 2),
];

export const relayLossCases = [
  pair('relay_restart_keymesh', restart, 'us', 'us'),
  ...bothWays('relay_restart', restart),
  pair('relay_hang_keymesh', hang, 'us', 'us'),
  ...bothWays('relay_hang', hang),
];

const throughIroh = (t, a, b) => relayOnly(t, a, b, 'iroh');
const throughV1 = (t, a, b) => relayOnly(t, a, b, 'iroh_v1');

/** The same through the real iroh-relay. */
export const irohRelayCases = [
  pair('iroh_relay_keymesh_to_keymesh', throughIroh, 'us', 'us'),
  ...bothWays('iroh_relay', throughIroh),
  ...logins('iroh_relay', 'iroh', 2),
  pair('iroh_relay_v1_keymesh_to_keymesh', throughV1, 'us', 'us'),
  ...bothWays('iroh_relay_v1', throughV1),
  ...logins('iroh_relay_v1', 'iroh_v1', 1),
];
