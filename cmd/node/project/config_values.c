/* Single values of keymesh.yaml. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/env.h"
#include "base/ip_text.h"
#include "base/relay_url.h"
#include "base/text.h"
#include "cmd/cli/options.h"
#include "cmd/node/project/config.h"
#include "cmd/node/project/paths.h"

#define TEXT_MAX 4096
#define TEXTS_MAX 1024
#define TOKEN_MIN 8
#define TOKEN_MAX 512

/* --- where, and what is wrong ---------------------------------------------------------------- */

int config_refuse(const config_at *at, const tree *t, const char *fmt, ...) {
  char text[192];
  va_list args;
  va_start(args, fmt);
  (void)vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  return km_fail(at->err, KM_ERR_INVALID, "%s:%u: %s%s%s", at->file->name, t->line, at->where,
                 at->where[0] == '\0' ? "" : ": ", text);
}

config_at config_step(const config_at *at, const char *key) {
  config_at ret = *at;
  (void)snprintf(ret.where, sizeof ret.where, "%.64s%s%.48s", at->where,
                 at->where[0] == '\0' ? "" : ".", key);
  return ret;
}

config_at config_step_into(const config_at *at, size_t index) {
  config_at ret = *at;
  (void)snprintf(ret.where, sizeof ret.where, "%.96s[%zu]", at->where, index);
  return ret;
}

static int refuse_key(const config_at *at, const tree *map, size_t i, const char *const *keys) {
  const tree here = {.line = map->key_lines[i]};
  const config_at key = config_step(at, map->keys[i]);
  const char *near = cli_did_you_mean(map->keys[i], keys);
  return config_refuse(&key, &here, "there is no key of this name%s%s%s",
                       near == NULL ? "" : "; did you mean ", near == NULL ? "" : near,
                       near == NULL ? "" : "?");
}

static bool is_one_of(const char *word, const char *const *list) {
  while (*list != NULL && strcmp(*list, word) != 0) {
    list++;
  }
  return *list != NULL;
}

int config_check_map(const config_at *at, const tree *t, const char *const *keys) {
  if (t->kind != TREE_MAP) {
    return config_refuse(at, t, "keys with values have to stand here");
  }
  for (size_t i = 0; i < t->count; i++) {
    if (!is_one_of(t->keys[i], keys)) {
      return refuse_key(at, t, i, keys);
    }
  }
  return 0;
}

int config_check_list(const config_at *at, const tree *t, size_t max) {
  if (t->kind != TREE_LIST) {
    return config_refuse(at, t, "this has to be a list, with a dash before each entry");
  }
  return t->count <= max ? 0 : config_refuse(at, t, "these are more than %zu entries", max);
}

static bool is_given(const tree *t) {
  return t != NULL && !tree_is_null(t);
}

/* --- texts ----------------------------------------------------------------------------------- */

static bool is_clean(const char *text) {
  size_t left = strlen(text);
  while (left > 0) {
    size_t n = km_utf8_sequence(text, left);
    if (n == 0 || km_utf8_is_control(text, n)) {
      return false;
    }
    text += n;
    left -= n;
  }
  return true;
}

static int check_text(const config_at *at, const tree *t, size_t max) {
  if (t->kind != TREE_SCALAR) {
    return config_refuse(at, t, "this has to be a text");
  }
  if (t->text[0] == '\0') {
    return config_refuse(at, t, "this must not be empty; for none, leave out the quotes too");
  }
  if (strlen(t->text) > max) {
    return config_refuse(at, t, "this is longer than %zu bytes", max);
  }
  return is_clean(t->text) ? 0 : config_refuse(at, t, "there are control characters in it");
}

static int replace(const config_at *at, char **ret, const char *text) {
  char *copy = km_env_strdup(&km_env_system, text);
  if (copy == NULL) {
    return km_fail(at->err, KM_ERR_NOMEM, NULL);
  }
  km_env_free(&km_env_system, *ret);
  *ret = copy;
  return 0;
}

int config_take_text(const config_at *at, const tree *t, size_t max, char **ret) {
  if (!is_given(t)) {
    return 0;
  }
  int rv = check_text(at, t, max);
  return rv != 0 ? rv : replace(at, ret, t->text);
}

static int take_path(const config_at *at, const tree *t, char **ret) {
  int rv = check_text(at, t, TEXT_MAX);
  if (rv != 0) {
    return rv;
  }
  char *path = path_join(at->file->pub.dir, t->text);
  if (path == NULL) {
    return km_fail(at->err, KM_ERR_NOMEM, NULL);
  }
  km_env_free(&km_env_system, *ret);
  *ret = path;
  return 0;
}

static int take_ip(const config_at *at, const tree *t, char **ret) {
  uint8_t ip[16];
  int rv = check_text(at, t, TEXT_MAX);
  if (rv != 0) {
    return rv;
  }
  const char *text = strcmp(t->text, "localhost") == 0 ? "127.0.0.1" : t->text;
  size_t len = strlen(text);
  if (km_ip_parse(ip, text, len) == 0) {
    return config_refuse(at, t, "'%.40s' is no IP address, as 0.0.0.0, 127.0.0.1 or \"::\"", text);
  }
  return replace(at, ret, text);
}

static int take_token(const config_at *at, const tree *t, char **ret) {
  int rv = check_text(at, t, TOKEN_MAX);
  if (rv != 0) {
    return rv;
  }
  size_t len = strlen(t->text);
  for (size_t i = 0; i < len; i++) {
    if (t->text[i] <= ' ' || t->text[i] > '~') {
      return config_refuse(at, t, "a token has visible ASCII characters and no blanks");
    }
  }
  return len < TOKEN_MIN
             ? config_refuse(at, t, "a token of less than %d characters can be guessed", TOKEN_MIN)
             : replace(at, ret, t->text);
}

/* --- truth, numbers, choices ----------------------------------------------------------------- */

int config_take_bool(const config_at *at, const tree *t, bool *ret) {
  static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
  if (!is_given(t)) {
    return 0;
  }
  for (size_t i = 0; t->kind == TREE_SCALAR && !t->quoted && i < 6; i++) {
    if (strcasecmp(t->text, words[i]) == 0) {
      *ret = i % 2 == 1;
      return 0;
    }
  }
  return config_refuse(at, t, "this has to be true or false");
}

/* Digits without a zero before them, and up to three behind a dot, as thousandths. */
static bool parse_number(const char *text, bool fraction, uint64_t *ret) {
  uint64_t whole = 0, part = 0, place = 1000;
  size_t n = strspn(text, "0123456789");
  if (n == 0 || n > 12 || (n > 1 && text[0] == '0')) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    whole = whole * 10 + (uint64_t)(text[i] - '0');
  }
  text += n;
  if (fraction && text[0] == '.' && strspn(text + 1, "0123456789") > 0) {
    for (text++; *text >= '0' && *text <= '9' && place > 1; text++) {
      place /= 10;
      part += (uint64_t)(*text - '0') * place;
    }
  }
  *ret = fraction ? whole * 1000 + part : whole;
  return *text == '\0';
}

static int take_number(const config_at *at, const tree *t, const config_field *f, uint64_t *ret) {
  if (t->kind != TREE_SCALAR || !parse_number(t->text, false, ret)) {
    return config_refuse(at, t, "this has to be a whole decimal number");
  }
  return *ret >= f->min && *ret <= f->max
             ? 0
             : config_refuse(at, t, "this has to be from %" PRIu32 " to %" PRIu32, f->min, f->max);
}

static int take_seconds(const config_at *at, const tree *t, uint32_t min, uint32_t max,
                        uint32_t *ret) {
  uint64_t ms = 0;
  if (t->kind != TREE_SCALAR || !parse_number(t->text, true, &ms)) {
    return config_refuse(at, t, "this has to be a number of seconds, as 20 or 0.5");
  }
  if (ms < min || ms > max) {
    return config_refuse(at, t, "this has to be from %g to %g seconds", (double)min / 1000,
                         (double)max / 1000);
  }
  *ret = (uint32_t)ms;
  return 0;
}

static int take_backoff(const config_at *at, const tree *t, const config_field *f) {
  project *p = &at->file->pub;
  int rv = config_check_list(at, t, KM_MESH_BACKOFF_MAX);
  if (rv == 0 && t->count == 0) {
    rv = config_refuse(at, t, "there has to be one wait at least");
  }
  for (size_t i = 0; rv == 0 && i < t->count; i++) {
    const config_at item = config_step_into(at, i);
    rv = take_seconds(&item, &t->items[i], f->min, f->max, &p->backoff_ms[i]);
  }
  p->backoff_count = rv == 0 ? t->count : p->backoff_count;
  return rv;
}

int config_take_choice(const config_at *at, const tree *t, const char *const *choices,
                       unsigned *ret) {
  char list[120] = "";
  if (!is_given(t)) {
    return 0;
  }
  for (unsigned i = 0; t->kind == TREE_SCALAR && choices[i] != NULL; i++) {
    if (strcasecmp(choices[i], t->text) == 0) {
      *ret = i;
      return 0;
    }
  }
  for (unsigned i = 0; choices[i] != NULL; i++) {
    size_t used = strlen(list);
    (void)snprintf(list + used, sizeof list - used, "%s%s",
                   i == 0                   ? ""
                   : choices[i + 1] == NULL ? " or "
                                            : ", ",
                   choices[i]);
  }
  return config_refuse(at, t, "this has to be %s", list);
}

/* --- lists ----------------------------------------------------------------------------------- */

static int add_text(const config_at *at, char ***list, size_t *count, const char *text) {
  char **grown = km_env_realloc(&km_env_system, *list, *count + 1, sizeof *grown);
  if (grown == NULL) {
    return km_fail(at->err, KM_ERR_NOMEM, NULL);
  }
  *list = grown;
  grown[*count] = km_env_strdup(&km_env_system, text);
  if (grown[*count] == NULL) {
    return km_fail(at->err, KM_ERR_NOMEM, NULL);
  }
  (*count)++;
  return 0;
}

typedef int take_item(const config_at *at, const tree *t, char ***list, size_t *count);

/* A list, or one that stands alone. */
static int take_items(const config_at *at, const tree *t, size_t max, take_item *fn, char ***list,
                      size_t *count) {
  if (!is_given(t)) {
    return 0;
  }
  if (t->kind == TREE_SCALAR) {
    return fn(at, t, list, count);
  }
  int rv = config_check_list(at, t, max);
  for (size_t i = 0; rv == 0 && i < t->count; i++) {
    const config_at item = config_step_into(at, i);
    rv = fn(&item, &t->items[i], list, count);
  }
  return rv;
}

static int take_item_text(const config_at *at, const tree *t, char ***list, size_t *count) {
  int rv = check_text(at, t, TEXT_MAX);
  return rv != 0 ? rv : add_text(at, list, count, t->text);
}

int config_take_texts(const config_at *at, const tree *t, char ***ret, size_t *ret_count) {
  return take_items(at, t, TEXTS_MAX, take_item_text, ret, ret_count);
}

static int take_item_url(const config_at *at, const tree *t, char ***list, size_t *count) {
  char url[KM_RELAY_URL_MAX + 1];
  km_errinfo why;
  int rv = check_text(at, t, TEXT_MAX);
  if (rv != 0) {
    return rv;
  }
  if (km_relay_url_take(url, sizeof url, t->text, strlen(t->text), &why) < 0) {
    return config_refuse(at, t, "'%.60s' is no relay url, as https://relay.example.org", t->text);
  }
  return add_text(at, list, count, url);
}

int config_take_urls(const config_at *at, const tree *t, char ***ret, size_t *ret_count) {
  return take_items(at, t, KM_ADDR_MAX_RELAYS, take_item_url, ret, ret_count);
}

bool config_fingerprint(char ret[KM_ID_TEXT_CAP], const char *text) {
  static const char head[] = "sha256:";
  size_t used = sizeof head - 1, digits = 0;
  if (strncasecmp(text, head, used) == 0) {
    text += used;
  }
  memcpy(ret, head, sizeof head);
  for (; *text != '\0'; text++) {
    bool upper = *text >= 'A' && *text <= 'F';
    if (*text == ':' && digits > 0 && digits % 2 == 0) {
      continue;
    }
    if (digits == 64 || (!upper && strchr("0123456789abcdef", *text) == NULL)) {
      return false;
    }
    ret[used + digits++] = (char)(upper ? *text - 'A' + 'a' : *text);
  }
  ret[used + digits] = '\0';
  return digits == 64;
}

int config_take_fingerprint(const config_at *at, const tree *t, char **ret) {
  char text[KM_ID_TEXT_CAP];
  if (!is_given(t)) {
    return 0;
  }
  if (t->kind != TREE_SCALAR || !config_fingerprint(text, t->text)) {
    return config_refuse(at, t, "this has to be sha256: and 64 hex digits");
  }
  return replace(at, ret, text);
}

static int take_item_fingerprint(const config_at *at, const tree *t, char ***list, size_t *count) {
  char text[KM_ID_TEXT_CAP];
  if (t->kind != TREE_SCALAR || !config_fingerprint(text, t->text)) {
    return config_refuse(at, t, "this has to be sha256: and 64 hex digits");
  }
  return add_text(at, list, count, text);
}

static int take_ids(const config_at *at, const tree *t, km_id **ret, size_t *ret_count) {
  km_errinfo why;
  int rv = config_check_list(at, t, KM_MESH_MAX_PEERS);
  if (rv != 0 || t->count == 0) {
    return rv;
  }
  *ret = km_env_zalloc(&km_env_system, t->count, sizeof **ret);
  if (*ret == NULL) {
    return km_fail(at->err, KM_ERR_NOMEM, NULL);
  }
  for (size_t i = 0; i < t->count; i++) {
    const tree *item = &t->items[i];
    const config_at here = config_step_into(at, i);
    if (item->kind != TREE_SCALAR ||
        km_id_parse(&(*ret)[i], item->text, strlen(item->text), &why) != 0) {
      return config_refuse(&here, item, "this has to be an id: 64 hex digits or 52 base32 letters");
    }
    *ret_count = i + 1;
  }
  return 0;
}

/* --- by the table ---------------------------------------------------------------------------- */

static int take_no_effect(const config_at *at, const tree *t) {
  char text[160];
  if (t->kind != TREE_SCALAR) {
    return config_refuse(at, t, "this has to be a single value");
  }
  (void)snprintf(text, sizeof text, "line %u: %s", t->line, at->where);
  return add_text(at, &at->file->no_effect, &at->file->no_effect_count, text);
}

static int take_any_number(const config_at *at, const tree *t, const config_field *f, void *to) {
  uint64_t n = 0;
  int rv = take_number(at, t, f, &n);
  if (rv != 0) {
    return rv;
  }
  if (f->kind == CONFIG_NUMBER) {
    *(uint32_t *)to = (uint32_t)n;
  } else if (f->kind == CONFIG_NUMBER16) {
    *(uint16_t *)to = (uint16_t)n;
  } else {
    *(uint8_t *)to = (uint8_t)n;
  }
  return 0;
}

static int take_any_choice(const config_at *at, const tree *t, const config_field *f, void *to) {
  unsigned choice = 0;
  int rv = config_take_choice(at, t, f->choices, &choice);
  if (rv == 0) {
    _Static_assert(sizeof(km_relay_mode) == sizeof choice, "enums are as long as unsigned");
    memcpy(to, &choice, sizeof choice);
  }
  return rv;
}

int config_take_field(const config_at *at, const tree *t, const config_field *f) {
  if (tree_is_null(t) && f->kind != CONFIG_NO_EFFECT) {
    return 0;
  }
  char *to = (char *)at->file + f->offset;
  size_t *count = (size_t *)(void *)((char *)at->file + f->count_offset);
  switch (f->kind) {
  case CONFIG_TEXT:
    return config_take_text(at, t, f->max, (char **)(void *)to);
  case CONFIG_NAME:
    return config_take_text(at, t, KM_PEER_NAME_MAX, (char **)(void *)to);
  case CONFIG_IP:
    return take_ip(at, t, (char **)(void *)to);
  case CONFIG_PATH:
    return take_path(at, t, (char **)(void *)to);
  case CONFIG_TOKEN:
    return take_token(at, t, (char **)(void *)to);
  case CONFIG_BOOL:
    return config_take_bool(at, t, (bool *)to);
  case CONFIG_NUMBER:
  case CONFIG_NUMBER16:
  case CONFIG_NUMBER8:
    return take_any_number(at, t, f, to);
  case CONFIG_SECONDS:
    return take_seconds(at, t, f->min, f->max, (uint32_t *)(void *)to);
  case CONFIG_CHOICE:
    return take_any_choice(at, t, f, to);
  case CONFIG_URLS:
    return config_take_urls(at, t, (char ***)(void *)to, count);
  case CONFIG_TEXTS:
    return config_take_texts(at, t, (char ***)(void *)to, count);
  case CONFIG_IDS:
    return take_ids(at, t, (km_id **)(void *)to, count);
  case CONFIG_FINGERPRINTS:
    return take_items(at, t, TEXTS_MAX, take_item_fingerprint, (char ***)(void *)to, count);
  case CONFIG_BACKOFF:
    return take_backoff(at, t, f);
  case CONFIG_NO_EFFECT:
    return take_no_effect(at, t);
  }
  return KM_ERR_INTERNAL;
}
