/* The peer protocol on one connection: who says HELLO, who answers ACK, heartbeats and what their
 * silence means. Pure: bytes and times in, bytes, events and a deadline out. */
#ifndef KM_ENDPOINT_MESH_SESSION_H
#define KM_ENDPOINT_MESH_SESSION_H

#include "endpoint/mesh/control.h"

typedef struct km_session km_session;

typedef struct km_session_config {
  const km_env *env;
  bool initiator; /* dialled: says HELLO; the other side answers ACK with its own capabilities */
  const char *node_id;
  uint64_t instance;
  const km_capabilities *caps; /* ours for this peer; must stay as long as the session */
  uint64_t heartbeat_ns, silence_ns, hello_timeout_ns;
  /* Accepting side: may this peer be in? NULL: yes; else the reason, which goes into the ACK. */
  const char *(*refuse)(void *ctx, const km_control *hello);
  void *ctx;
} km_session_config;

typedef enum km_session_event {
  KM_SESSION_NOTHING,
  KM_SESSION_UP,      /* the handshake is done, both agree */
  KM_SESSION_REFUSED, /* by them (their reason) or by us (ours): close when the output is sent */
  KM_SESSION_SILENT,  /* no HELLO, no ACK, or no heartbeat in time */
  KM_SESSION_BROKEN   /* they broke the protocol */
} km_session_event;

KM_NODISCARD int km_session_new(km_session **ret, const km_session_config *config, km_ts now,
                                km_wall wall);
void km_session_free(km_session *s);
/* Bytes of the control stream. The first event; call again with nothing for more, until NOTHING. */
km_session_event km_session_receive(km_session *s, const uint8_t *data, size_t len, km_ts now,
                                    km_wall wall, km_errinfo *err);
km_session_event km_session_tick(km_session *s, km_ts now, km_wall wall, km_errinfo *err);
km_ts km_session_next(const km_session *s);
/* Bytes to send; valid until km_session_sent. */
size_t km_session_output(km_session *s, const uint8_t **ret);
void km_session_sent(km_session *s, size_t len);

/* What is known of the other side. Valid while the session is. */
typedef struct km_session_info {
  const char *node_id, *version, *reason;
  uint64_t instance;
  const km_capabilities *caps;
  int64_t hello_ms, ack_ms, heartbeat_ms; /* UNIX milliseconds, 0 = never */
  uint64_t rtt_us, jitter_us;             /* RFC 6298 and RFC 3550's smoothing */
  uint64_t heartbeats_in, heartbeats_out;
} km_session_info;
void km_session_get_info(const km_session *s, km_session_info *ret);

#endif /* KM_ENDPOINT_MESH_SESSION_H */
