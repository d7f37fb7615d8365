// What happens to a connection over time: silence, moves, new keys, resumption, sudden death.
import { bothWays, sleep } from '../context.mjs';

const MIB = 1024 * 1024;

async function idle(t, dialSide, acceptSide) {
  const acceptor = await t.open(acceptSide);
  const dialler = await t.open(dialSide);
  const { dialled, accepted } = await t.connect(dialler, acceptor);
  await t.transfer([dialler, dialled], [acceptor, accepted], { bytes: 1000 });
  await sleep(90_000); // three idle timeouts of 30 s
  for (const peer of [dialler, acceptor]) {
    t.equal(peer.untaken('closed'), [], `endings seen by ${peer.label}`);
  }
  await t.transfer([dialler, dialled], [acceptor, accepted], { bytes: 1000 });
  await t.transfer([acceptor, accepted], [dialler, dialled], { bytes: 1000 });
}

/** Only iroh keeps the connection alive. */
async function idleWithoutOurs(t, dialSide, acceptSide) {
  const quiet = { keep_alive_ms: 0 };
  const acceptor = await t.open(acceptSide, acceptSide === 'us' ? quiet : {});
  const dialler = await t.open(dialSide, dialSide === 'us' ? quiet : {});
  t.need(dialSide === 'us' ? dialler : acceptor, 'options');
  const { dialled, accepted } = await t.connect(dialler, acceptor);
  await sleep(45_000);
  await t.transfer([dialler, dialled], [acceptor, accepted], { bytes: 1000 });
}

const portOf = (address) => address.slice(address.lastIndexOf(':') + 1);

/**
 * Are its packets coming to our new port, and only there? Our figures tell, path by path: what the
 * binding says of its path keeps the first address for ever, though its packets go to the new one.
 */
async function followed(t, us, conn, send) {
  const received = async () => new Map((await us.request('stats', { conn })).paths
    .map((path) => [path.local, path.rx_bytes]));
  const { local } = await us.request('stats', { conn });
  const before = await received();
  await send();
  for (const [address, bytes] of await received()) {
    const grown = bytes - before.get(address);
    if (address === local) t.ok(grown >= MIB, `${grown} bytes came to ${address}`);
    else t.equal(grown, 0, `bytes that came to ${address}, which we left`);
  }
}

async function transferred(peer, conn, packets) {
  while ((await peer.request('stats', { conn })).rx_packets < packets) await sleep(5);
}

/** We move to a new local port three times while 64 MiB go there and back. */
async function migrate(t) {
  const them = await t.open('them');
  const us = await t.open('us');
  t.need(us, 'rebind', 'figures', 'paths');
  const { dialled, accepted } = await t.connect(us, them);
  await t.transfer([us, dialled], [them, accepted], { bytes: 1 });
  let finished = false;
  const transfer = t.transfer([us, dialled], [them, accepted], { bytes: 64 * MIB });
  transfer.then(() => { finished = true; }, () => { finished = true; });
  const ports = new Set([(await us.request('stats', { conn: dialled })).local].map(portOf));
  for (let move = 1; move <= 3; move++) {
    const { rx_packets: before } = await us.request('stats', { conn: dialled });
    await transferred(us, dialled, before + 2000);
    t.ok(!finished, `the transfer is under way before move ${move}`);
    us.forget('path');
    await us.request('rebind', { bind: '127.0.0.1:0' });
    const path = await us.event('path', { conn: dialled });
    t.ok(!ports.has(portOf(path.local)), `a new port: ${path.local}`);
    ports.add(portOf(path.local));
  }
  await transfer;
  const stats = await us.request('stats', { conn: dialled });
  t.equal(stats.migrations, 3, 'moves counted');
  t.ok(ports.has(portOf(stats.local)), 'packets take the last path');
  t.equal(us.untaken('closed').concat(them.untaken('closed')), [], 'endings');
  await followed(t, us, dialled, () => t.transfer([them, accepted], [us, dialled], { bytes: MIB }));
}

/** We move while nothing is being sent, more often than an endpoint has sockets. */
async function migrateIdle(t) {
  const them = await t.open('them');
  const us = await t.open('us');
  t.need(us, 'rebind', 'figures', 'paths');
  const { dialled, accepted } = await t.connect(us, them);
  await t.transfer([us, dialled], [them, accepted], { bytes: 1 });
  for (let move = 1; move <= 12; move++) {
    us.forget('path');
    await us.request('rebind', { bind: '127.0.0.1:0' });
    await us.event('path', { conn: dialled });
    await t.transfer([us, dialled], [them, accepted], { bytes: 1000 });
  }
  await followed(t, us, dialled, () => t.transfer([them, accepted], [us, dialled], { bytes: MIB }));
  await t.transfer([us, dialled], [them, accepted], { bytes: MIB });
  t.equal((await us.request('stats', { conn: dialled })).migrations, 12, 'moves counted');
}

/** iroh updates its keys once within its first 1,000 packets; either role, either direction. */
async function keyUpdate(t, dialSide, acceptSide) {
  const acceptor = await t.open(acceptSide);
  const dialler = await t.open(dialSide);
  const us = dialSide === 'us' ? dialler : acceptor;
  t.need(us, 'figures');
  const { dialled, accepted } = await t.connect(dialler, acceptor);
  const ends = [[dialler, dialled], [acceptor, accepted]];
  const ourConn = us === dialler ? dialled : accepted;
  for (let round = 0; round < 4; round++) {
    await t.transfer(ends[0], ends[1], { bytes: 4 * MIB });
    await t.transfer(ends[1], ends[0], { bytes: 4 * MIB });
  }
  const stats = await us.request('stats', { conn: ourConn });
  t.ok(stats.rx_packets > 10_000, `packets received: ${stats.rx_packets}`);
  t.ok(stats.key_updates >= 1, `key updates: ${stats.key_updates}`);
}

/** Ours, on purpose, several times. */
async function ownKeyUpdate(t, dialSide, acceptSide) {
  const acceptor = await t.open(acceptSide);
  const dialler = await t.open(dialSide);
  const us = dialSide === 'us' ? dialler : acceptor;
  t.need(us, 'update_keys', 'figures');
  const { dialled, accepted } = await t.connect(dialler, acceptor);
  const ends = [[dialler, dialled], [acceptor, accepted]];
  const conn = us === dialler ? dialled : accepted;
  let done = 0;
  let refusal = '';
  for (let attempt = 0; done < 3 && attempt < 100; attempt++) {
    await t.transfer(ends[0], ends[1], { bytes: 100_000 });
    await t.transfer(ends[1], ends[0], { bytes: 100_000 });
    // Right after the last one, its own or ours, an update is refused (RFC 9001 section 6.1).
    done += await us.request('update_keys', { conn }).then(() => 1, (error) => {
      refusal = error.message;
      return sleep(20).then(() => 0);
    });
  }
  t.equal(done, 3, `key updates begun (the last refusal: ${refusal})`);
  await t.transfer(ends[1], ends[0], { bytes: MIB });
  t.ok((await us.request('stats', { conn })).key_updates >= 3, 'key updates counted');
}

async function firstVisit(t, us, them) {
  const { dialled, accepted } = await t.connect(us, them);
  // iroh sends its tickets after the handshake; they are here when this is through.
  await t.transfer([us, dialled], [them, accepted], { bytes: 100_000 });
  await us.request('close', { conn: dialled, code: '0', reason: '' });
  await us.event('closed', { conn: dialled });
}

async function early(t) {
  const them = await t.open('them');
  const us = await t.open('us');
  t.need(us, 'early', 'figures');
  await firstVisit(t, us, them);
  for (let visit = 0; visit < 2; visit++) { // its two tickets; each is good for one visit
    const { answer, accepted, dialled, event } = await t.connect(us, them, { early: 5000 });
    t.equal(event.remote, us.remote, 'our id at iroh, though no certificate went over');
    t.equal(answer.early, 'accepted', 'early data');
    t.equal(answer.flow.received_sha256, answer.flow.sent_sha256, 'hash of the echo');
    const seen = await them.event('stream', { conn: accepted });
    t.includes(seen, { bytes: 5000, sha256: answer.flow.sent_sha256, end: 'fin' }, 'stream at iroh');
    t.equal((await us.request('stats', { conn: dialled })).resumed, true, 'resumed');
    await t.transfer([us, dialled], [them, accepted], { bytes: MIB });
    await t.transfer([them, accepted], [us, dialled], { bytes: MIB });
  }
}

/** Its memory of us is gone, its key is the same: early data is rejected, the connection is not. */
async function earlyRejected(t) {
  const secret = '22'.repeat(32);
  const before = await t.open('them', { secret });
  const us = await t.open('us');
  t.need(us, 'early', 'figures');
  await firstVisit(t, us, before);
  await before.request('shutdown');
  await before.exit;
  const after = await t.open('them', { secret });
  const { answer, dialled, accepted } = await t.connect(us, after, { early: 5000 });
  t.equal(answer.early, 'rejected', 'early data');
  t.equal((await us.request('stats', { conn: dialled })).resumed, false, 'resumed');
  await t.transfer([us, dialled], [after, accepted], { bytes: MIB });
}

/** iroh comes back with the ticket that we gave it; we must still know who it is. */
async function resumedByIt(t) {
  const us = await t.open('us');
  const them = await t.open('them');
  t.need(us, 'figures');
  const resumed = [];
  for (let visit = 0; visit < 3; visit++) {
    const { dialled, accepted, event } = await t.connect(them, us);
    t.equal(event.remote, them.remote, 'its id');
    await t.transfer([them, dialled], [us, accepted], { bytes: 100_000 });
    resumed.push((await us.request('stats', { conn: accepted })).resumed);
    await them.request('close', { conn: dialled, code: '0', reason: '' });
    await us.event('closed', { conn: accepted });
  }
  t.equal(resumed, [false, true, true], 'resumed on each visit');
}

const SHORT = { idle_timeout_ms: 3000, keep_alive_ms: 1000 };

/** iroh is killed; we must report it after our idle timeout, far sooner than its 30 s. */
async function itDies(t, dialSide, acceptSide) {
  const ours = (side) => (side === 'us' ? SHORT : {});
  const acceptor = await t.open(acceptSide, ours(acceptSide));
  const dialler = await t.open(dialSide, ours(dialSide));
  const [us, them] = dialSide === 'us' ? [dialler, acceptor] : [acceptor, dialler];
  t.need(us, 'options');
  const { dialled, accepted } = await t.connect(dialler, acceptor);
  await t.transfer([dialler, dialled], [acceptor, accepted], { bytes: 1000 });
  them.kill();
  const died = Date.now();
  await them.exit;
  const seen = await us.event('closed', { conn: us === dialler ? dialled : accepted });
  t.includes(seen, { by: 'timeout', error: 'IDLE_TIMEOUT' }, 'ending');
  const elapsed = Date.now() - died;
  t.ok(elapsed < 15_000, `reported after ${elapsed} ms`);
}

/** We are killed; iroh notices, by the shorter of the two idle timeouts. */
async function weDie(t, dialSide, acceptSide) {
  const ours = (side) => (side === 'us' ? SHORT : {});
  const acceptor = await t.open(acceptSide, ours(acceptSide));
  const dialler = await t.open(dialSide, ours(dialSide));
  const [us, them] = dialSide === 'us' ? [dialler, acceptor] : [acceptor, dialler];
  const { dialled, accepted } = await t.connect(dialler, acceptor);
  await t.transfer([dialler, dialled], [acceptor, accepted], { bytes: 1000 });
  us.kill();
  await us.exit;
  const seen = await them.event('closed', { conn: them === dialler ? dialled : accepted });
  t.includes(seen, { by: 'timeout', error: 'IDLE_TIMEOUT' }, 'ending');
}

export const idleCases = [
  ...bothWays('idle_90_s', idle, { timeout: 200 }),
  ...bothWays('idle_45_s_only_it_keeps_alive', idleWithoutOurs),
];
export const migrateCases = [
  { name: 'migrate_mid_transfer', run: migrate, timeout: 400 },
  { name: 'migrate_idle', run: migrateIdle },
];
export const keyCases = [
  ...bothWays('key_update_by_it', keyUpdate, { timeout: 400 }),
  ...bothWays('key_update_by_us', ownKeyUpdate),
];
export const earlyCases = [
  { name: 'early_data_accepted', run: early },
  { name: 'early_data_rejected', run: earlyRejected },
  { name: 'resumed_by_it', run: resumedByIt },
];
export const deathCases = [
  ...bothWays('it_is_killed', itDies),
  ...bothWays('we_are_killed', weDie),
];
