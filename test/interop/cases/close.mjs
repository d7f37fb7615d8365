// Codes and reasons: the side that did not close must see exactly what the other one gave.
import { ALPN, bothWays } from '../context.mjs';

const CLOSES = [
  { code: '0', reason: '' },
  { code: '7', reason: 'bye' },
  { code: '16384', reason: 'auf Wiedersehen, \u00fc \u{1f44b}' },
  { code: '4611686018427387903', reason: '9 (code 3)' },
];

async function closeCodes(t, dialSide, acceptSide) {
  const acceptor = await t.open(acceptSide);
  const dialler = await t.open(dialSide);
  for (const { code, reason } of CLOSES) {
    for (const diallerCloses of [true, false]) {
      const { dialled, accepted } = await t.connect(dialler, acceptor);
      // A byte both ways first: the handshake is confirmed, the close is a 1-RTT one.
      await t.transfer([dialler, dialled], [acceptor, accepted], {});
      const ends = [[dialler, dialled], [acceptor, accepted]];
      const [closer, other] = diallerCloses ? ends : ends.reverse();
      await closer[0].request('close', { conn: closer[1], code, reason });
      const seen = await other[0].event('closed', { conn: other[1] });
      t.includes(seen, { by: 'peer', app: true, code, reason, error: 'CLOSED_BY_PEER' }, 'at the other side');
      const own = await closer[0].event('closed', { conn: closer[1] });
      t.includes(own, { by: 'local', error: 'OK' }, 'at the closing side');
    }
  }
}

/** A whole endpoint going away is an application close with code 0 and no reason. */
async function endpointClose(t, dialSide, acceptSide) {
  for (const leaverDials of [true, false]) {
    const acceptor = await t.open(acceptSide);
    const dialler = await t.open(dialSide);
    const { dialled, accepted } = await t.connect(dialler, acceptor);
    await t.transfer([dialler, dialled], [acceptor, accepted], {});
    const [leaver, other, conn] = leaverDials
      ? [dialler, acceptor, accepted] : [acceptor, dialler, dialled];
    await leaver.request('shutdown');
    const seen = await other.event('closed', { conn });
    t.includes(seen, { by: 'peer', app: true, code: '0', reason: '', error: 'CLOSED_BY_PEER' }, 'ending');
    t.equal((await leaver.exit).code, 0, 'exit of the side that left');
  }
}

async function broken(t, dialSide, acceptSide, how, code) {
  const acceptor = await t.open(acceptSide);
  const dialler = await t.open(dialSide);
  const { dialled, accepted } = await t.connect(dialler, acceptor);
  const ends = [[dialler, dialled], [acceptor, accepted]];
  for (const [[breaker, conn], [other, otherConn]] of [ends, [...ends].reverse()]) {
    if (how === 'stop') await other.request('serve', { mode: 'watch_stop' });
    await breaker.request('break', { conn, how, code });
    const seen = await other.event('stream', { conn: otherConn });
    t.includes(seen, { bidi: true, bytes: 4, end: how, code }, 'stream seen');
    await other.request('serve', { mode: 'echo' });
  }
  // The connection is none the worse for it.
  await t.transfer([dialler, dialled], [acceptor, accepted], { bytes: 1000 });
  await t.transfer([acceptor, accepted], [dialler, dialled], { bytes: 1000 });
}

const resets = (t, a, b) => broken(t, a, b, 'reset', '42');
const stops = (t, a, b) => broken(t, a, b, 'stop', '1000000007');

/** A refused protocol after a good connection must not end the good one. */
async function closeIsItsOwn(t, dialSide, acceptSide) {
  const acceptor = await t.open(acceptSide);
  const dialler = await t.open(dialSide);
  const first = await t.connect(dialler, acceptor);
  await t.refused(dialler, acceptor, { alpn: 'km/nobody/1' });
  const second = await t.connect(dialler, acceptor, { alpn: ALPN });
  await dialler.request('close', { conn: second.dialled, code: '1', reason: 'x' });
  await acceptor.event('closed', { conn: second.accepted });
  await t.transfer([dialler, first.dialled], [acceptor, first.accepted], { bytes: 1000 });
}

export const close = [
  ...bothWays('close_codes', closeCodes),
  ...bothWays('endpoint_close', endpointClose),
  ...bothWays('stream_reset_codes', resets),
  ...bothWays('stream_stop_codes', stops),
  ...bothWays('close_is_its_own', closeIsItsOwn),
];
