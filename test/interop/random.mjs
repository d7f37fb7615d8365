// Repeatable randomness: a failing case must fail again. KM_INTEROP_SEED chooses another run.
const DEFAULT_SEED = 20260101;

export class Random {
  #state;

  constructor(seed = Number(process.env.KM_INTEROP_SEED ?? DEFAULT_SEED)) {
    this.seed = seed;
    this.#state = seed >>> 0;
  }

  /** 0 to `limit` - 1 (mulberry32). */
  below(limit) {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let word = this.#state;
    word = Math.imul(word ^ (word >>> 15), word | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return Math.floor((((word ^ (word >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  bytes(count) {
    return Buffer.from(Array.from({ length: count }, () => this.below(256)));
  }

  pick(list) {
    return list[this.below(list.length)];
  }
}
