#include "cmd/cli/output.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAY_MAX (KM_TICKET_MAX + 256) /* a line with the longest ticket */

void cli_output_init(cli_output *out, bool json) {
  out->json = json;
  /* Whole lines at once, also into a pipe: who reads wants them when they happen. */
  (void)setvbuf(stdout, NULL, _IOLBF, 0);
}

/* --- text ------------------------------------------------------------------------------------ */

/* Length of the UTF-8 sequence at `p`, 0 for none (RFC 3629). */
static size_t utf8_len(const uint8_t *p, size_t left) {
  size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
  if (n == 1) {
    return 1;
  }
  if (p[0] < 0xc2 || p[0] > 0xf4 || n > left) {
    return 0;
  }
  for (size_t i = 1; i < n; i++) {
    if ((p[i] & 0xc0) != 0x80) {
      return 0;
    }
  }
  bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
  bool surrogate = p[0] == 0xed && p[1] > 0x9f;
  bool beyond = p[0] == 0xf4 && p[1] > 0x8f;
  return overlong || surrogate || beyond ? 0 : n;
}

static bool is_control(const uint8_t *p, size_t n) {
  return (n == 1 && (p[0] < 0x20 || p[0] == 0x7f)) || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0);
}

/* What may come from a stranger must not steer the terminal. In place: it never gets longer. */
static void clean(char *text) {
  size_t left = strlen(text), used = 0;
  const char *p = text;
  while (left > 0) {
    size_t n = utf8_len((const uint8_t *)p, left);
    bool bad = n == 0 || (is_control((const uint8_t *)p, n) && p[0] != '\n');
    n = n == 0 ? 1 : n;
    if (bad) {
      text[used++] = '?';
    } else {
      memmove(text + used, p, n);
      used += n;
    }
    p += n;
    left -= n;
  }
  text[used] = '\0';
}

/* --- JSON ------------------------------------------------------------------------------------ */

cJSON *cli_event(const cli_output *out, const char *name) {
  cJSON *event = out->json ? cJSON_CreateObject() : NULL;
  cli_add_text(event, "event", name);
  return event;
}

void cli_emit(cJSON *event) {
  char *line = event == NULL ? NULL : cJSON_PrintUnformatted(event);
  if (line != NULL) {
    (void)puts(line);
    cJSON_free(line);
  }
  cJSON_Delete(event);
}

static bool is_text(const uint8_t *bytes, size_t len) {
  size_t n;
  for (size_t i = 0; i < len; i += n) {
    n = utf8_len(bytes + i, len - i);
    if (n == 0 || bytes[i] == 0) {
      return false;
    }
  }
  return true;
}

void cli_add_bytes(cJSON *event, const char *name, const void *bytes, size_t len) {
  char *text = malloc(2 * len + 1);
  if (text == NULL) {
    return;
  }
  if (is_text(bytes, len)) {
    if (len > 0) {
      memcpy(text, bytes, len);
    }
    text[len] = '\0';
  } else {
    for (size_t i = 0; i < len; i++) {
      (void)snprintf(text + 2 * i, 3, "%02x", ((const uint8_t *)bytes)[i]);
    }
  }
  if (event != NULL) {
    (void)cJSON_AddStringToObject(event, name, text);
  }
  free(text);
}

void cli_add_text(cJSON *event, const char *name, const char *text) {
  if (event != NULL) {
    cli_add_bytes(event, name, text, strlen(text));
  }
}

void cli_add_number(cJSON *event, const char *name, double value) {
  if (event != NULL) {
    (void)cJSON_AddNumberToObject(event, name, value);
  }
}

void cli_add_null(cJSON *event, const char *name) {
  if (event != NULL) {
    (void)cJSON_AddNullToObject(event, name);
  }
}

const char *cli_path_name(const km_path_info *path) {
  return path->kind == KM_PATH_DIRECT ? "direct" : path->kind == KM_PATH_RELAY ? "relay" : "none";
}

const char *cli_path_addr(const km_path_info *path, char buf[CLI_PATH_TEXT_CAP]) {
  buf[0] = '\0';
  if (path->relay_url != NULL) {
    (void)snprintf(buf, CLI_PATH_TEXT_CAP, "%s", path->relay_url);
  } else if (km_udp_addr_format(&path->remote, buf, CLI_PATH_TEXT_CAP) < 0) {
    buf[0] = '\0';
  }
  return buf;
}

void cli_add_path(cJSON *event, const km_path_info *path) {
  char addr[KM_UDP_ADDR_TEXT_CAP] = "";
  cli_add_text(event, "path", cli_path_name(path));
  if (path->kind == KM_PATH_RELAY && path->relay_url != NULL) {
    cli_add_text(event, "addr", path->relay_url);
  } else if (km_udp_addr_format(&path->remote, addr, sizeof addr) > 0) {
    cli_add_text(event, "addr", addr);
  }
  cli_add_number(event, "rtt_ms", (double)path->rtt_us / 1000);
}

/* --- people ---------------------------------------------------------------------------------- */

void cli_say(const cli_output *out, const char *fmt, ...) {
  if (out->json) {
    return;
  }
  va_list args;
  char text[SAY_MAX];
  va_start(args, fmt);
  (void)vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  clean(text);
  (void)puts(text);
}

bool cli_watched(const cli_output *out) {
  return !out->json && isatty(STDERR_FILENO) != 0;
}

int cli_error(const cli_output *out, int status, const km_errinfo *err) {
  /* A sentence is text even if it quotes what is none, or quotes half a character. */
  char text[sizeof err->text];
  (void)snprintf(text, sizeof text, "%s",
                 err->text[0] != '\0' ? err->text : km_strerror(err->code));
  clean(text);
  if (out->json) {
    cJSON *event = cli_event(out, "error");
    cli_add_number(event, "code", err->code);
    cli_add_text(event, "name", km_error_name(err->code));
    cli_add_text(event, "message", text);
    cli_emit(event);
    return status;
  }
  const char *no_color = getenv("NO_COLOR"); /* empty counts as not set: no-color.org */
  bool colour = isatty(STDERR_FILENO) != 0 && (no_color == NULL || no_color[0] == '\0');
  (void)fprintf(stderr, "%serror:%s %s\n", colour ? "\033[31m" : "", colour ? "\033[0m" : "", text);
  const char *hint = km_error_hint(err->code);
  bool said = hint[0] == '\0' || strstr(err->text, hint) != NULL;
  if (!said && err->code != KM_ERR_INVALID) {
    (void)fprintf(stderr, "  %s\n", hint);
  }
  return status;
}

int cli_status_of(int code) {
  switch (code) {
  case KM_OK:
    return CLI_EXIT_OK;
  case KM_ERR_INVALID:
  case KM_ERR_BAD_ID:
  case KM_ERR_BAD_KEY:
  case KM_ERR_BAD_TICKET:
  case KM_ERR_BAD_ADDR:
  case KM_ERR_BAD_RELAY_URL:
  case KM_ERR_BAD_ALPN:
  case KM_ERR_SELF_DIAL:
  case KM_ERR_BAD_KEY_FILE:
  case KM_ERR_KEY_FILE_MODE:
  case KM_ERR_FILE_NOT_FOUND:
  case KM_ERR_FILE_EXISTS:
  case KM_ERR_PERMISSION:
  case KM_ERR_ADDR_IN_USE:
  case KM_ERR_ADDR_NOT_AVAILABLE:
    return CLI_EXIT_USAGE;
  case KM_ERR_UNREACHABLE:
  case KM_ERR_NO_ADDRESS:
  case KM_ERR_NO_NETWORK:
  case KM_ERR_NO_PATH:
  case KM_ERR_NO_DIRECT_PATH:
  case KM_ERR_REFUSED:
  case KM_ERR_VERSION:
  case KM_ERR_RELAY_PROTOCOL:
  case KM_ERR_RELAY_DENIED:
  case KM_ERR_RELAY_TLS:
  case KM_ERR_RELAY_UNREACHABLE:
  case KM_ERR_RELAY_HTTP:
  case KM_ERR_RELAY_LOST:
    return CLI_EXIT_UNREACHABLE;
  case KM_ERR_WRONG_PEER:
    return CLI_EXIT_WRONG_KEY;
  case KM_ERR_ALPN_REFUSED:
    return CLI_EXIT_ALPN;
  case KM_ERR_IDLE_TIMEOUT:
  case KM_ERR_RESET_BY_PEER:
  case KM_ERR_CLOSED_BY_PEER:
  case KM_ERR_STREAM_RESET:
  case KM_ERR_STREAM_STOPPED:
  case KM_ERR_TRANSPORT:
    return CLI_EXIT_LOST;
  default:
    return CLI_EXIT_FAILED;
  }
}
