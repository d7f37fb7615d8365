// What iroh's binding says about the end of a connection is prose: `closed()` gives a sentence, a
// failed call an error with a chain of sentences. This turns both into an ending (PROTOCOL.md).

const CRYPTO_ERROR = 0x100; // RFC 9001 section 4.8: 0x100 + TLS alert
const ALERT_NAMES = { 48: 'WRONG_PEER', 120: 'ALPN_REFUSED' };

// Sentences that stand for a transport error code (RFC 9000 section 20.1).
const TRANSPORT_SENTENCES = [
  [/refused to accept a new connection/, 2, 'REFUSED'],
  [/abruptly in the absence of any error/, 0, 'TRANSPORT'],
];

function applicationClose(text) {
  // "reason (code 7)", or only "7" when there is no reason.
  const full = /^([\s\S]*) \(code (\d+)\)$/.exec(text);
  if (full) return { code: full[2], reason: full[1] };
  return { code: text, reason: '' };
}

function transportError(by, text) {
  const ending = { by, app: false, code: null, reason: text, error: 'TRANSPORT' };
  const alert = /handshake failed: error (\d+)/.exec(text) ?? hexAlert(text);
  if (alert) {
    const number = Number(alert[1]);
    ending.code = String(CRYPTO_ERROR + number);
    ending.error = ALERT_NAMES[number] ?? 'TLS';
    return ending;
  }
  for (const [pattern, code, error] of TRANSPORT_SENTENCES) {
    if (pattern.test(text)) return { ...ending, code: String(code), error };
  }
  return ending;
}

// The debug form has the alert in hexadecimal: "Code::crypto(78)".
function hexAlert(text) {
  const found = /Code::crypto\(([0-9a-f]+)\)/.exec(text);
  return found ? [found[0], String(parseInt(found[1], 16))] : null;
}

/** An ending out of a sentence; `local` is what this side closed with, if it did. */
export function ending(text, local) {
  const at = (start) => text.slice(text.indexOf(start) + start.length).split('\n')[0];
  if (text.includes('closed by peer: ')) {
    const { code, reason } = applicationClose(at('closed by peer: '));
    return { by: 'peer', app: true, code, reason, error: 'CLOSED_BY_PEER' };
  }
  if (text.includes('aborted by peer: ')) return transportError('peer', at('aborted by peer: '));
  if (text.includes('reset by peer')) return plain('reset', 'RESET_BY_PEER', text);
  if (text.includes('timed out') || text.includes('TimedOut')) {
    return plain('timeout', 'IDLE_TIMEOUT', text);
  }
  if (text === 'closed' || text.includes('LocallyClosed')) {
    return { by: 'local', app: true, code: local?.code ?? '0', reason: local?.reason ?? '', error: 'OK' };
  }
  return transportError('local', text);
}

function plain(by, error, reason) {
  return { by, app: false, code: null, reason, error };
}

/** The code in "Reset(42)" or "Stopped(77)", as a decimal string; null when it is neither. */
export function streamCode(error, kind) {
  const found = new RegExp(`${kind}\\((\\d+)\\)`).exec(error.message);
  return found ? found[1] : null;
}
