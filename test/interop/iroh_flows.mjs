// Streams of an iroh connection: the ones we open (transfer, break) and the ones we serve.
//
// Quirks of the binding: bytes are arrays of numbers (typed arrays are refused); read() gives an
// empty array at the end of the stream; every method of a SendStream takes the same lock, so a
// pending stopped() blocks each write.
import { createHash, randomBytes } from 'node:crypto';
import { streamCode } from './iroh_errors.mjs';

const CHUNK = 65536;

/** Sends `bytes` random bytes; gives their hash. */
async function sendRandom(send, bytes) {
  const hash = createHash('sha256');
  for (let sent = 0; sent < bytes; sent += CHUNK) {
    const chunk = randomBytes(Math.min(CHUNK, bytes - sent));
    hash.update(chunk);
    await send.writeAll(Array.from(chunk));
  }
  return hash.digest('hex');
}

/** Reads to the end; `onBytes(total)` after each piece. */
async function receive(recv, onBytes) {
  const hash = createHash('sha256');
  let total = 0;
  for (;;) {
    const piece = await recv.read(4 * CHUNK);
    if (piece.length === 0) return { received: total, received_sha256: hash.digest('hex') };
    hash.update(Uint8Array.from(piece));
    total += piece.length;
    onBytes?.(total);
  }
}

async function runFlow(conn, request, barrier) {
  if (!request.bidi) {
    const send = await conn.openUni();
    const sha256 = await sendRandom(send, request.bytes);
    await send.finish();
    await send.stopped(); // resolves when all of it was acknowledged
    return { sent: request.bytes, sent_sha256: sha256, received: 0, received_sha256: '' };
  }
  const { send, recv } = await conn.openBi();
  let echoed;
  const allEchoed = new Promise((resolve) => { echoed = resolve; });
  const receiving = receive(recv, (total) => { if (total >= request.bytes) echoed(); });
  receiving.catch(echoed); // a broken stream must not leave the others waiting
  const sha256 = await sendRandom(send, request.bytes);
  if (request.hold) {
    await allEchoed;
    await barrier();
  }
  await send.finish();
  return { sent: request.bytes, sent_sha256: sha256, ...(await receiving) };
}

/** Answers `transfer`. */
export async function transfer(conn, request) {
  let arrived = 0;
  let open;
  const gate = new Promise((resolve) => { open = resolve; });
  const barrier = () => {
    if (++arrived === request.count) open();
    return gate;
  };
  const flows = [];
  for (let i = 0; i < request.count; i++) flows.push(runFlow(conn, request, barrier));
  return { flows: await Promise.all(flows) };
}

/** Answers `break`. */
export async function breakStream(conn, request) {
  const { send, recv } = await conn.openBi();
  await send.writeAll([1, 2, 3, 4]);
  await recv.readExact(4);
  if (request.how === 'reset') await send.reset(BigInt(request.code));
  else await recv.stop(BigInt(request.code));
  return {};
}

/** Serves one accepted stream; `report` gets the members of a `stream` event. */
export async function serve(send, recv, mode, report) {
  const hash = createHash('sha256');
  const event = { bidi: send !== null, bytes: 0, end: 'fin', code: null };
  try {
    await serveUntilEnd(send, recv, mode, event, hash);
  } catch (error) {
    const reset = streamCode(error, 'Reset');
    const stopped = streamCode(error, 'Stopped');
    if (reset === null && stopped === null) return; // the connection ended: `closed` tells
    event.end = reset !== null ? 'reset' : 'stop';
    event.code = reset ?? stopped;
  }
  report({ ...event, sha256: hash.digest('hex') });
}

async function serveUntilEnd(send, recv, mode, event, hash) {
  for (;;) {
    const piece = await recv.read(4 * CHUNK);
    if (piece.length === 0) {
      await send?.finish();
      return;
    }
    hash.update(Uint8Array.from(piece));
    event.bytes += piece.length;
    await send?.writeAll(piece);
    if (mode === 'watch_stop' && send) {
      const code = await send.stopped();
      event.end = 'stop';
      event.code = code === null ? null : String(code);
      return;
    }
  }
}
