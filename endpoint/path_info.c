/* What is known of the paths of a connection, in words and figures. */
#include <stdio.h>
#include <string.h>

#include "base/udp_addr.h"
#include "endpoint/conn_impl.h"

static km_path_state state_of(km_punch_way_state state) {
  switch (state) {
  case KM_PUNCH_WAY_UNTRIED:
    return KM_PATH_UNTRIED;
  case KM_PUNCH_WAY_PROBING:
    return KM_PATH_PROBING;
  case KM_PUNCH_WAY_OPEN:
    return KM_PATH_OPEN;
  case KM_PUNCH_WAY_SUSPECT:
    return KM_PATH_SUSPECT;
  case KM_PUNCH_WAY_DEAD:
    break;
  }
  return KM_PATH_DEAD;
}

static void fill_way(const km_punch_way_info *way, km_path_info *ret) {
  ret->state = state_of(way->state);
  ret->loss_permille = way->loss_permille;
  ret->rtt_us = way->rtt_ns == 0 ? ret->rtt_us : way->rtt_ns / 1000;
}

void km_quic_path_info(const km_conn *conn, const km_path *path, km_path_info *ret) {
  memset(ret, 0, sizeof *ret);
  ret->kind = path->key.way == KM_WAY_DIRECT  ? KM_PATH_DIRECT
              : path->key.way == KM_WAY_RELAY ? KM_PATH_RELAY
                                              : KM_PATH_NONE;
  if (path->key.way == KM_WAY_DIRECT) {
    ret->remote = path->key.remote;
  }
  ret->relay_url = km_magicsock_relay_url(conn->ep->ms, &path->key);
  ret->local = km_magicsock_local_of(conn->ep->ms, path);
  ret->tx_bytes = path->tx_bytes;
  ret->rx_bytes = path->rx_bytes;
  ret->selected = path == km_quic_path_current(conn);
  ret->state = KM_PATH_OPEN;
  for (size_t i = 0; i < conn->path_count; i++) {
    if (km_quic_path_concrete(conn->paths[i].path) == path) {
      ret->validated = conn->paths[i].validated;
    }
  }
  km_punch_way_info way;
  if (km_remote_find(&conn->select.user, &path->key, &way)) {
    fill_way(&way, ret);
  }
  if (ret->selected && conn->quic != NULL) {
    ngtcp2_conn_info info;
    ngtcp2_conn_get_conn_info2(conn->quic, &info);
    if (info.min_rtt != UINT64_MAX) { /* else a path that was just taken: what probes measured */
      ret->rtt_us = info.smoothed_rtt / 1000;
    }
  }
}

void km_path_text(const km_magicsock *ms, const km_path *path, char buf[KM_PATH_TEXT_CAP]) {
  const char *url = km_magicsock_relay_url(ms, &path->key);
  if (url != NULL) {
    (void)snprintf(buf, KM_PATH_TEXT_CAP, "relay %s", url);
  } else if (path->key.way != KM_WAY_DIRECT ||
             km_udp_addr_format(&path->key.remote, buf, KM_PATH_TEXT_CAP) < 0) {
    (void)snprintf(buf, KM_PATH_TEXT_CAP, "%s", "first-flight");
  }
}

const char *km_conn_path_text(const km_conn *conn, char buf[KM_PATH_TEXT_CAP]) {
  const km_path *path = km_quic_path_current(conn);
  if (path == NULL) {
    return NULL;
  }
  km_path_text(conn->ep->ms, path, buf);
  return buf;
}

/* --- all of them ------------------------------------------------------------------------------ */

typedef struct info_list {
  km_path_info *at;
  size_t count, cap;
} info_list;

static bool is_listed(const info_list *list, const km_path_info *info) {
  for (size_t i = 0; i < list->count; i++) {
    const km_path_info *other = &list->at[i];
    bool same_relay = info->relay_url != NULL && other->relay_url != NULL &&
                      strcmp(info->relay_url, other->relay_url) == 0;
    if (info->kind == other->kind &&
        (info->kind == KM_PATH_DIRECT ? km_udp_addr_equal(&info->remote, &other->remote)
                                      : same_relay)) {
      return true;
    }
  }
  return false;
}

static void list_info(info_list *list, const km_path_info *info) {
  if (list->count < list->cap && !is_listed(list, info)) {
    list->at[list->count++] = *info;
  }
}

static void list_path(const km_conn *conn, const km_path *path, info_list *list) {
  km_path_info info;
  if (path != NULL) {
    km_quic_path_info(conn, path, &info);
    list_info(list, &info);
  }
}

static void list_ways(const km_conn *conn, info_list *list) {
  const km_punch *punch = km_remote_punch(&conn->select.user);
  km_punch_way_info ways[KM_PUNCH_MAX_WAYS];
  size_t count = punch == NULL ? 0 : km_punch_ways(punch, ways, KM_PUNCH_MAX_WAYS);
  for (size_t i = 0; i < count; i++) {
    km_path_info info = {.kind = KM_PATH_DIRECT, .remote = ways[i].way.addr};
    km_path_key key;
    if (km_remote_key(&conn->select.user, &ways[i].way, &key) == 0) {
      const km_path *path = km_magicsock_find(conn->ep->ms, &key);
      const km_path here = {.key = key};
      info.local = km_magicsock_local_of(conn->ep->ms, &here);
      info.tx_bytes = path == NULL ? 0 : path->tx_bytes;
      info.rx_bytes = path == NULL ? 0 : path->rx_bytes;
    }
    fill_way(&ways[i], &info);
    list_info(list, &info);
  }
}

/* What was dialled. Only QUIC itself tried those that nothing else is known of. */
static void list_given(const km_conn *conn, info_list *list) {
  size_t count = conn->mixed == NULL ? 0 : km_mixed_count(conn->mixed);
  for (size_t i = 0; i < count; i++) {
    const km_path *path = km_mixed_at(conn->mixed, i);
    km_path_info info;
    km_quic_path_info(conn, path, &info);
    if (path->rx_packets > 0) { /* a relay is; a direct one would be in use if it still was */
      info.state = info.kind == KM_PATH_RELAY ? KM_PATH_OPEN : KM_PATH_DEAD;
    } else {
      info.state = path->tx_packets > 0 ? KM_PATH_PROBING : KM_PATH_UNTRIED;
    }
    list_info(list, &info);
  }
}

size_t km_conn_paths(const km_conn *conn, km_path_info *ret, size_t cap) {
  info_list list = {.at = ret, .cap = cap};
  list_path(conn, km_quic_path_current(conn), &list);
  for (size_t i = 0; i < conn->path_count; i++) {
    list_path(conn, km_quic_path_concrete(conn->paths[i].path), &list);
  }
  list_ways(conn, &list);
  list_given(conn, &list);
  return list.count;
}
