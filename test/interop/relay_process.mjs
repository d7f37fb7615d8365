// A relay as the driver sees it: km-relay ($KM_RELAY) or the real iroh-relay ($KM_IROH_RELAY), both
// with the same configuration file.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const STDERR_KEPT = 3000;
const START_MS = 20_000;

const freePort = () => new Promise((resolve, reject) => {
  const probe = createServer().on('error', reject).listen(0, '127.0.0.1', () => {
    const { port } = probe.address();
    probe.close(() => resolve(port));
  });
});

/** The status of a GET, or null when nobody answers. */
const statusOf = (url) => new Promise((resolve) => {
  get(url, (answer) => {
    answer.resume();
    resolve(answer.statusCode);
  }).on('error', () => resolve(null));
});

export class Relay {
  #child = null;
  #exit = null;
  #folder = mkdtempSync(join(tmpdir(), 'km-relay-'));
  #config;
  #port = 0;
  stderr = '';

  /** The program of that kind, or undefined. */
  static program(kind) {
    return kind === 'km' ? process.env.KM_RELAY : process.env.KM_IROH_RELAY;
  }

  /** `config`: more lines of TOML. */
  constructor(kind, { config = '' } = {}) {
    this.kind = kind;
    this.label = kind === 'km' ? 'km-relay' : 'iroh-relay';
    this.#config = config;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}/`;
  }

  get alive() {
    return this.#child !== null;
  }

  /** Starts it, again at the same port when it ran before. */
  async start() {
    this.#port ||= await freePort();
    const file = join(this.#folder, 'relay.toml');
    writeFileSync(file, `http_bind_addr = "127.0.0.1:${this.#port}"\nenable_metrics = false\n`
      + this.#config);
    const args = this.kind === 'km' ? ['--dev', '--config', file] : ['--dev', '--config-path', file];
    const child = spawn(Relay.program(this.kind), args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    const keep = (text) => {
      this.stderr = (this.stderr + text).slice(-STDERR_KEPT);
    };
    child.stderr.setEncoding('utf8').on('data', keep);
    child.stdout.setEncoding('utf8').on('data', keep);
    this.#exit = new Promise((resolve) => {
      child.on('error', (error) => resolve({ code: null, text: error.message }));
      child.on('close', (code, signal) => resolve(
        { code, text: signal ? `signal ${signal}` : `status ${code}` }));
    }).then((how) => {
      this.#child = null;
      return how;
    });
    for (const until = Date.now() + START_MS; await statusOf(`${this.url}healthz`) !== 200;) {
      if (!this.alive) throw new Error(`${this.label} ended with ${(await this.#exit).text}`);
      if (Date.now() > until) throw new Error(`${this.label} does not answer`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Ends it; how it ended. */
  stop(signal = 'SIGTERM') {
    this.#child?.kill(signal);
    return this.#exit;
  }

  /** Halts it, so that it holds its connections and answers nothing; or lets it go on. */
  freeze(on = true) {
    this.#child.kill(on ? 'SIGSTOP' : 'SIGCONT');
  }

  async clear() {
    if (this.alive) {
      this.freeze(false);
      await this.stop('SIGKILL');
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
