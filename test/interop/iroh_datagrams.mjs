// Datagrams of an iroh connection: answers questions, asks them (PROTOCOL.md).
import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';

const HEADER = 5;
const WINDOW = 16;
const REPEAT_MS = 250;
const MAX_REPEATS = 10;

function question(number, size) {
  const data = new Array(size);
  data[0] = 0;
  for (let i = 0; i < 4; i++) data[1 + i] = (number >>> (24 - 8 * i)) & 255;
  for (let i = HEADER; i < size; i++) data[i] = (number * 31 + i * 7) & 255;
  return data;
}

function answerTo(data) {
  const hash = createHash('sha256').update(Uint8Array.from(data)).digest();
  return [1, ...data.slice(1, HEADER), ...hash];
}

export class Datagrams {
  #conn;
  #asking = null;

  constructor(conn) {
    this.#conn = conn;
    this.#read().catch(() => {}); // ends with the connection
  }

  async #read() {
    for (;;) {
      const data = await this.#conn.readDatagram();
      if (data[0] === 0) this.#conn.sendDatagram(answerTo(data));
      else this.#asking?.answer(data);
    }
  }

  /** Answers `datagrams`. */
  ask({ count, size }) {
    const used = size || Number(this.#conn.maxDatagramSize());
    return new Promise((resolve, reject) => {
      this.#asking = new Asking(this.#conn, count, used, (error, answer) => {
        this.#asking = null;
        if (error) reject(error);
        else resolve(answer);
      });
    });
  }
}

class Asking {
  constructor(conn, count, size, done) {
    Object.assign(this, { conn, count, size, done, next: 0, repeated: 0, open: new Map() });
    this.timer = setInterval(() => this.#repeat(), REPEAT_MS);
    this.#fill();
  }

  #fill() {
    while (this.next < this.count && this.open.size < WINDOW) {
      this.open.set(this.next, { data: question(this.next, this.size), repeats: 0 });
      this.#send(this.open.get(this.next++).data);
    }
    if (this.open.size === 0) {
      this.#end(null, { size: this.size, answered: this.count, repeated: this.repeated });
    }
  }

  #send(data) {
    try {
      this.conn.sendDatagram(data);
    } catch (error) {
      this.#end(error);
    }
  }

  #repeat() {
    for (const [number, entry] of this.open) {
      if (++entry.repeats > MAX_REPEATS) {
        this.#end(new Error(`datagram ${number} was never answered`));
        return;
      }
      this.repeated++;
      this.#send(entry.data);
    }
  }

  answer(data) {
    const number = ((data[1] << 24) | (data[2] << 16) | (data[3] << 8) | data[4]) >>> 0;
    const entry = this.open.get(number);
    if (!entry) return; // the answer to a repeated question
    if (!isDeepStrictEqual(data, answerTo(entry.data))) {
      this.#end(new Error(`datagram ${number} did not arrive as it was sent`));
      return;
    }
    this.open.delete(number);
    this.#fill();
  }

  #end(error, answer) {
    clearInterval(this.timer);
    this.done(error, answer);
  }
}
