// Who reaches whom, and who is turned away.
import { ALPN, LOOPBACK4, LOOPBACK6, bothWays } from '../context.mjs';

const STRANGER = '11'.repeat(32); // the secret key of an id that nobody here has

async function connected(t, dialSide, acceptSide, bind) {
  const acceptor = await t.open(acceptSide, { bind });
  const dialler = await t.open(dialSide, { bind });
  const { dialled, accepted, answer, event } = await t.connect(dialler, acceptor);
  t.includes(answer, { remote: acceptor.remote, alpn: ALPN }, 'what the dialling side sees');
  t.includes(event, { remote: dialler.remote, alpn: ALPN }, 'what the accepting side sees');
  await t.transfer([dialler, dialled], [acceptor, accepted], { bytes: 1 });
  await t.transfer([acceptor, accepted], [dialler, dialled], { bytes: 1 });
}

const dial = (t, a, b) => connected(t, a, b, [LOOPBACK4]);
const dialIpv6 = (t, a, b) => connected(t, a, b, [LOOPBACK6]);

/** Several addresses, only one of which answers. */
async function dialSeveral(t, dialSide, acceptSide) {
  const acceptor = await t.open(acceptSide);
  const dialler = await t.open(dialSide);
  const addrs = ['127.0.0.1:9', ...acceptor.addrs, '127.0.0.2:9'];
  const { dialled, accepted } = await t.connect(dialler, acceptor, { addrs });
  await t.transfer([dialler, dialled], [acceptor, accepted], { bytes: 1000 });
}

async function alpnChoice(t, dialSide, acceptSide) {
  const acceptor = await t.open(acceptSide, { alpns: ['km/other/1', ALPN] });
  const dialler = await t.open(dialSide);
  for (const alpn of [ALPN, 'km/other/1']) {
    const { answer, event } = await t.connect(dialler, acceptor, { alpn });
    t.equal(answer.alpn, alpn, 'protocol at the dialling side');
    t.equal(event.alpn, alpn, 'protocol at the accepting side');
  }
}

/** After a refusal the same two must still be able to connect. */
async function stillReachable(t, dialler, acceptor) {
  t.equal(acceptor.untaken('connected').length, 0, 'connections the accepting side took for real');
  const { dialled, accepted } = await t.connect(dialler, acceptor);
  await t.transfer([dialler, dialled], [acceptor, accepted], { bytes: 100 });
}

async function alpnRefused(t, dialSide, acceptSide) {
  const acceptor = await t.open(acceptSide);
  const dialler = await t.open(dialSide);
  const end = await t.refused(dialler, acceptor, { alpn: 'km/nobody/1' });
  // TLS alert 120, no_application_protocol (RFC 9001 section 8.1)
  t.includes(end, { error: 'ALPN_REFUSED', by: 'peer', app: false, code: String(0x178) }, 'ending');
  if (acceptor.features.has('attempts')) {
    const seen = await acceptor.event('attempt_failed');
    t.includes(seen, { error: 'ALPN_REFUSED', by: 'local' }, 'what the accepting side saw');
  }
  if (acceptor.features.has('totals')) {
    t.equal((await acceptor.request('totals')).refused, 1, 'refusals counted');
  }
  await stillReachable(t, dialler, acceptor);
}

async function wrongId(t, dialSide, acceptSide) {
  const acceptor = await t.open(acceptSide);
  const dialler = await t.open(dialSide);
  const { remote } = await dialler.request('key', { secret: STRANGER });
  const end = await t.refused(dialler, acceptor, { remote });
  t.includes(end, { error: 'WRONG_PEER', by: 'local' }, 'ending at the dialling side');
  if (acceptor.features.has('attempts')) {
    // Which alert says so is the dialler's choice: iroh takes 48, wolfSSL has 42 for it.
    const seen = await acceptor.event('attempt_failed');
    t.includes(seen, { by: 'peer', app: false }, 'what the accepting side saw');
    t.ok(Number(seen.code) >= 0x100, `it is a TLS alert: ${JSON.stringify(seen)}`);
  }
  await stillReachable(t, dialler, acceptor);
}

async function refuse(t, dialSide, acceptSide) {
  const acceptor = await t.open(acceptSide, { incoming: 'refuse' });
  const dialler = await t.open(dialSide);
  const end = await t.refused(dialler, acceptor);
  t.includes(end, { error: 'REFUSED', by: 'peer', app: false, code: '2' }, 'ending');
}

async function retry(t, dialSide, acceptSide) {
  const acceptor = await t.open(acceptSide, { incoming: 'retry' });
  const dialler = await t.open(dialSide);
  const { dialled, accepted } = await t.connect(dialler, acceptor);
  await t.transfer([dialler, dialled], [acceptor, accepted], { bytes: 5000 });
  if (acceptor.features.has('totals')) {
    t.ok((await acceptor.request('totals')).retries_sent >= 1, 'a Retry was sent');
  }
}

/** We offer X25519MLKEM768 first; this iroh knows only X25519 of the two (TLS 1.3 picks that). */
async function postQuantum(t, dialSide, acceptSide) {
  const ours = (side) => (side === 'us' ? { prefer_post_quantum: true } : {});
  const acceptor = await t.open(acceptSide, ours(acceptSide));
  const dialler = await t.open(dialSide, ours(dialSide));
  const us = dialSide === 'us' ? dialler : acceptor;
  t.need(us, 'options', 'figures');
  const { dialled, accepted } = await t.connect(dialler, acceptor);
  await t.transfer([dialler, dialled], [acceptor, accepted], { bytes: 10_000 });
  const stats = await us.request('stats', { conn: us === dialler ? dialled : accepted });
  t.equal(stats.group, 'X25519', 'key exchange');
  t.ok(stats.cipher.startsWith('TLS13-'), `cipher suite: ${stats.cipher}`);
}

export const connect = [
  ...bothWays('dial', dial),
  ...bothWays('dial_ipv6', dialIpv6),
  ...bothWays('dial_several_addresses', dialSeveral),
  ...bothWays('alpn_choice', alpnChoice),
  ...bothWays('alpn_refused', alpnRefused),
  ...bothWays('wrong_id', wrongId),
  ...bothWays('refuse', refuse),
  ...bothWays('retry', retry),
  ...bothWays('post_quantum_preferred', postQuantum),
];
