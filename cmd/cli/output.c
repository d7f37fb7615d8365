#include "cmd/cli/output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"

#define SAY_MAX (KM_TICKET_MAX + 256) /* a line with the longest ticket */

void cli_output_init(cli_output *out, bool json) {
  *out = (cli_output){.json = json};
  /* Whole lines at once, also into a pipe: who reads wants them when they happen. */
  (void)setvbuf(stdout, NULL, _IOLBF, 0);
}

/* --- text ------------------------------------------------------------------------------------ */

/* What may come from a stranger must not steer the terminal. In place: it never gets longer. */
static void clean(char *text) {
  size_t left = strlen(text), used = 0;
  const char *p = text;
  while (left > 0) {
    size_t n = km_utf8_sequence(p, left);
    bool bad = n == 0 || (km_utf8_is_control(p, n) && p[0] != '\n') || km_utf8_is_hidden(p, n);
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

static void put_line(const cli_output *out, const char *text) {
  if (out->line != NULL) {
    out->line(out->ctx, text);
  } else {
    (void)puts(text);
  }
}

void cli_emit_to(const cli_output *out, cJSON *event) {
  char *line = event == NULL ? NULL : cJSON_PrintUnformatted(event);
  if (line != NULL) {
    put_line(out, line);
    cJSON_free(line);
  }
  cJSON_Delete(event);
}

void cli_emit(cJSON *event) {
  const cli_output standard = {.json = true};
  cli_emit_to(&standard, event);
}

void cli_add_bytes(cJSON *event, const char *name, const void *bytes, size_t len) {
  char *text = malloc(2 * len + 1);
  if (text == NULL) {
    return;
  }
  if (km_text_is_utf8(bytes, len)) {
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
  put_line(out, text);
}

bool cli_watched(const cli_output *out) {
  return !out->json && isatty(STDERR_FILENO) != 0;
}

/* Hints that speak of functions and their arguments. */
static bool for_programmers(int code) {
  return code == KM_ERR_INVALID || code == KM_ERR_STATE || code == KM_ERR_LIMIT;
}

/* Of a file system that is read-only, and of a port, owner and mode are not to blame. What is not
 * there, or there already, is named by a sentence of its own, with what to do. */
static bool is_beside(const km_errinfo *err) {
  switch (err->code) {
  case KM_ERR_PERMISSION:
    return err->sys_errno == EROFS || strstr(err->text, "(ports below 1024") != NULL;
  case KM_ERR_NOT_FOUND:
  case KM_ERR_FILE_EXISTS:
    return err->sys_errno == 0 && err->text[0] != '\0' &&
           strcmp(err->text, km_strerror(err->code)) != 0;
  default:
    return false;
  }
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
  bool said = hint[0] == '\0' || is_beside(err) || strstr(err->text, hint) != NULL;
  if (!said && !for_programmers(err->code)) {
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
  case KM_ERR_KEY_SEALED:
  case KM_ERR_FILE_NOT_FOUND:
  case KM_ERR_FILE_EXISTS:
  case KM_ERR_ADDR_IN_USE:
  case KM_ERR_ADDR_NOT_AVAILABLE:
    return CLI_EXIT_USAGE;
  case KM_ERR_UNREACHABLE:
  case KM_ERR_NO_ADDRESS:
  case KM_ERR_NOT_FOUND:
  case KM_ERR_DNS:
  case KM_ERR_SERVER_UNREACHABLE:
  case KM_ERR_SERVER_HTTP:
  case KM_ERR_SERVER_TLS:
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
