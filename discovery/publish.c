/* What an endpoint says of itself, on its way to the sources. */
#include <stddef.h>
#include <string.h>

#include "discovery/core.h"

static const km_id no_id;

/* The settings are kept in a km_info as well; they have no address of their own. */
static km_info *settings_of(km_discovery *d) {
  if (d->settings == NULL) {
    km_addr *none;
    if (km_addr_new(&none, &no_id) == 0) {
      if (km_info_new(&d->settings, &d->env, none) != 0) {
        d->settings = NULL;
      }
      km_addr_free(none);
    }
  }
  return d->settings;
}

/* What sources are told: what was published; where it leaves something open, the settings. */
static int merge(km_discovery *d, const km_info *base, km_info **ret) {
  *ret = NULL;
  if (base == NULL) {
    return 0;
  }
  int rv = km_info_new(ret, &d->env, base->addr);
  if (rv != 0) {
    return rv;
  }
  const km_info *text = base->has_user_data || d->settings == NULL ? base : d->settings;
  const km_info *record = base->record_len > 0 || d->settings == NULL ? base : d->settings;
  km_info_set_user_data(*ret, text->has_user_data ? text->user_data : NULL);
  km_info_set_record(*ret, record->record, record->record_len);
  return 0;
}

static void replace(km_info **at, km_info *with) {
  km_info *old = *at;
  *at = with;
  km_info_unref(old);
}

/* Takes `base`, also on failure. */
static int set_base(km_discovery *d, km_info *base) {
  km_info *own;
  int rv = merge(d, base, &own);
  if (rv != 0) {
    km_info_unref(base);
    return rv;
  }
  replace(&d->base, base);
  if (km_info_same(own, d->own)) {
    km_info_unref(own);
    return 0;
  }
  replace(&d->own, own);
  d->publish_changes++;
  km_discovery_wake(d);
  return 0;
}

static int remerge(km_discovery *d) {
  if (d->base != NULL) {
    d->base->refs++; /* set_base takes one, and gives up the one it finds */
  }
  return set_base(d, d->base);
}

static int check(const km_discovery *d, const km_peer_info *info, km_errinfo *err) {
  km_id own;
  if (info->addr == NULL) {
    return km_fail(err, KM_ERR_INVALID, "what is published needs an address");
  }
  if (d->key != NULL) {
    km_secret_key_id(d->key, &own);
    if (!km_id_equal(&own, km_addr_id(info->addr))) {
      return km_fail(err, KM_ERR_INVALID, "what is published has another id than the secret key");
    }
  }
  if (info->user_data != NULL && !km_user_data_is_valid(info->user_data)) {
    return km_fail(err, KM_ERR_INVALID, "user data has more than %d bytes or is no UTF-8",
                   KM_USER_DATA_MAX);
  }
  if (info->record != NULL && info->record_len > KM_RECORD_BYTES_MAX) {
    return km_fail(err, KM_ERR_INVALID, "a record has at most %d bytes", KM_RECORD_BYTES_MAX);
  }
  return 0;
}

static int copy_info(km_discovery *d, const km_peer_info *from, km_info **ret, km_errinfo *err) {
  if (from->size < offsetof(km_peer_info, user_data) || from->size > 65536) {
    return km_fail(err, KM_ERR_INVALID, "info.size is %zu: set it to sizeof the struct",
                   from->size);
  }
  km_peer_info info = {0};
  memcpy(&info, from, from->size < sizeof info ? from->size : sizeof info);
  int rv = check(d, &info, err);
  if (rv != 0) {
    return rv;
  }
  rv = km_info_new(ret, &d->env, info.addr);
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  km_info_set_user_data(*ret, info.user_data);
  km_info_set_record(*ret, info.record, info.record_len);
  return 0;
}

int km_discovery_publish(km_discovery *discovery, const km_peer_info *info, km_errinfo *err) {
  if (discovery == NULL) {
    return km_fail(err, KM_ERR_INVALID, NULL);
  }
  km_info *base = NULL;
  int rv = info == NULL ? 0 : copy_info(discovery, info, &base, err);
  if (rv != 0) {
    return rv;
  }
  rv = set_base(discovery, base);
  return rv == 0 ? 0 : km_fail(err, rv, NULL);
}

int km_discovery_set_user_data(km_discovery *discovery, const char *text) {
  if (discovery == NULL || (text != NULL && !km_user_data_is_valid(text))) {
    return KM_ERR_INVALID;
  }
  km_info *settings = settings_of(discovery);
  if (settings == NULL) {
    return KM_ERR_NOMEM;
  }
  km_info_set_user_data(settings, text);
  return remerge(discovery);
}

int km_discovery_set_record(km_discovery *discovery, const uint8_t *record, size_t len) {
  if (discovery == NULL || (record != NULL && (len == 0 || len > KM_RECORD_BYTES_MAX))) {
    return KM_ERR_INVALID;
  }
  km_info *settings = settings_of(discovery);
  if (settings == NULL) {
    return KM_ERR_NOMEM;
  }
  km_info_set_record(settings, record, len);
  return remerge(discovery);
}

int km_discovery_publish_state(const km_discovery *discovery, size_t index, km_publish_state *ret) {
  if (discovery == NULL || ret == NULL) {
    return KM_ERR_NOT_FOUND;
  }
  for (size_t i = 0; i < discovery->source_count; i++) {
    const km_source *s = &discovery->sources[i];
    for (size_t place = 0; s->ops.publish_state != NULL; place++, index--) {
      km_publish_state state = {.size = sizeof state, .source = s->ops.name, .where = ""};
      if (s->ops.publish_state(s->ctx, place, &state) != 0) {
        break;
      }
      if (index == 0) {
        size_t size = ret->size < sizeof state ? ret->size : sizeof state;
        state.size = ret->size;
        memcpy(ret, &state, size);
        return 0;
      }
    }
  }
  return KM_ERR_NOT_FOUND;
}

static void tell(km_source *s, const km_info *info) {
  if (info != NULL) {
    km_peer_info view;
    km_info_view(info, &view);
    s->published = true;
    s->ops.publish(s->ctx, &view);
  } else if (s->published) {
    s->published = false;
    s->ops.publish(s->ctx, NULL);
  }
}

void km_discovery_tell_publish(km_discovery *d) {
  for (size_t i = 0; i < d->source_count && !d->closed; i++) {
    km_source *s = &d->sources[i];
    if (s->ops.publish == NULL || s->publish_seen == d->publish_changes) {
      continue;
    }
    s->publish_seen = d->publish_changes;
    km_info *info = d->own;
    if (info != NULL) {
      info->refs++; /* the source may publish something else meanwhile */
    }
    tell(s, info);
    km_info_unref(info);
  }
}

void km_discovery_withdraw(km_discovery *d) {
  for (size_t i = 0; i < d->source_count; i++) {
    if (d->sources[i].ops.publish != NULL) {
      tell(&d->sources[i], NULL);
    }
  }
}

void km_discovery_clear_publish(km_discovery *d) {
  replace(&d->base, NULL);
  replace(&d->own, NULL);
  replace(&d->settings, NULL);
}
