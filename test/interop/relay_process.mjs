// A relay as the driver sees it: km-relay ($KM_RELAY), the real iroh-relay ($KM_IROH_RELAY), or one
// from before 0.98 ($KM_IROH_RELAY_V1), which speaks version 1 only. All read the same
// configuration file.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
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
const statusOf = (url, ca) => new Promise((resolve) => {
  (ca ? https : http).get(url, { ca }, (answer) => {
    answer.resume();
    resolve(answer.statusCode);
  }).on('error', () => resolve(null));
});

const PROGRAMS = {
  km: ['km-relay', 'KM_RELAY'],
  iroh: ['iroh-relay', 'KM_IROH_RELAY'],
  iroh_v1: ['old iroh-relay', 'KM_IROH_RELAY_V1'],
};

/** An authority and a certificate of its for localhost, in `folder`. */
function makeCertificates(folder) {
  const openssl = (...args) => execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
  const key = (name) => openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', name);
  key('ca.key');
  openssl('req', '-x509', '-new', '-key', 'ca.key', '-subj', '/CN=ca', '-days', '2', '-out', 'ca.pem',
    '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign');
  key('key.pem');
  openssl('req', '-new', '-key', 'key.pem', '-subj', '/CN=localhost', '-out', 'csr');
  writeFileSync(join(folder, 'ext'), 'subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n');
  openssl('x509', '-req', '-in', 'csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial',
    '-days', '2', '-sha256', '-extfile', 'ext', '-out', 'cert.pem');
}

export class Relay {
  #child = null;
  #exit = null;
  #folder = mkdtempSync(join(tmpdir(), 'km-relay-'));
  #config;
  #tls;
  #port = 0;
  #otherPort = 0;
  stderr = '';

  /** The program of that kind, or undefined. */
  static program(kind) {
    return process.env[PROGRAMS[kind][1]];
  }

  /** `config`: more lines of TOML. `tls`: https with a certificate of an authority of its own. */
  constructor(kind, { config = '', tls = false } = {}) {
    this.kind = kind;
    [this.label] = PROGRAMS[kind];
    this.#config = config;
    this.#tls = tls;
  }

  get url() {
    return this.#tls ? `https://localhost:${this.#port}/` : `http://127.0.0.1:${this.#port}/`;
  }

  /** The file with its authority, with `tls`. */
  get caFile() {
    return join(this.#folder, 'ca.pem');
  }

  #toml() {
    const file = (name) => `"${join(this.#folder, name)}"`;
    const common = `enable_metrics = false\n${this.#config}`;
    if (!this.#tls) return `http_bind_addr = "127.0.0.1:${this.#port}"\n${common}`;
    return `http_bind_addr = "127.0.0.1:${this.#otherPort}"\n${common}\n[tls]\n`
      + `https_bind_addr = "127.0.0.1:${this.#port}"\ncert_mode = "Manual"\nhostname = "localhost"\n`
      + `manual_cert_path = ${file('cert.pem')}\nmanual_key_path = ${file('key.pem')}\n`;
  }

  get alive() {
    return this.#child !== null;
  }

  /** Starts it, again at the same port when it ran before. */
  async start() {
    this.#port ||= await freePort();
    if (this.#tls) {
      this.#otherPort ||= await freePort();
      makeCertificates(this.#folder);
    }
    const file = join(this.#folder, 'relay.toml');
    writeFileSync(file, this.#toml());
    const args = [this.kind === 'km' ? '--config' : '--config-path', file];
    if (!this.#tls) args.push('--dev');
    const ca = this.#tls ? readFileSync(this.caFile) : undefined;
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
    for (const until = Date.now() + START_MS; await statusOf(`${this.url}healthz`, ca) !== 200;) {
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
