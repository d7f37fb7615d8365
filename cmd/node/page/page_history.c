#include "cmd/node/page/page_history.h"

#include <inttypes.h>
#include <stdio.h>

#define TRACES_MIN 16
#define BYTES_A_SAMPLE 11 /* ten digits and a comma */
#define BYTES_A_TRACE (KM_ID_TEXT_CAP + 64 + PAGE_SAMPLES * BYTES_A_SAMPLE)

void page_history_init(page_history *h, const km_env *env) {
  *h = (page_history){.env = env};
}

void page_history_clear(page_history *h) {
  km_env_free(h->env, h->traces);
  page_history_init(h, h->env);
}

/* --- a round --------------------------------------------------------------------------------- */

void page_history_begin(page_history *h) {
  h->due = 0;
  for (size_t i = 0; i < h->count; i++) {
    h->traces[i].seen = false;
  }
}

static bool grow(page_history *h) {
  if (h->count < h->cap) {
    return true;
  }
  size_t cap = h->cap == 0 ? TRACES_MIN : h->cap * 2;
  page_trace *traces = km_env_realloc(h->env, h->traces, cap, sizeof *traces);
  if (traces == NULL) {
    return false;
  }
  h->traces = traces;
  h->cap = cap;
  return true;
}

/* The trace of a peer, begun if there is none. NULL: no memory. */
static page_trace *trace_of(page_history *h, const km_id *id) {
  for (size_t i = 0; i < h->count; i++) {
    page_trace *t = &h->traces[(h->due + i) % h->count];
    if (km_id_equal(&t->id, id)) {
      h->due = (size_t)(t - h->traces) + 1;
      return t;
    }
  }
  if (!grow(h)) {
    return NULL;
  }
  page_trace *t = &h->traces[h->count++];
  *t = (page_trace){.id = *id};
  return t;
}

static uint32_t newest(const page_trace *t) {
  return t->rtt_us[(t->next + PAGE_SAMPLES - 1) % PAGE_SAMPLES];
}

static void put(page_trace *t, int64_t beat_ms, uint32_t rtt_us) {
  t->beat_ms = beat_ms;
  t->rtt_us[t->next] = rtt_us;
  t->next = (uint8_t)((t->next + 1) % PAGE_SAMPLES);
  t->count = t->count < PAGE_SAMPLES ? (uint8_t)(t->count + 1) : t->count;
}

/* Each heartbeat is a sample; a time without a connection is one gap, however long. */
void page_history_add(page_history *h, const km_peer_status *peer) {
  page_trace *t = trace_of(h, &peer->id);
  if (t == NULL) {
    return;
  }
  t->seen = true;
  if (peer->state != KM_PEER_CONNECTED) {
    if (t->count > 0 && newest(t) != 0) {
      put(t, 0, 0);
    }
  } else if (peer->rtt_us > 0 && peer->last_heartbeat_ms != t->beat_ms) {
    put(t, peer->last_heartbeat_ms,
        peer->rtt_us < UINT32_MAX ? (uint32_t)peer->rtt_us : UINT32_MAX);
  }
}

void page_history_end(page_history *h) {
  size_t kept = 0;
  for (size_t i = 0; i < h->count; i++) {
    if (h->traces[i].seen) {
      if (kept != i) {
        h->traces[kept] = h->traces[i];
      }
      kept++;
    }
  }
  h->count = kept;
}

/* --- text ------------------------------------------------------------------------------------ */

static size_t put_trace(const page_trace *t, char *at, size_t room) {
  char id[KM_ID_TEXT_CAP];
  (void)km_id_format(&t->id, KM_ID_HEX, id, sizeof id);
  size_t len = (size_t)snprintf(at, room, "\"%s\":{\"beat\":%" PRId64 ".%03d,\"us\":[", id,
                                t->beat_ms / 1000, (int)(t->beat_ms % 1000));
  for (size_t i = 0; i < t->count; i++) {
    size_t from = ((size_t)t->next + PAGE_SAMPLES - t->count + i) % PAGE_SAMPLES;
    len +=
        (size_t)snprintf(at + len, room - len, i == 0 ? "%" PRIu32 : ",%" PRIu32, t->rtt_us[from]);
  }
  return len + (size_t)snprintf(at + len, room - len, "]}");
}

char *page_history_text(const page_history *h) {
  size_t cap = sizeof "{}" + h->count * BYTES_A_TRACE, len = 1;
  char *text = km_env_alloc(h->env, cap);
  if (text == NULL) {
    return NULL;
  }
  text[0] = '{';
  for (size_t i = 0; i < h->count; i++) {
    if (h->traces[i].count == 0) {
      continue;
    }
    if (len > 1) {
      text[len++] = ',';
    }
    len += put_trace(&h->traces[i], text + len, cap - len);
  }
  (void)snprintf(text + len, cap - len, "}");
  return text;
}
