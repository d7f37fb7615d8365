#include "endpoint/explain_notes.h"

#include <string.h>

#define FIRST_CAP 4
#define LOOK_BACK 4 /* a search that fails again and again is a few notes that repeat */

/* What came before one of these is another chapter. */
static bool is_turn(uint8_t kind) {
  return kind == KM_EXPLAIN_EVENT_CONNECTED || kind == KM_EXPLAIN_EVENT_PATH ||
         kind == KM_EXPLAIN_EVENT_LOST || kind == KM_EXPLAIN_EVENT_POLICY;
}

static bool same(const km_conn_note *a, const km_conn_note *b) {
  return a->kind == b->kind && a->relayed == b->relayed && a->relay == b->relay &&
         a->source == b->source && km_udp_addr_equal(&a->addr, &b->addr);
}

static km_conn_note *repeated(const km_conn_notes *notes, const km_conn_note *note) {
  for (size_t i = notes->count; i-- > 0 && notes->count - i <= LOOK_BACK;) {
    km_conn_note *old = &notes->at[i];
    if (is_turn(old->kind)) {
      return NULL;
    }
    if (same(old, note)) {
      return old;
    }
  }
  return NULL;
}

static bool make_room(km_conn_notes *notes, const km_env *env) {
  if (notes->count < notes->cap) {
    return true;
  }
  size_t cap = notes->cap == 0 ? FIRST_CAP : 2 * notes->cap;
  km_conn_note *at =
      cap > KM_CONN_MAX_NOTES ? NULL : km_env_realloc(env, notes->at, cap, sizeof *at);
  if (at != NULL) {
    notes->at = at;
    notes->cap = cap;
    return true;
  }
  if (notes->count < 2) {
    return false;
  }
  notes->count--;
  memmove(notes->at + 1, notes->at + 2, (notes->count - 1) * sizeof *notes->at);
  return true;
}

static void add(km_conn_notes *notes, const km_env *env, const km_conn_note *note) {
  km_conn_note *old = repeated(notes, note);
  if (old != NULL) {
    old->times++;
    old->value = note->value;
  } else if (make_room(notes, env)) {
    notes->at[notes->count++] = *note;
  }
}

void km_conn_notes_add(km_conn_notes *notes, const km_env *env, km_ts now,
                       km_explain_event_kind kind, const km_path_key *key, uint32_t value) {
  km_conn_note note = {.at = now, .kind = (uint8_t)kind, .value = value, .times = 1};
  if (key != NULL && key->way == KM_WAY_DIRECT) {
    note.addr = key->remote;
  } else if (key != NULL && key->way == KM_WAY_RELAY) {
    note.relayed = true;
    note.relay = key->relay;
  }
  add(notes, env, &note);
}

void km_conn_notes_add_found(km_conn_notes *notes, const km_env *env, km_ts now, const char *source,
                             uint32_t value) {
  const km_conn_note note = {
      .at = now, .kind = KM_EXPLAIN_EVENT_FOUND, .value = value, .times = 1, .source = source};
  add(notes, env, &note);
}

void km_conn_notes_clear(km_conn_notes *notes, const km_env *env) {
  km_env_free(env, notes->at);
  *notes = (km_conn_notes){0};
}
