// The interop driver: runs groups of cases with two peers and prints TAP.
//
//   run.mjs [--self] [--at-once N] [GROUP | CASE]...   all groups when none is named
//   run.mjs --list                                     groups and their cases
//   run.mjs --check-groups GROUP...                    fails when that is not all of them
//
// "us" is KeyMesh ($KM_INTEROP_PEER), "them" is iroh. With --self iroh plays both parts, which
// proves the driver and the cases; what only KeyMesh can do is skipped then, and only then.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Context, Skip } from './context.mjs';
import { groups } from './groups.mjs';

const CASE_TIMEOUT_S = 120;
const here = dirname(fileURLToPath(import.meta.url));

function parseArguments(argv) {
  const options = { self: false, list: false, check: false, atOnce: 1, names: [] };
  for (let i = 0; i < argv.length; i++) {
    if (argv[i] === '--self') options.self = true;
    else if (argv[i] === '--list') options.list = true;
    else if (argv[i] === '--check-groups') options.check = true;
    else if (argv[i] === '--at-once') options.atOnce = Number(argv[++i]);
    else if (argv[i].startsWith('-')) usage(`no option ${argv[i]}`);
    else options.names.push(argv[i]);
  }
  if (!(options.atOnce >= 1)) usage('--at-once takes a number from 1');
  return options;
}

function usage(text) {
  process.stderr.write(`run.mjs: ${text}\n`
    + 'usage: run.mjs [--self] [--at-once N] [--list | --check-groups] [GROUP | CASE]...\n');
  process.exit(2);
}

function selectCases(names) {
  const all = Object.values(groups).flat();
  if (names.length === 0) return all;
  return names.flatMap((name) => {
    if (groups[name]) return groups[name];
    const one = all.find((candidate) => candidate.name === name);
    return one ? [one] : usage(`no group or case ${name}, see --list`);
  });
}

function programs(self) {
  // Backtraces would stand inside iroh's error sentences.
  const env = { ...process.env, RUST_BACKTRACE: '0', RUST_LIB_BACKTRACE: '0' };
  const iroh = {
    label: 'iroh', command: process.execPath, args: [join(here, 'iroh_peer.mjs')], env,
  };
  if (self) return { us: iroh, them: iroh };
  if (!process.env.KM_INTEROP_PEER) usage('KM_INTEROP_PEER must name the program km_interop_peer');
  return { us: { label: 'KeyMesh', command: process.env.KM_INTEROP_PEER, args: [], env }, them: iroh };
}

function deadline(seconds) {
  let timer;
  const expired = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${seconds} s`)), seconds * 1000);
  });
  return { expired, clear: () => clearTimeout(timer) };
}

async function runCase(one, peers) {
  const context = new Context(peers);
  const limit = deadline(one.timeout ?? CASE_TIMEOUT_S);
  const started = Date.now();
  let error = null;
  try {
    const work = one.run(context).then(() => context.finish());
    work.catch(() => {}); // it fails once more when the deadline kills its peers
    await Promise.race([work, limit.expired]);
  } catch (caught) {
    error = caught;
  }
  limit.clear();
  const stderr = await context.clear();
  return { error, stderr, checks: context.checks, ms: Date.now() - started };
}

const comment = (text) => text.replace(/^/gm, '# ');

function report(number, one, result) {
  const { error, stderr, checks, ms } = result;
  if (!error) {
    console.log(`ok ${number} - ${one.name} # ${checks} checks, ${ms} ms`);
  } else if (error instanceof Skip) {
    console.log(`ok ${number} - ${one.name} # SKIP ${error.message}`);
  } else {
    console.log(`not ok ${number} - ${one.name} # ${ms} ms`);
    console.log(comment(error.stack ?? String(error)));
    if (stderr) console.log(comment(stderr));
  }
}

async function runAll(cases, peers, atOnce) {
  console.log(`TAP version 13\n1..${cases.length}`);
  let next = 0;
  let failed = 0;
  const worker = async () => {
    while (next < cases.length) {
      const number = ++next;
      const one = cases[number - 1];
      const result = await runCase(one, peers);
      report(number, one, result);
      if (result.error && !(result.error instanceof Skip)) failed++;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  if (failed) console.log(`# ${failed} of ${cases.length} failed`);
  return failed === 0;
}

const options = parseArguments(process.argv.slice(2));
if (options.list) {
  for (const [name, cases] of Object.entries(groups)) {
    console.log(`${name}: ${cases.map((one) => one.name).join(' ')}`);
  }
} else if (options.check) {
  const missing = Object.keys(groups).filter((name) => !options.names.includes(name));
  const unknown = options.names.filter((name) => !groups[name]);
  for (const name of missing) console.log(`not ok - group ${name} is run by no test`);
  for (const name of unknown) console.log(`not ok - there is no group ${name}`);
  if (missing.length + unknown.length > 0) process.exitCode = 1;
} else {
  const passed = await runAll(selectCases(options.names), programs(options.self), options.atOnce);
  process.exitCode = passed ? 0 : 1;
}
