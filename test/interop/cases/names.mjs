// Ids and tickets as text: both implementations must read and write the same. No packet is sent.
import { PeerError } from '../peer_process.mjs';
import { Random } from '../random.mjs';

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';

function base32(bytes) {
  let text = '';
  let bits = 0;
  let word = 0;
  for (const byte of bytes) {
    word = (word << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += BASE32[(word >>> (bits - 5)) & 31];
    word &= (1 << bits) - 1;
  }
  return bits > 0 ? text + BASE32[(word << (5 - bits)) & 31] : text;
}

/** The answer without its number, or {refused: true}: what can be compared. */
async function outcome(peer, op, members) {
  try {
    const { id, ok, ...rest } = await peer.request(op, members);
    return rest;
  } catch (error) {
    if (error instanceof PeerError && error.answer.error !== 'INTERNAL') return { refused: true };
    throw error;
  }
}

/** Asks both the same; both answers. */
const ask = ([us, them], op, members) => Promise.all([
  outcome(us, op, members), outcome(them, op, members),
]);

const bothPeers = async (t) => [await t.start('us'), await t.start('them')];

async function keys(t) {
  const peers = await bothPeers(t);
  const random = new Random();
  for (let i = 0; i < 500; i++) {
    const secret = random.bytes(32).toString('hex');
    const [ours, its] = await ask(peers, 'key', { secret });
    t.equal(ours, its, `id of secret key ${secret}`);
  }
}

async function ids(t) {
  const peers = await bothPeers(t);
  const random = new Random();
  let accepted = 0;
  for (let i = 0; i < 2000; i++) {
    const bytes = random.bytes(32);
    for (const text of [bytes.toString('hex'), base32(bytes), base32(bytes).toUpperCase()]) {
      const [ours, its] = await ask(peers, 'id_parse', { text });
      t.equal(ours, its, `id ${text}`);
      if (!its.refused) {
        accepted++;
        t.equal(its.hex, bytes.toString('hex'), 'the same bytes');
      }
    }
  }
  // About half of all byte strings are points of the curve.
  t.ok(accepted > 1500 && accepted < 4500, `accepted ${accepted} of 6000`);
}

const KEY_HEX = '8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c';

function oddIds() {
  const bytes = Buffer.from(KEY_HEX, 'hex');
  const b32 = base32(bytes);
  const fill = (byte, last = byte) => Buffer.from([...new Array(31).fill(byte), last]);
  return [
    '', ' ', KEY_HEX.toUpperCase(), KEY_HEX.slice(0, 10), KEY_HEX.slice(1), `${KEY_HEX}0`,
    ` ${KEY_HEX}`, `${KEY_HEX} `, `${KEY_HEX}\n`, `0x${KEY_HEX}`, `0x${KEY_HEX.slice(2)}`,
    `8A${KEY_HEX.slice(2)}`, `${KEY_HEX.slice(0, 63)}g`, `${KEY_HEX.slice(0, 62)}\u00e9`,
    b32, b32.toUpperCase(), b32[0].toUpperCase() + b32.slice(1), `${b32}=`, `${b32}====`,
    `${b32}a`, b32.slice(1), b32.slice(0, 51), `${b32.slice(0, 51)}b`, `${b32.slice(0, 51)}7`,
    `1${b32.slice(1)}`, `${b32}\n`, ` ${b32}`, `${b32.slice(0, 20)}-${b32.slice(21)}`,
    'ybndrfg8ejkmcpqxot1uwisza345h769ybndrfg8ejkmcpqxot1u', '0'.repeat(52), 'a'.repeat(52),
    fill(0).toString('hex'), fill(255).toString('hex'), fill(2).toString('hex'),
    `01${'00'.repeat(31)}`, `02${'00'.repeat(31)}`, `ed${'ff'.repeat(30)}7f`,
    `ee${'ff'.repeat(30)}7f`, `ec${'ff'.repeat(30)}7f`, `00${'00'.repeat(30)}80`,
    '\u{1f511}', 'endpoint', 'x'.repeat(10_000),
  ];
}

async function idsOdd(t) {
  const peers = await bothPeers(t);
  const seen = { refused: 0, accepted: 0 };
  for (const text of oddIds()) {
    const [ours, its] = await ask(peers, 'id_parse', { text });
    t.equal(ours, its, `id ${JSON.stringify(text.slice(0, 80))}`);
    seen[its.refused ? 'refused' : 'accepted']++;
  }
  t.ok(seen.refused >= 20 && seen.accepted >= 5, `a fair mixture: ${JSON.stringify(seen)}`);
}

const RELAYS = [
  'https://use1-1.relay.n0.iroh.link./', 'https://relay.example.com/', 'http://127.0.0.1:3340/',
  'https://relay.example.com:8443/', 'https://relay.example.com/path/below',
  'http://[2001:db8::1]:3340/', 'https://r/?region=eu&x=1', 'https://xn--bcher-kva.example/',
];

// To damage such a name is to ask for all of IDNA: iroh refuses what does not decode to a valid
// name, KeyMesh takes an "xn--" label as the letters it is made of.
const WITHOUT_IDNA = RELAYS.filter((url) => !url.includes('xn--'));

const WORDS = [0, 0, 0, 1, 0xff, 0x2001, 0xfe80, 0xfd00, 0xffff, 0x0db8];

function randomAddress(random) {
  const port = random.pick([1, 127, 128, 16383, 16384, 65535, 1 + random.below(65535)]);
  if (random.below(2)) return `${[...random.bytes(4)].join('.')}:${port}`;
  const words = Array.from({ length: 8 }, () => random.pick([...WORDS, random.below(65536)]));
  return `[${words.map((word) => word.toString(16)).join(':')}]:${port}`;
}

function randomAddr(random, remote, urls = RELAYS) {
  const addrs = Array.from({ length: random.below(9) }, () => randomAddress(random));
  return { remote, addrs, relays: random.below(2) ? [random.pick(urls)] : [] };
}

async function tickets(t) {
  const peers = await bothPeers(t);
  const random = new Random();
  for (let i = 0; i < 1500; i++) {
    const { remote } = await peers[1].request('key', { secret: random.bytes(32).toString('hex') });
    const addr = randomAddr(random, remote);
    const [ours, its] = await ask(peers, 'ticket_make', addr);
    t.ok(!its.refused, `iroh makes a ticket of ${JSON.stringify(addr)}`);
    t.equal(ours, its, `ticket of ${JSON.stringify(addr)}`);
    const [ourReading, itsReading] = await ask(peers, 'ticket_parse', { text: ours.text });
    t.equal(ourReading, itsReading, `what ${ours.text} says`);
    t.equal(ourReading.text, ours.text, 'written again');
    t.equal(ourReading.remote, remote, 'the id inside');
  }
}

/** What the binding cannot make, it can read: more than one relay. */
async function ticketsSeveralRelays(t) {
  const peers = await bothPeers(t);
  t.need(peers[0], 'several_relays');
  const { remote } = await peers[1].request('key', { secret: '33'.repeat(32) });
  const addr = { remote, addrs: ['192.0.2.1:1', '[2001:db8::1]:2'], relays: RELAYS };
  const { text } = await peers[0].request('ticket_make', addr);
  const [ours, its] = await ask(peers, 'ticket_parse', { text });
  t.equal(its.text, text, 'iroh writes the same again');
  t.equal(ours.text, text, 'we write the same again');
  t.equal(ours.addrs, its.addrs, 'addresses');
  t.equal(ours.relays.length, RELAYS.length, 'relays');
}

const URLS = [
  'https://relay.example.com', 'HTTPS://Relay.Example.COM/', 'https://relay.example.com:443/',
  'http://relay.example.com:80/', 'https://relay.example.com:80/', 'https://relay.example.com./',
  'https://127.1/', 'https://127.0.0.1/', 'https://[::1]/', 'https://[2001:DB8:0:0::1]:443/',
  'https://relay.example.com/a/../b', 'https://relay.example.com/%41', 'https://host/?q',
  'https://xn--bcher-kva.example/', 'https://host:65535/', 'https://host:1/',
];
const NOT_URLS = [
  '', ' ', 'relay.example.com', '//relay.example.com/', 'https://', 'https://:443/', 'https://h:x/',
  'https://h:65536/', 'https://[::1/', 'https://a b/', 'https://h:99999999999/',
  'https://exa%mple/', 'https://1.2.3.4.5.6.7.256/',
];

/** Urls that both take must come out alike; what iroh refuses we refuse too. */
async function relayUrls(t) {
  const peers = await bothPeers(t);
  const { remote } = await peers[1].request('key', { secret: '44'.repeat(32) });
  for (const url of URLS) {
    const [ours, its] = await ask(peers, 'ticket_make', { remote, addrs: [], relays: [url] });
    t.ok(!its.refused, `iroh takes ${url}`);
    t.equal(ours, its, `ticket with relay ${url}`);
  }
  for (const url of NOT_URLS) {
    const [ours, its] = await ask(peers, 'ticket_make', { remote, addrs: [], relays: [url] });
    t.ok(its.refused, `iroh refuses ${JSON.stringify(url)}`);
    t.ok(ours.refused, `we refuse ${JSON.stringify(url)}`);
  }
}

function encode(...parts) {
  return `endpoint${base32(Buffer.concat(parts.map((part) => Buffer.from(part, 'hex'))))}`;
}

/** Hand-made tickets: `true` where both must take it. */
function oddTickets() {
  const head = `00${KEY_HEX}`;
  const plain = encode(head, '01', '0100', 'c0000201', 'd209');
  const url = (text) => `00${Buffer.from([text.length]).toString('hex')}${Buffer.from(text).toString('hex')}`;
  return [
    [plain, true], [`endpoint${plain.slice(8).toUpperCase()}`, true],
    [encode(head, '00'), true], [encode(head, '00', 'ffff'), true], // bytes after the end
    [encode(head, '01', '0100', 'c0000201', 'd209', '00ff'), true],
    [encode(head, '8100', '0100', 'c0000201', 'd209'), true], // a varint longer than need be
    [encode(head, '01', '0100', 'c0000201', '8900'), true],
    [encode(head, '02', '0100', 'c0000201', '09', '0100', 'c0000201', '09'), true], // twice the same
    [encode(head, '02', '0101', '20010db8000000000000000000000001', '09', '0100', 'c0000201', '09'), true],
    [encode(head, '01', url('https://relay.example.com')), true],
    ['', false], ['endpoint', false], ['endpointa', false], [plain.slice(8), false],
    [plain.toUpperCase(), false], [`Endpoint${plain.slice(8)}`, false], [`node${plain.slice(8)}`, false],
    [` ${plain}`, false], [`${plain} `, false], [`${plain}\n`, false], [`${plain}=`, false],
    [`${plain.slice(0, 30)}0${plain.slice(31)}`, false], [`${plain.slice(0, 30)}\u00e9${plain.slice(31)}`, false],
    [encode(`01${KEY_HEX}`, '00'), false], // another variant
    [encode(head), false], [encode(`00${KEY_HEX.slice(2)}`, '00'), false],
    [encode(`00${'02'.repeat(32)}`, '00'), false], // not a point
    [encode(head, '01'), false], [encode(head, '02', '0100', 'c0000201', '09'), false],
    [encode(head, '01', '03'), false], [encode(head, '01', '0102', 'c0000201', '09'), false],
    [encode(head, '01', '0100', 'c00002'), false], [encode(head, '01', '0100', 'c0000201', 'ff'), false],
    [encode(head, '01', '0100', 'c0000201', '808004'), false], // port 65536
    [encode(head, '01', '0100', 'c0000201', '8080808001'), false],
    [encode(head, '01', url('not a url')), false], [encode(head, '01', url('https://')), false],
    [encode(head, '01', '00', '05', '68747470'), false], [encode(head, '01', '00', '02', 'ffff'), false],
    [encode(head, 'ffffffffffffffffff01'), false], [encode(head, 'ffffffffffffffffffff01'), false],
  ];
}

async function ticketsOdd(t) {
  const peers = await bothPeers(t);
  for (const [text, valid] of oddTickets()) {
    const [ours, its] = await ask(peers, 'ticket_parse', { text });
    t.equal(!its.refused, valid, `iroh ${valid ? 'takes' : 'refuses'} ${JSON.stringify(text)}`);
    t.equal(ours, its, `ticket ${JSON.stringify(text)}`);
  }
}

const ADDRESS_TAG_CUSTOM = 2;

/** A damaged ticket with an entry of a transport that KeyMesh does not have: it skips those. */
function mayDiffer(text) {
  const bytes = decode32(text.slice('endpoint'.length));
  return bytes.includes(ADDRESS_TAG_CUSTOM, 34);
}

function decode32(text) {
  const bytes = [];
  let bits = 0;
  let word = 0;
  for (const letter of text.toLowerCase()) {
    word = ((word << 5) | BASE32.indexOf(letter)) & 0xfff;
    if ((bits += 5) >= 8) bytes.push((word >>> (bits -= 8)) & 255);
  }
  return bytes;
}

/** Good tickets with a letter changed, lost or doubled: both must come to the same verdict. */
async function ticketsDamaged(t) {
  const peers = await bothPeers(t);
  const random = new Random();
  const seen = { refused: 0, accepted: 0 };
  for (let i = 0; i < 3000; i++) {
    const { remote } = await peers[1].request('key', { secret: random.bytes(32).toString('hex') });
    const { text: good } = await peers[1].request('ticket_make',
      randomAddr(random, remote, WITHOUT_IDNA));
    const at = 61 + random.below(good.length - 61 || 1); // behind the id: there the parsers branch
    const letter = random.pick([...BASE32]);
    const text = random.pick([
      good.slice(0, at) + letter + good.slice(at + 1), good.slice(0, at) + good.slice(at + 1),
      good.slice(0, at) + letter + good.slice(at), good.slice(0, at),
    ]);
    const [ours, its] = await ask(peers, 'ticket_parse', { text });
    seen[its.refused ? 'refused' : 'accepted']++;
    if (!mayDiffer(text)) t.equal(ours, its, `damaged ticket ${text}`);
  }
  t.ok(seen.refused > 300 && seen.accepted > 300, `a fair mixture: ${JSON.stringify(seen)}`);
}

export const names = [
  { name: 'keys_random', run: keys },
  { name: 'ids_random', run: ids },
  { name: 'ids_odd', run: idsOdd },
  { name: 'tickets_random', run: tickets },
  { name: 'tickets_several_relays', run: ticketsSeveralRelays },
  { name: 'tickets_relay_urls', run: relayUrls },
  { name: 'tickets_odd', run: ticketsOdd },
  { name: 'tickets_damaged', run: ticketsDamaged },
];
