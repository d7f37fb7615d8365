/**
 * @file keymesh/log.h
 * Levelled log entries with a callback.
 *
 * The library writes nothing by itself: an endpoint hands its entries to the sink in its options.
 * A sink runs on the loop thread, must not block for long and must not call back into the
 * endpoint.
 */
#ifndef KEYMESH_LOG_H
#define KEYMESH_LOG_H

#include <stddef.h>
#include <stdint.h>

#include <keymesh/error.h>
#include <keymesh/export.h>
#include <keymesh/id.h>

KM_BEGIN_DECLS

typedef enum km_log_level {
  KM_LOG_OFF = 0,
  KM_LOG_ERROR,
  KM_LOG_WARN,
  KM_LOG_INFO,
  KM_LOG_DEBUG,
  KM_LOG_TRACE
} km_log_level;

/** The part of the library an entry comes from; each can have a level of its own. */
typedef enum km_log_component {
  KM_LOGC_ENDPOINT,
  KM_LOGC_QUIC,
  KM_LOGC_TLS,
  KM_LOGC_PATH,
  KM_LOGC_UDP,
  KM_LOGC_PUNCH,
  KM_LOGC_RELAY,
  KM_LOGC_DISCOVERY,
  KM_LOGC_STORE,
  KM_LOGC_MESH,
  KM_LOGC_COUNT_
} km_log_component;

/** One log entry; valid during the callback only. */
typedef struct km_log_entry {
  int64_t unix_ns; /**< wall clock */
  km_log_level level;
  km_log_component component;
  const km_id *peer; /**< the peer it is about, or NULL */
  const char *path;  /**< the path it is about: "192.0.2.1:4433", or a relay's url without its query
                          (that may be a token); or NULL */
  const char *event; /**< short fixed name: "handshake-done" */
  const char *text;  /**< details, "rtt_ms=12 ..."; may be empty */
} km_log_entry;

typedef void (*km_log_fn)(void *ctx, const km_log_entry *entry);

/** Names: "error", "warn", ... and "endpoint", "quic", ... Static. */
KM_EXPORT const char *km_log_level_name(km_log_level level);
KM_EXPORT const char *km_log_component_name(km_log_component component);

/** Which entries pass: a level a component. */
typedef struct km_log_filter {
  uint8_t level[KM_LOGC_COUNT_];
} km_log_filter;

/**
 * Reads a filter such as "info", "info,quic=debug" or "warn,path=trace,tls=off". Later parts win;
 * a bare level sets all components.
 * @return 0 or KM_ERR_INVALID
 */
KM_EXPORT KM_NODISCARD int km_log_filter_parse(km_log_filter *ret, const char *text,
                                               km_errinfo *err);

/**
 * Writes an entry as one line, "2026-01-02T03:04:05.678Z info quic peer=3b6a27bcce path=... event
 * text", with control characters escaped, NUL-terminated, cut to fit.
 * @return the length without the NUL
 */
KM_EXPORT size_t km_log_format(const km_log_entry *entry, char *buf, size_t cap);

/** A ready-made sink: one line to stderr, in colour where stderr is a terminal. ctx is ignored. */
KM_EXPORT void km_log_to_stderr(void *ctx, const km_log_entry *entry);

KM_END_DECLS

#endif /* KEYMESH_LOG_H */
