// Bytes: every size, both directions, many streams, datagrams.
import { bothWays } from '../context.mjs';

const KIB = 1024;
const MIB = 1024 * KIB;

async function ends(t, dialSide, acceptSide, options = {}) {
  const acceptor = await t.open(acceptSide, options);
  const dialler = await t.open(dialSide, options);
  const { dialled, accepted } = await t.connect(dialler, acceptor);
  return [[dialler, dialled], [acceptor, accepted]];
}

/** Each side opens, bidirectional and unidirectional. */
async function sizes(t, dialSide, acceptSide, list) {
  const [one, other] = await ends(t, dialSide, acceptSide);
  for (const bytes of list) {
    for (const bidi of [true, false]) {
      await t.transfer(one, other, { bytes, bidi });
      await t.transfer(other, one, { bytes, bidi });
    }
  }
}

const small = (t, a, b) => sizes(t, a, b, [0, 1, 2, 1199, 65537]);
const mebibyte = (t, a, b) => sizes(t, a, b, [MIB]);

async function bulk(t, dialSide, acceptSide) {
  const [one, other] = await ends(t, dialSide, acceptSide);
  await t.transfer(one, other, { bytes: 64 * MIB });
}

/** Both sides send at once, on streams of one direction each. */
async function bulkCrossing(t, dialSide, acceptSide) {
  const [one, other] = await ends(t, dialSide, acceptSide);
  await Promise.all([
    t.transfer(one, other, { bytes: 64 * MIB, bidi: false }),
    t.transfer(other, one, { bytes: 64 * MIB, bidi: false }),
  ]);
}

/** The same with our other congestion controller. */
async function bulkBbr(t, dialSide, acceptSide) {
  const [one, other] = await ends(t, dialSide, acceptSide, { bbr: true });
  t.need(one[0].side === 'us' ? one[0] : other[0], 'options');
  await t.transfer(one, other, { bytes: 16 * MIB });
  await t.transfer(other, one, { bytes: 16 * MIB });
}

/** More streams than the peer allows at first (100): they wait their turn. */
async function many(t, dialSide, acceptSide) {
  const [one, other] = await ends(t, dialSide, acceptSide);
  await t.transfer(one, other, { count: 200, bytes: 10 * KIB });
  await t.transfer(other, one, { count: 200, bytes: 10 * KIB });
  await t.transfer(one, other, { count: 200, bytes: 1, bidi: false });
}

/** 200 streams open at the same moment: none ends before all were echoed. */
async function manyHeld(t, dialSide, acceptSide) {
  const [one, other] = await ends(t, dialSide, acceptSide, { max_streams_bidi: 256 });
  await t.transfer(one, other, { count: 200, bytes: 10 * KIB, hold: true });
  await t.transfer(other, one, { count: 200, bytes: 10 * KIB, hold: true });
}

async function datagramsBothWays(t, dialSide, acceptSide) {
  const sides = await ends(t, dialSide, acceptSide);
  for (const [peer, conn] of sides) {
    for (const size of [5, 100, 1000, 0]) {
      const answer = await peer.request('datagrams', { conn, count: 300, size });
      t.equal(answer.answered, 300, `datagrams of ${answer.size} bytes answered to ${peer.label}`);
      t.ok(answer.size >= 1000 || answer.size === size, `largest datagram: ${answer.size}`);
    }
  }
}

export const streams = [
  ...bothWays('streams_small', small),
  ...bothWays('streams_1_mib', mebibyte),
];
export const bulkCases = [
  ...bothWays('bulk_64_mib_echo', bulk, { timeout: 400 }),
  ...bothWays('bulk_64_mib_crossing', bulkCrossing, { timeout: 400 }),
  ...bothWays('bulk_16_mib_bbr', bulkBbr, { timeout: 400 }),
];
export const manyCases = [
  ...bothWays('streams_200', many),
  ...bothWays('streams_200_at_once', manyHeld),
];
export const datagrams = bothWays('datagrams', datagramsBothWays);
