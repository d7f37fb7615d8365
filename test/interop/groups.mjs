// All cases, in the groups that are one ctest each.
import { close } from './cases/close.mjs';
import { connect } from './cases/connect.mjs';
import {
  deathCases, earlyCases, idleCases, keyCases, migrateCases,
} from './cases/long_lived.mjs';
import { irohRelayCases, relayCases, relayLossCases } from './cases/relay.mjs';
import { names } from './cases/names.mjs';
import { bulkCases, datagrams, manyCases, streams } from './cases/streams.mjs';

export const groups = {
  connect,
  close,
  streams,
  bulk: bulkCases,
  many: manyCases,
  datagrams,
  migrate: migrateCases,
  keys: keyCases,
  early: earlyCases,
  death: deathCases,
  idle90: idleCases,
  names,
  relay: relayCases,
  relay_loss: relayLossCases,
  iroh_relay: irohRelayCases,
};
