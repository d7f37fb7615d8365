// A peer program as the driver sees it: requests, answers, events, and how it ended.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const STDERR_KEPT = 3000;

/** A request that the peer answered with `ok: false`; `answer` is the whole answer. */
export class PeerError extends Error {
  constructor(label, op, answer) {
    super(`${label} ${op}: ${answer.error}: ${answer.text}`);
    this.answer = answer;
  }
}

export class Peer {
  #child;
  #pending = new Map();
  #events = [];
  #waiting = [];
  #lastId = 0;
  #stderr = '';
  #gone = null; // why no answer can come any more

  constructor(label, command, args, env) {
    this.label = label;
    this.#child = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stdin.on('error', () => {}); // a dead peer is reported by its exit
    this.#child.stderr.setEncoding('utf8').on('data', (text) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_KEPT);
    });
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#onLine(line));
    this.exit = new Promise((resolve) => {
      this.#child.on('error', (error) => this.#end(resolve, { code: null, text: error.message }));
      this.#child.on('close', (code, signal) => {
        this.#end(resolve, { code, signal, text: signal ? `signal ${signal}` : `status ${code}` });
      });
    });
  }

  get stderr() {
    return this.#stderr;
  }

  get alive() {
    return this.#gone === null;
  }

  #onLine(line) {
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      this.#stderr += `\n[stdout is not JSON: ${line}]\n`;
      return;
    }
    if (message.event) {
      this.#events.push(message);
      this.#deliver();
      return;
    }
    const pending = this.#pending.get(message.id);
    this.#pending.delete(message.id);
    if (message.ok) pending?.resolve(message);
    else pending?.reject(new PeerError(this.label, pending.op, message));
  }

  #deliver() {
    this.#waiting = this.#waiting.filter((waiter) => {
      const index = this.#events.findIndex(waiter.matches);
      if (index < 0) return true;
      waiter.resolve(this.#events.splice(index, 1)[0]);
      return false;
    });
  }

  #end(resolve, how) {
    this.#gone ??= how.text;
    const error = new Error(`${this.label} ended with ${this.#gone}`);
    for (const { reject } of [...this.#pending.values(), ...this.#waiting]) reject(error);
    this.#pending.clear();
    this.#waiting = [];
    resolve(how);
  }

  /** Sends a request; the answer, or PeerError. */
  request(op, members = {}) {
    if (this.#gone) return Promise.reject(new Error(`${this.label} ended with ${this.#gone}`));
    const id = ++this.#lastId;
    const answer = new Promise((resolve, reject) => this.#pending.set(id, { op, resolve, reject }));
    answer.catch(() => {}); // whoever awaits it still sees the failure
    this.#child.stdin.write(`${JSON.stringify({ id, op, ...members })}\n`);
    return answer;
  }

  /** The next event of that name whose members are those given, also one that came before. */
  event(name, members = {}) {
    const matches = (event) => event.event === name
      && Object.entries(members).every(([key, value]) => event[key] === value);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ matches, resolve, reject });
      this.#deliver();
      if (this.#gone) reject(new Error(`${this.label} ended with ${this.#gone}`));
    });
  }

  /** Events of that name which nobody took yet. */
  untaken(name) {
    return this.#events.filter((event) => event.event === name);
  }

  /** Drops events of that name which nobody took. */
  forget(name) {
    this.#events = this.#events.filter((event) => event.event !== name);
  }

  /** Ends this very process, the hard way by default. */
  kill(signal = 'SIGKILL') {
    this.#child.kill(signal);
  }
}
