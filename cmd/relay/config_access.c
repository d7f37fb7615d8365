#include "cmd/relay/config_access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cli/file_io.h"

#define ASK_TIMEOUT_MAX_MS 25000 /* the handshake's deadline is 30 s unless it is set */

const char *relay_access_name(km_relay_access_kind kind) {
  static const char *const names[] = {
      [KM_RELAY_ACCESS_EVERYONE] = "everyone", [KM_RELAY_ACCESS_ALLOWLIST] = "allowlist",
      [KM_RELAY_ACCESS_DENYLIST] = "denylist", [KM_RELAY_ACCESS_TOKEN] = "shared_token",
      [KM_RELAY_ACCESS_HTTP] = "http",
  };
  return names[kind];
}

/* What a list's entries are, and how one is added. `where`: "relay.toml:3: access.allowlist". */
typedef int (*add_fn)(config_reader *r, const char *where, const char *text);

static int add_id(config_reader *r, const char *where, const char *text) {
  km_id id;
  if (km_id_parse(&id, text, strlen(text), NULL) != 0) {
    return km_fail(r->err, KM_ERR_INVALID,
                   "%s: '%.70s' is no endpoint id (64 hex digits or 52 of base32)", where, text);
  }
  int rv = km_relay_access_add_id(&relay_config_of(r)->access, &id);
  return rv == 0 ? 0 : km_fail(r->err, rv, NULL);
}

/* Tokens travel in a header or in a url. */
static int add_token(config_reader *r, const char *where, const char *text) {
  size_t len = strlen(text);
  for (size_t i = 0; i < len; i++) {
    if (text[i] <= ' ' || text[i] > '~') {
      return km_fail(r->err, KM_ERR_INVALID,
                     "%s: a token is made of visible ASCII characters, without blanks", where);
    }
  }
  if (len == 0 || len > 1000) {
    return km_fail(r->err, KM_ERR_INVALID,
                   "%s: a token has 1 to 1000 characters; an empty one would let everybody in",
                   where);
  }
  return km_relay_access_add_token(&relay_config_of(r)->access, text, r->err);
}

/* --- lists in files -------------------------------------------------------------------------- */

/* Ends the line at its comment, and takes blanks off both ends. */
static char *trim(char *line, bool comments) {
  if (comments) {
    line[strcspn(line, "#")] = '\0';
  }
  line += strspn(line, " \t");
  size_t len = strlen(line);
  while (len > 0 && strchr(" \t\r", line[len - 1]) != NULL) {
    line[--len] = '\0';
  }
  return line;
}

static int add_lines(config_reader *r, const char *path, char *text, bool comments, add_fn add) {
  unsigned number = 0;
  int rv = 0;
  for (char *line = text, *next; rv == 0 && line != NULL; line = next) {
    char where[120];
    next = strchr(line, '\n');
    if (next != NULL) {
      *next++ = '\0';
    }
    (void)snprintf(where, sizeof where, "%.100s:%u", path, ++number);
    char *entry = trim(line, comments);
    rv = *entry == '\0' ? 0 : add(r, where, entry);
  }
  return rv;
}

static int add_file(config_reader *r, const char *path, const char *what, bool secret, add_fn add) {
  file_text file;
  int rv = file_read(&file, path, what, r->err);
  if (rv != 0) {
    return rv;
  }
  if (memchr(file.bytes, '\0', file.len) != NULL) {
    rv = km_fail(r->err, KM_ERR_INVALID, "%.100s is no text file", path);
  }
  if (secret && file.world_readable) {
    KM_LOG(&relay_config_of(r)->env->logger, KM_LOG_WARN, KM_LOGC_RELAY, NULL, NULL,
           "tokens-readable", "%s can be read by everybody: chmod 640", path);
  }
  rv = rv != 0 ? rv : add_lines(r, path, file.bytes, !secret, add);
  file_free(&file);
  return rv;
}

/* --- the kinds ------------------------------------------------------------------------------- */

static int add_items(config_reader *r, const toml_value *v, add_fn add) {
  char where[120];
  int rv = 0;
  (void)snprintf(where, sizeof where, "%.70s:%d: %s", r->toml->name, v->line, v->path);
  for (size_t i = 0; rv == 0 && i < v->item_count; i++) {
    rv = add(r, where, v->items[i]);
  }
  return rv;
}

static int read_ids(config_reader *r, const char *key, const char *file_key) {
  const toml_value *list = NULL;
  const char *path = NULL;
  int rv = config_list(r, key, &list);
  rv = rv != 0 ? rv : config_text(r, file_key, &path);
  rv = rv != 0 || list == NULL ? rv : add_items(r, list, add_id);
  rv = rv != 0 || path == NULL ? rv : add_file(r, path, "list of ids", false, add_id);
  km_relay_access_seal(&relay_config_of(r)->access);
  return rv;
}

static int read_tokens(config_reader *r) {
  const toml_value *list = NULL;
  const char *path = NULL, *set = getenv(RELAY_ENV_ACCESS_TOKEN);
  int rv = config_list(r, "access.shared_token", &list);
  rv = rv != 0 ? rv : config_text(r, "access.shared_token_file", &path);
  if (rv != 0) {
    return rv;
  }
  if (set != NULL) {
    return add_token(r, RELAY_ENV_ACCESS_TOKEN, set);
  }
  r->has_secrets = list != NULL && list->item_count > 0;
  rv = list == NULL ? 0 : add_items(r, list, add_token);
  rv = rv != 0 || path == NULL ? rv : add_file(r, path, "file of tokens", true, add_token);
  if (rv == 0 && relay_config_of(r)->access.token_count == 0) {
    return config_bad(r, "access.shared_token", "there is no token: nobody could get in");
  }
  return rv;
}

/* The only entry of a file. */
static int read_secret(config_reader *r, char **ret, const char *path) {
  file_text file;
  int rv = file_read(&file, path, "file with the bearer token", r->err);
  if (rv == 0) {
    rv = config_copy_path(r, ret, trim(file.bytes + strspn(file.bytes, "\n"), false), NULL, NULL);
    file_free(&file);
  }
  if (rv == 0) {
    (*ret)[strcspn(*ret, "\r\n")] = '\0';
  }
  return rv;
}

static int read_bearer(config_reader *r) {
  relay_config *c = r->config;
  const char *token = NULL, *path = NULL, *set = getenv(RELAY_ENV_BEARER_TOKEN);
  int rv = config_text(r, "access.http.bearer_token", &token);
  rv = rv != 0 ? rv : config_text(r, "access.http.bearer_token_file", &path);
  if (rv == 0 && token != NULL && path != NULL) {
    return config_bad(r, "access.http.bearer_token_file", "give this or bearer_token, not both");
  }
  r->has_secrets = token != NULL;
  if (rv != 0 || (set == NULL && token == NULL && path == NULL)) {
    return rv;
  }
  if (set == NULL && path != NULL) {
    return read_secret(r, &c->ask_bearer, path);
  }
  return config_copy_path(r, &c->ask_bearer, set != NULL ? set : token, NULL, NULL);
}

static int read_http(config_reader *r) {
  relay_config *c = r->config;
  const char *url = NULL, *ca = NULL;
  uint64_t timeout_ms = 0;
  int rv = config_table(r, "access.http");
  rv = rv != 0 ? rv : config_text(r, "access.http.url", &url);
  rv = rv != 0 ? rv : config_text(r, "access.http.ca_file", &ca);
  rv = rv != 0 ? rv
               : config_number(r, "access.http.timeout_ms", &timeout_ms, 100, ASK_TIMEOUT_MAX_MS);
  if (rv == 0 && url == NULL) {
    return config_bad(r, "access.http.url", "this is missing: whom should km-relay ask?");
  }
  c->ask_timeout_ms = (uint32_t)timeout_ms;
  rv = rv != 0 ? rv : config_copy_path(r, &c->ask_url, url, NULL, NULL);
  rv = rv != 0 || ca == NULL ? rv : config_copy_path(r, &c->ask_ca, ca, NULL, NULL);
  return rv != 0 ? rv : read_bearer(r);
}

/* --- which of them --------------------------------------------------------------------------- */

static bool has(const config_reader *r, const char *key) {
  for (size_t i = 0; i < r->toml->count; i++) {
    if (strcmp(r->toml->values[i].path, key) == 0) {
      return true;
    }
  }
  return toml_has_table(r->toml, key);
}

static int choose(config_reader *r, km_relay_access_kind *ret) {
  static const struct {
    const char *key;
    km_relay_access_kind kind;
  } kinds[] = {
      {"access.allowlist", KM_RELAY_ACCESS_ALLOWLIST},
      {"access.allowlist_file", KM_RELAY_ACCESS_ALLOWLIST},
      {"access.denylist", KM_RELAY_ACCESS_DENYLIST},
      {"access.denylist_file", KM_RELAY_ACCESS_DENYLIST},
      {"access.shared_token", KM_RELAY_ACCESS_TOKEN},
      {"access.shared_token_file", KM_RELAY_ACCESS_TOKEN},
      {"access.http", KM_RELAY_ACCESS_HTTP},
  };
  *ret = KM_RELAY_ACCESS_EVERYONE;
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    if (!has(r, kinds[i].key)) {
      continue;
    }
    if (*ret != KM_RELAY_ACCESS_EVERYONE && *ret != kinds[i].kind) {
      return config_bad(r, kinds[i].key, "there is access.%s already; one of them decides",
                        relay_access_name(*ret));
    }
    *ret = kinds[i].kind;
  }
  return 0;
}

/* `access = "everyone"`, or a table. */
static int read_word(config_reader *r) {
  const toml_value *v = toml_find(r->toml, "access");
  if (v == NULL || v->kind == TOML_TABLE) {
    return 0;
  }
  if (v->kind == TOML_TEXT && strcmp(v->text, "everyone") == 0) {
    return 0;
  }
  return config_bad_value(
      r, v, "this is \"everyone\", or { allowlist = [...] } or denylist, shared_token, http");
}

int config_read_access(config_reader *r) {
  km_relay_access_kind kind;
  int rv = read_word(r);
  rv = rv != 0 ? rv : choose(r, &kind);
  if (rv != 0) {
    return rv;
  }
  relay_config_of(r)->access.kind = kind;
  if (kind != KM_RELAY_ACCESS_TOKEN && getenv(RELAY_ENV_ACCESS_TOKEN) != NULL) {
    KM_LOG(&relay_config_of(r)->env->logger, KM_LOG_WARN, KM_LOGC_RELAY, NULL, NULL, "token-unused",
           RELAY_ENV_ACCESS_TOKEN " is set, but access is %s and not shared_token",
           relay_access_name(kind));
  }
  switch (kind) {
  case KM_RELAY_ACCESS_ALLOWLIST:
    return read_ids(r, "access.allowlist", "access.allowlist_file");
  case KM_RELAY_ACCESS_DENYLIST:
    return read_ids(r, "access.denylist", "access.denylist_file");
  case KM_RELAY_ACCESS_TOKEN:
    return read_tokens(r);
  case KM_RELAY_ACCESS_HTTP:
    return read_http(r);
  case KM_RELAY_ACCESS_EVERYONE:
    break;
  }
  /* A misspelt or empty table must not open the relay to everybody. */
  if (toml_has_table(r->toml, "access")) {
    rv = config_check_unknown(r);
    return rv != 0 ? rv : config_bad(r, "access", "this is empty: say \"everyone\" if it is meant");
  }
  return 0;
}
