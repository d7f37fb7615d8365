#include "endpoint/discover.h"

#include <stdio.h>
#include <string.h>

#include "endpoint/intake.h"
#include "endpoint/redial.h"

#define ASK_AGAIN_NS (30 * KM_NS_PER_S)

bool km_discover_is_waited_for(const km_conn *conn) {
  return conn->is_client && !conn->progress.completed && conn->mixed != NULL &&
         km_mixed_count(conn->mixed) == 0;
}

/* --- what was found --------------------------------------------------------------------------- */

static void on_found(void *ctx, km_lookup *lookup, const km_found *found) {
  km_conn *conn = ctx;
  (void)lookup;
  if (conn->state == KM_CONN_CLOSING || conn->mixed == NULL) {
    return;
  }
  bool waited_for = km_discover_is_waited_for(conn);
  size_t added = km_intake(conn, found);
  CONN_LOG(conn, KM_LOG_INFO, KM_LOGC_DISCOVERY, "found", "source=%s ways=%zu new=%zu%s",
           found->source, km_addr_udp_count(found->addr) + km_addr_relay_count(found->addr), added,
           found->proven ? " proven" : "");
  if (added == 0) {
    return;
  }
  km_conn_notes_add_found(&conn->notes, &conn->ep->env, km_endpoint_now(conn->ep), found->source,
                          (uint32_t)added);
  if (km_rank_of_found(found) != KM_RANK_CLAIMED) {
    km_dial_learn_relays(conn, found->addr); /* what they answer is told to others as ours */
  }
  if (!conn->progress.completed) {
    km_redial_candidates_came(conn, waited_for);
  } else {
    km_quic_path_candidates_came(conn);
  }
  km_conn_mark_dirty(conn);
}

static void on_done(void *ctx, km_lookup *lookup, size_t found, const km_errinfo *err) {
  km_conn *conn = ctx;
  (void)lookup;
  (void)found;
  conn->lookup = NULL;
  if (conn->state == KM_CONN_CLOSING || conn->mixed == NULL) {
    return;
  }
  km_mixed_grows(conn->ep->ms, conn->mixed, false);
  if (!km_discover_is_waited_for(conn) || km_redial_give_up(conn)) {
    km_redial_no_more_come(conn);
    return;
  }
  conn->close_silently = true;
  km_conn_begin_close(conn, KM_CLOSE_LOCAL_TRANSPORT, KM_ERR_NO_ADDRESS, false, 0, NULL, 0);
  (void)snprintf(conn->close_info.text, sizeof conn->close_info.text, "%s",
                 err != NULL && err->text[0] != '\0'
                     ? err->text
                     : "what is known of the peer are no addresses that can be used from here");
}

/* --- asking ----------------------------------------------------------------------------------- */

static int ask(km_conn *conn, km_errinfo *err) {
  static const km_lookup_callbacks callbacks = {
      .size = sizeof callbacks, .on_found = on_found, .on_done = on_done};
  if (conn->ep->opt.discovery == NULL || conn->lookup != NULL) {
    return 0;
  }
  conn->asked_at = km_endpoint_now(conn->ep);
  if (conn->progress.completed && conn->mixed != NULL) {
    km_intake_again(conn);
  }
  km_conn_note_event(conn, KM_EXPLAIN_EVENT_ASKED, NULL, 0);
  int rv = km_discovery_lookup(conn->ep->opt.discovery, &conn->lookup, &conn->remote_id, &callbacks,
                               conn, err);
  if (rv == 0 && conn->mixed != NULL) {
    km_mixed_grows(conn->ep->ms, conn->mixed, true);
  }
  return rv;
}

int km_discover_begin(km_conn *conn, km_errinfo *err) {
  int rv = ask(conn, err);
  return rv == 0 || !km_discover_is_waited_for(conn) ? 0 : rv; /* others may do without */
}

void km_discover_again(km_conn *conn) {
  if (conn->is_client && km_endpoint_now(conn->ep) - conn->asked_at >= ASK_AGAIN_NS &&
      conn->state != KM_CONN_CLOSING) {
    int rv = ask(conn, NULL);
    (void)rv; /* the known ways go on being tried */
  }
}

void km_discover_end(km_conn *conn) {
  km_lookup_cancel(conn->lookup);
  conn->lookup = NULL;
}

/* Others were only named, by whomever. */
static bool is_good_relay(const km_conn *conn, const km_path_key *key) {
  return km_intake_rank(conn, key) == KM_RANK_SIGNED ||
         km_remote_relay_was_heard(&conn->select.user, key);
}

void km_discover_worked(const km_conn *conn) {
  const km_path *path = km_quic_path_current(conn);
  if (conn->ep->opt.discovery == NULL || !conn->is_client || path == NULL) {
    return;
  }
  km_addr *addr;
  if (km_addr_new(&addr, &conn->remote_id) != 0) {
    return;
  }
  int rv = 0;
  if (path->key.way == KM_WAY_DIRECT) {
    rv = km_addr_add_udp(addr, &path->key.remote);
  }
  km_path_key key;
  for (size_t i = 0; rv == 0 && km_remote_relay_at(&conn->select.user, i, &key); i++) {
    const char *url = is_good_relay(conn, &key) ? km_magicsock_relay_url(conn->ep->ms, &key) : NULL;
    rv = url == NULL ? 0 : km_addr_add_relay(addr, url, strlen(url), NULL);
  }
  const char *url = km_magicsock_relay_url(conn->ep->ms, &path->key);
  if (rv == 0 && url != NULL) {
    rv = km_addr_add_relay(addr, url, strlen(url), NULL);
  }
  if (rv == 0) {
    km_discovery_worked(conn->ep->opt.discovery, addr);
  }
  km_addr_free(addr);
}

/* --- telling ---------------------------------------------------------------------------------- */

void km_endpoint_publish_soon(km_endpoint *ep) {
  if (ep->opt.discovery != NULL && ep->opt.publish && ep->state == KM_ENDPOINT_OPEN) {
    ep->publish_due = true;
    km_endpoint_schedule(ep);
  }
}

void km_endpoint_publish(km_endpoint *ep) {
  if (!ep->publish_due || ep->state != KM_ENDPOINT_OPEN) {
    return;
  }
  km_addr *addr;
  km_errinfo err = {0};
  ep->publish_due = false;
  int rv = km_endpoint_addr(ep, &addr);
  if (rv == 0) {
    const km_peer_info info = {.size = sizeof info, .addr = addr};
    rv = km_discovery_publish(ep->opt.discovery, &info, &err);
    km_addr_free(addr);
  }
  if (rv != 0) {
    EP_LOG(ep, KM_LOG_WARN, KM_LOGC_DISCOVERY, NULL, NULL, "not-published", "%s",
           err.text[0] != '\0' ? err.text : km_strerror(rv));
  }
}
