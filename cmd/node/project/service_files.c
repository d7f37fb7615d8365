#include "cmd/node/project/service_files.h"

#include <string.h>

#include "base/env.h"
#include "base/text.h"
#include "cmd/node/project/paths.h"
#include "cmd/node/project/service_text.h"

bool service_name_is_good(const char *name) {
  size_t len = strlen(name);
  size_t good = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
  return len > 0 && len <= 64 && good == len && strchr("._-", name[0]) == NULL;
}

/* --- what no file can hold ------------------------------------------------------------------- */

static int check_text(const char *text, const char *what, km_errinfo *err) {
  size_t left = strlen(text);
  while (left > 0) {
    size_t n = km_utf8_sequence(text, left);
    if (n == 0 || km_utf8_is_control(text, n)) {
      return km_fail(err, KM_ERR_INVALID, "%s has characters in it that no service's file can hold",
                     what);
    }
    text += n;
    left -= n;
  }
  return 0;
}

static int check_spec(const service_spec *s, km_errinfo *err) {
  if (!service_name_is_good(s->name)) {
    return km_fail(err, KM_ERR_INVALID,
                   "a service's name has 1 to 64 of a-z A-Z 0-9 . _ - and "
                   "begins with a letter or digit");
  }
  int rv = check_text(s->program, "the program's path", err);
  rv = rv != 0 ? rv : check_text(s->config, "the configuration's path", err);
  rv = rv != 0 ? rv : check_text(s->node_id, "the node's name", err);
  rv = rv != 0 || s->user == NULL ? rv : check_text(s->user, "the user's name", err);
  rv = rv != 0 || s->log_file == NULL ? rv : check_text(s->log_file, "the log file's path", err);
  for (size_t i = 0; rv == 0 && i < SERVICE_WRITABLE_MAX && s->writable[i] != NULL; i++) {
    rv = check_text(s->writable[i], "a folder's path", err);
  }
  return rv;
}

/* --- systemd --------------------------------------------------------------------------------- */

/* A word in quotes as systemd.syntax(7) and systemd.unit(5) want it. */
static void add_systemd_word(text_out *t, const char *prefix, const char *word) {
  text_add_char(t, '"');
  text_add(t, prefix);
  for (const char *p = word; *p != '\0'; p++) {
    if (*p == '"' || *p == '\\') {
      text_add_char(t, '\\');
    }
    if (*p == '%') {
      text_add_char(t, '%');
    }
    text_add_char(t, *p);
  }
  text_add_char(t, '"');
}

/* The rest of a line that is no list of words. */
static void add_systemd_line(text_out *t, const char *text) {
  for (const char *p = text; *p != '\0'; p++) {
    if (*p == '%') {
      text_add_char(t, '%');
    }
    text_add_char(t, *p == '\\' ? '/' : *p); /* at the end it would take the next line in */
  }
}

static void add_systemd_command(text_out *t, const char *key, const char *command,
                                const service_spec *s) {
  text_addf(t, "%s=", key);
  add_systemd_word(t, ":", s->program); /* ":": no variables are put in for $ */
  text_addf(t, " %s --config ", command);
  add_systemd_word(t, "", s->config);
  text_add(t, "\n");
}

static void add_systemd_head(text_out *t, const service_spec *s) {
  text_add(t, "# Written by km-node install. Settings of your own: systemctl ");
  text_addf(t, "%sedit %s\n[Unit]\nDescription=KeyMesh node ", s->system ? "" : "--user ", s->name);
  add_systemd_line(t, s->node_id);
  text_add(t, "\nDocumentation=man:km-node-run(1)\n");
  if (s->system) { /* a user's manager knows no such target */
    text_add(t, "Wants=network-online.target\nAfter=network-online.target\n");
  }
  text_add(t, "# An address may come late: it is tried again for as long as it takes.\n"
              "StartLimitIntervalSec=0\n\n[Service]\nType=notify\n");
  add_systemd_command(t, "ExecStart", "run", s);
  add_systemd_command(t, "ExecReload", "reload", s); /* fails for a configuration that is wrong */
  text_add(t, "Restart=on-failure\nRestartSec=2\nWatchdogSec=30\nTimeoutStopSec=15\n");
  if (s->system && s->user != NULL) {
    text_addf(t, "User=%.64s\n", s->user);
  }
}

/* What works for every service. */
static void add_systemd_hardening(text_out *t, const service_spec *s) {
  text_add(t, "\nNoNewPrivileges=yes\nRestrictNamespaces=yes\nRestrictRealtime=yes\n"
              "RestrictSUIDSGID=yes\nLockPersonality=yes\nUMask=0077\n"
              "# UNIX: for systemd and the resolver; NETLINK: for addresses of interfaces.\n"
              "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK\n"
              "SystemCallArchitectures=native\n");
  if (s->runs_hooks) {
    text_add(t, "# hooks.on_message runs commands of yours: memory and system calls are theirs.\n");
    return;
  }
  text_add(t, "MemoryDenyWriteExecute=yes\n"
              "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources\n"
              "SystemCallFilter=setrlimit prlimit64\nSystemCallErrorNumber=EPERM\n");
}

static bool is_in_tmp(const char *path) {
  return path_is_inside("/tmp", path) || path_is_inside("/var/tmp", path);
}

/* A /tmp of its own would hide these. */
static bool needs_tmp(const service_spec *s) {
  bool needed = is_in_tmp(s->program) || is_in_tmp(s->config);
  for (size_t i = 0; i < SERVICE_WRITABLE_MAX && s->writable[i] != NULL; i++) {
    needed = needed || is_in_tmp(s->writable[i]);
  }
  return needed;
}

/* The first is the project's and has to be there. Of others the node itself says best that they are
 * missing. */
static void add_systemd_writable(text_out *t, const service_spec *s) {
  text_add(t, "ReadWritePaths=");
  for (size_t i = 0; i < SERVICE_WRITABLE_MAX && s->writable[i] != NULL; i++) {
    text_add(t, i == 0 ? "" : " ");
    add_systemd_word(t, i == 0 ? "" : "-", s->writable[i]);
  }
  text_add(t, "\n");
}

/* What only the machine's manager can do. */
static void add_systemd_sandbox(text_out *t, const service_spec *s) {
  text_addf(t, "%s",
            s->low_port ? "\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n"
                          "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n"
                        : "\nCapabilityBoundingSet=\n");
  text_add(t, "ProtectSystem=strict\nProtectHome=read-only\nPrivateDevices=yes\n"
              "ProtectProc=invisible\nProtectClock=yes\nProtectHostname=yes\n"
              "ProtectKernelTunables=yes\nProtectKernelModules=yes\nProtectKernelLogs=yes\n"
              "ProtectControlGroups=yes\nRemoveIPC=yes\n");
  text_add(t, needs_tmp(s) ? "" : "PrivateTmp=yes\n");
  add_systemd_writable(t, s);
}

int service_systemd(char **ret, const service_spec *s, km_errinfo *err) {
  text_out t = {0};
  int rv = check_spec(s, err);
  if (rv != 0) {
    return rv;
  }
  add_systemd_head(&t, s);
  if (s->system) {
    add_systemd_sandbox(&t, s);
  }
  add_systemd_hardening(&t, s);
  text_addf(&t, "\n[Install]\nWantedBy=%s\n", s->system ? "multi-user.target" : "default.target");
  return text_take(&t, ret, err);
}

/* --- launchd --------------------------------------------------------------------------------- */

static void add_xml(text_out *t, const char *text) {
  for (const char *p = text; *p != '\0'; p++) {
    switch (*p) {
    case '&':
      text_add(t, "&amp;");
      break;
    case '<':
      text_add(t, "&lt;");
      break;
    case '>':
      text_add(t, "&gt;");
      break;
    default:
      text_add_char(t, *p);
    }
  }
}

static void add_plist_text(text_out *t, const char *indent, const char *key, const char *prefix,
                           const char *text) {
  if (key != NULL) {
    text_addf(t, "%s<key>%s</key>\n", indent, key);
  }
  text_addf(t, "%s<string>%s", indent, prefix);
  add_xml(t, text);
  text_add(t, "</string>\n");
}

int service_launchd(char **ret, const service_spec *s, km_errinfo *err) {
  text_out t = {0};
  int rv = check_spec(s, err);
  if (rv != 0) {
    return rv;
  }
  text_add(&t, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
               "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" "
               "\"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n"
               "<plist version=\"1.0\">\n<dict>\n");
  add_plist_text(&t, "  ", "Label", "org.keymesh.", s->name);
  text_add(&t, "  <key>ProgramArguments</key>\n  <array>\n");
  add_plist_text(&t, "    ", NULL, "", s->program);
  add_plist_text(&t, "    ", NULL, "", "run");
  add_plist_text(&t, "    ", NULL, "", "--config");
  add_plist_text(&t, "    ", NULL, "", s->config);
  text_add(&t, "  </array>\n");
  if (s->system && s->user != NULL) {
    add_plist_text(&t, "  ", "UserName", "", s->user);
  }
  if (s->log_file != NULL) {
    add_plist_text(&t, "  ", "StandardErrorPath", "", s->log_file);
  }
  text_add(&t, "  <key>RunAtLoad</key>\n  <true/>\n"
               "  <key>KeepAlive</key>\n  <dict>\n"
               "    <key>SuccessfulExit</key>\n    <false/>\n  </dict>\n"
               "  <key>ProcessType</key>\n  <string>Background</string>\n"
               "  <key>Umask</key>\n  <integer>63</integer>\n" /* 0077 */
               "</dict>\n</plist>\n");
  return text_take(&t, ret, err);
}

/* --- Windows --------------------------------------------------------------------------------- */

static int check_windows(const service_spec *s, km_errinfo *err) {
  int rv = check_spec(s, err);
  if (rv == 0 &&
      (strpbrk(s->program, "\"*?<>|") != NULL || strpbrk(s->config, "\"*?<>|") != NULL)) {
    rv = km_fail(err, KM_ERR_INVALID, "a path of Windows cannot have any of \" * ? < > | in it");
  }
  return rv;
}

/* In quotes a batch file reads all but the percent sign as it is. */
static void add_cmd_word(text_out *t, const char *word) {
  text_add_char(t, '"');
  for (const char *p = word; *p != '\0'; p++) {
    text_add(t, *p == '%' ? "%" : "");
    text_add_char(t, *p);
  }
  text_add_char(t, '"');
}

int service_windows_cmd(char **ret, const service_spec *s, km_errinfo *err) {
  text_out t = {0};
  int rv = check_windows(s, err);
  if (rv != 0) {
    return rv;
  }
  text_add(&t, "@echo off\r\n"
               "rem Written by km-node install. Delete this file to undo it.\r\n"
               "setlocal DisableDelayedExpansion\r\n"
               "chcp 65001 >nul\r\n");
  text_addf(&t, "start \"%s\" /min ", s->name);
  add_cmd_word(&t, s->program);
  text_add(&t, " run --config ");
  add_cmd_word(&t, s->config);
  text_add(&t, "\r\n");
  return text_take(&t, ret, err);
}

/* The code point at *at, which is UTF-8 that was checked; moves on. */
static uint32_t next_code(const char **at) {
  size_t n = km_utf8_sequence(*at, strlen(*at));
  const uint8_t *p = (const uint8_t *)*at;
  uint32_t code = n == 1 ? p[0] : p[0] & (0x7fu >> n);
  for (size_t i = 1; i < n; i++) {
    code = code << 6 | (p[i] & 0x3f);
  }
  *at += n;
  return code;
}

static void add_utf16(text_out *t, uint32_t unit) {
  text_addf(t, "%02x,%02x,", unit & 0xff, unit >> 8);
}

/* A value as its bytes: the only form that does not depend on the file's encoding. */
static void add_reg_bytes(text_out *t, const char *text) {
  text_add(t, "hex(1):");
  while (*text != '\0') {
    uint32_t code = next_code(&text);
    if (code >= 0x10000) {
      add_utf16(t, 0xd800 + ((code - 0x10000) >> 10));
      code = 0xdc00 + ((code - 0x10000) & 0x3ff);
    }
    add_utf16(t, code);
  }
  text_add(t, "00,00");
}

static void add_reg_text(text_out *t, const char *text) {
  text_add_char(t, '"');
  for (const char *p = text; *p != '\0'; p++) {
    text_add(t, *p == '"' || *p == '\\' ? "\\" : "");
    text_add_char(t, *p);
  }
  text_add_char(t, '"');
}

static bool is_ascii(const char *text) {
  while (*text != '\0' && (uint8_t)*text < 0x80) {
    text++;
  }
  return *text == '\0';
}

int service_windows_reg(char **ret, const service_spec *s, km_errinfo *err) {
  text_out t = {0}, command = {0};
  char *line = NULL;
  int rv = check_windows(s, err);
  if (rv != 0) {
    return rv;
  }
  text_add(&command, "\"");
  text_add(&command, s->program);
  text_add(&command, "\" run --config \"");
  text_add(&command, s->config);
  text_add(&command, "\"");
  rv = text_take(&command, &line, err);
  if (rv != 0) {
    return rv;
  }
  text_add(&t, "Windows Registry Editor Version 5.00\r\n\r\n"
               "[HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Run]\r\n");
  text_addf(&t, "\"%s\"=", s->name);
  if (is_ascii(line)) {
    add_reg_text(&t, line);
  } else {
    add_reg_bytes(&t, line);
  }
  text_add(&t, "\r\n");
  km_env_free(&km_env_system, line);
  return text_take(&t, ret, err);
}
