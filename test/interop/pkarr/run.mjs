// Signed packets, KeyMesh's and those of the npm package pkarr, each read by the other.
//   run.mjs PEER
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const at = process.env.KM_INTEROP_PKARR
const load = createRequire(`${at}/package.json`)
const { default: SignedPacket } =
  await import(pathToFileURL(`${at}/node_modules/pkarr/lib/signed_packet.js`))
const { generateKeyPair } = await import(pathToFileURL(`${at}/node_modules/pkarr/lib/tools.js`))
const z32 = load('z32')

const peer = process.argv[2]
const run = (...args) => execFileSync(peer, args, { encoding: 'utf8', stdio: 'pipe' }).trim()
const refused = (...args) => {
  try {
    run(...args)
  } catch (error) {
    assert.equal(error.status, 1, error.stderr)
    return error.stderr
  }
  return assert.fail(`taken: ${args}`)
}
const makeKey = (number) => {
  const seed = createHash('sha256').update(`pkarr interop ${number}`).digest()
  const pair = generateKeyPair(seed)
  return { ...pair, seed: seed.toString('hex'), id: pair.publicKey.toString('hex') }
}
const hex = (bytes) => Buffer.from(bytes).toString('hex')
const strings = (rr) => Buffer.concat(rr.data).toString('utf8')
const url = (n) => `https://${'r'.repeat(n)}.example/`
const long = `https://a.example/${'p'.repeat(400)}`
const record = (n) => hex(Buffer.alloc(n).map((_, i) => i * 7))

// --- ours, read by pkarr
const infos = [
  [],
  ['relay=https://use1-1.relay.n0.iroh.link./'],
  ['relay=https://a.example/', 'relay=https://b.example/', 'addr=192.0.2.1:1',
    'addr=[2001:db8::1]:4433', 'user-data=häuser = houses'],
  [`relay=${long}`],
  [`user-data=${'u'.repeat(245)}`],
  [`relay=${url(40)}`, `record=${record(600)}`],
  [`record=${record(1)}`],
  ['addr=192.0.2.1:1', 'user-data=x', `record=${record(200)}`],
  Array.from({ length: 14 }, (_, i) => `addr=192.0.2.${i + 100}:54321`)
]
let number = 0
for (const info of infos) {
  const key = makeKey(number)
  const time = 1754900000000000 + number++
  const payload = Buffer.from(run('sign', key.seed, `${time}`, `${30 + number}`, ...info), 'hex')
  const packet = SignedPacket.fromBytes(key.publicKey, payload)
  assert.equal(packet.timestamp(), time)
  assert.equal(packet.packet().type, 'response')
  assert.ok(packet.size() <= 1000)
  const said = packet.resourceRecords('_iroh')
  assert.deepEqual(said.map(strings), info.filter((text) => !text.startsWith('record=')))
  const records = packet.resourceRecords('_kmrecord')
  const wanted = info.filter((text) => text.startsWith('record='))
    .map((text) => `kmrecord1=${Buffer.from(text.slice(7), 'hex').toString('base64url')}`)
  assert.deepEqual(records.map(strings), wanted)
  assert.equal(packet.packet().answers.length, info.length)
  for (const rr of packet.packet().answers) {
    assert.equal(rr.type, 'TXT')
    assert.equal(rr.class, 'IN')
    assert.equal(rr.ttl, 30 + number)
    assert.ok(rr.data.every((string) => string.length <= 255))
  }
  // One bit more or less, and neither believes it.
  const forged = Buffer.from(payload)
  forged[(number * 37) % forged.length] ^= 1
  assert.throws(() => SignedPacket.fromBytes(key.publicKey, forged), /Invalid signature/)
  assert.match(refused('read', key.id, hex(forged)), /BAD_PACKET/)
  assert.throws(() => SignedPacket.fromBytes(makeKey('other').publicKey, payload),
    /Invalid signature/)
}

// --- pkarr's, read by us
const answer = (name, ...data) => ({ name, type: 'TXT', class: 'IN', ttl: 60, data })
const sign = (key, answers, timestamp) =>
  SignedPacket.fromPacket(key, { id: 0, type: 'response', flags: 0, answers }, { timestamp })
const nothing = { relays: [], addrs: [], userData: '', record: '' }
const cases = [
  [() => [], { ...nothing, ttl: 0 }],
  [() => [answer('_iroh', 'relay=https://a.example/')],
    { ...nothing, relays: ['https://a.example/'], ttl: 60 }],
  [(z) => [answer(`_iroh.${z}`, 'addr=192.0.2.1:1'), answer(`_IROH.${z}`, 'addr=192.0.2.1:2'),
    answer('_iroh', 'addr=[2001:db8::1]:3', '3'), answer('_iroh', 'user-data=häuser')],
  { ...nothing, addrs: ['192.0.2.1:1', '192.0.2.1:2', '[2001:db8::1]:33'], userData: 'häuser',
    ttl: 60 }],
  // Of somebody else, at another name, and other types.
  [() => [answer('_iroh.sub', 'addr=192.0.2.1:1'), answer('@', 'addr=192.0.2.1:2'),
    answer(`_iroh.${z32.encode(makeKey('other').publicKey)}`, 'addr=192.0.2.1:3'),
    { name: '@', type: 'A', class: 'IN', ttl: 5, data: '192.0.2.9' },
    { name: 'www', type: 'CNAME', class: 'IN', ttl: 5, data: 'a.example' },
    { name: '@', type: 'MX', class: 'IN', ttl: 5, data: { preference: 1, exchange: 'm.example' } }],
  { ...nothing, ttl: 0 }],
  // Another name for it.
  [(z) => [{ name: '_iroh', type: 'CNAME', class: 'IN', ttl: 7, data: `else.${z}` },
    answer('else', 'user-data=there')], { ...nothing, userData: 'there', ttl: 7 }],
  [() => [answer('_iroh', 'future=1'), answer('_iroh', 'user-data=x'),
    answer('_kmrecord', 'kmrecord1=', Buffer.from(record(150), 'hex').toString('base64url'))],
  { ...nothing, userData: 'x', record: record(150), ttl: 60 }]
]
for (const [answers, wanted] of cases) {
  const key = makeKey(number)
  const time = 1754900000000000 + number++
  const packet = sign(key, answers(z32.encode(key.publicKey)), time)
  const read = JSON.parse(run('read', key.id, hex(packet.bytes())))
  assert.deepEqual(read, { timestamp: `${time}`, ...wanted })
  const forged = Buffer.from(packet.bytes())
  forged[(number * 41) % forged.length] ^= 0x80
  assert.match(refused('read', key.id, hex(forged)), /BAD_PACKET/)
  assert.match(refused('read', makeKey('other').id, hex(packet.bytes())), /BAD_PACKET/)
}

// --- of many keys, and the same bytes from both where pkarr cannot compress either
for (let i = 0; i < 25; i++) {
  const key = makeKey(`many ${i}`)
  const time = 1700000000000000 + i * 7919
  const ours = run('sign', key.seed, `${time}`, '60', `relay=${url(i + 1)}`)
  const theirs = hex(sign(key, [answer('_iroh', `relay=${url(i + 1)}`)], time).bytes())
  assert.equal(ours, theirs)
}
console.log(`pkarr: ${infos.length} packets of ours, ${cases.length} of theirs, 25 of both: ok`)
