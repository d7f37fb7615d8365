// The npm binding of iroh with its n0 preset, that is iroh's own servers for discovery. It speaks
// as rust_peer/ does, as far as the tests of discovery need it. $KM_INTEROP_IROH: see setup.sh.
//
//   discovery_peer.mjs [RELAY-URL]
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(join(process.env.KM_INTEROP_IROH, 'package.json'));
const iroh = require('./node_modules/@number0/iroh/index.js');

const ALPN = [...Buffer.from('km/echo/1')];
const say = (...words) => process.stdout.write(`${words.join(' ')}\n`);

async function serve(conn) {
  for (;;) {
    const { send, recv } = await conn.acceptBi();
    const all = await recv.readToEnd(65536);
    await send.writeAll(all);
    await send.finish();
  }
}

async function acceptAll(endpoint) {
  for (;;) {
    const incoming = await endpoint.acceptNext();
    if (!incoming) return;
    const conn = await (await incoming.accept()).connect();
    say('accepted', conn.remoteId().toString());
    serve(conn).catch(() => {}); // it ended
  }
}

async function echo(endpoint, id, text) {
  const addr = new iroh.EndpointAddr(iroh.EndpointId.fromString(id), null, []);
  const conn = await endpoint.connect(addr, ALPN);
  say('connected', id);
  const { send, recv } = await conn.openBi();
  await send.writeAll([...Buffer.from(text)]);
  await send.finish();
  const back = Buffer.from(await recv.readToEnd(65536)).toString();
  if (back !== text) throw new Error(`other bytes came back: ${back}`);
  say('echoed', id, text);
  conn.close(0n, []);
}

const builder = iroh.Endpoint.builder();
iroh.presetN0(builder);
builder.relayMode(process.argv[2] ? iroh.RelayMode.customFromUrls([process.argv[2]])
  : iroh.RelayMode.disabled());
builder.alpns([ALPN]);
const endpoint = await builder.bind();
say('id', endpoint.id().toString());
acceptAll(endpoint).catch((error) => say('failed', endpoint.id().toString(), error.message));
for await (const line of createInterface({ input: process.stdin })) {
  const [, id, text] = line.match(/^echo (\w+) (.*)$/);
  echo(endpoint, id, text).catch((error) => say('failed', id, error.message.split('\n')[0]));
}
process.exit(0);
