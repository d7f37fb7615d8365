/* Files of services on all platforms. That systemd and Python's plistlib read them too is for
 * project_test.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "cmd/node/project/service_files.h"
#include "cmd/node/project/service_place.h"
#include "test/base/test_env.h"

static service_spec plain(void) {
  return (service_spec){.name = "km-node",
                        .program = "/usr/bin/km-node",
                        .config = "/home/a/mesh/keymesh.yaml",
                        .node_id = "host-A",
                        .writable = {"/home/a/mesh", "/var/log/my node"},
                        .log_file = "/home/a/mesh/logs/a.log"};
}

static void has(const char *text, const char *wanted) {
  if (strstr(text, wanted) == NULL) {
    fail_msg("'%s' is not in:\n%s", wanted, text);
  }
}

static void lacks(const char *text, const char *unwanted) {
  if (strstr(text, unwanted) != NULL) {
    fail_msg("'%s' is in:\n%s", unwanted, text);
  }
}

typedef int make(char **ret, const service_spec *s, km_errinfo *err);

static char *made(make *fn, const service_spec *s) {
  char *text = NULL;
  km_errinfo err = {0};
  if (fn(&text, s, &err) != 0) {
    fail_msg("%s", err.text);
  }
  return text;
}

static void done(char *text) {
  km_env_free(&km_env_system, text);
}

/* --- systemd --------------------------------------------------------------------------------- */

static void test_systemd_user(void **state) {
  (void)state;
  service_spec s = plain();
  char *text = made(service_systemd, &s);
  has(text, "Description=KeyMesh node host-A\n");
  has(text, "\nType=notify\n");
  has(text, "\nExecStart=\":/usr/bin/km-node\" run --config \"/home/a/mesh/keymesh.yaml\"\n");
  has(text, "\nExecReload=\":/usr/bin/km-node\" reload --config \"/home/a/mesh/keymesh.yaml\"\n");
  has(text, "\nRestart=on-failure\n");
  has(text, "\nStartLimitIntervalSec=0\n\n[Service]\n"); /* of [Unit] */
  has(text, "\nNoNewPrivileges=yes\n");
  has(text, "\nMemoryDenyWriteExecute=yes\n");
  has(text, "\nSystemCallFilter=@system-service\n");
  has(text, "\nWantedBy=default.target\n");
  /* What a user's manager cannot do, or does not know. */
  lacks(text, "User=");
  lacks(text, "network-online");
  lacks(text, "ProtectSystem");
  lacks(text, "CapabilityBoundingSet");
  done(text);
}

static void test_systemd_system(void **state) {
  (void)state;
  service_spec s = plain();
  s.system = true;
  s.user = "mesh";
  char *text = made(service_systemd, &s);
  has(text, "\nUser=mesh\n");
  has(text, "\nAfter=network-online.target\n");
  has(text, "\nProtectSystem=strict\n");
  has(text, "\nProtectHome=read-only\n");
  has(text, "\nReadWritePaths=\"/home/a/mesh\" \"-/var/log/my node\"\n"); /* may be missing */
  has(text, "\nPrivateTmp=yes\n");
  has(text, "\nCapabilityBoundingSet=\n");
  has(text, "\nWantedBy=multi-user.target\n");
  lacks(text, "CAP_NET_BIND_SERVICE");
  done(text);
  s.low_port = true;
  s.user = NULL;
  text = made(service_systemd, &s);
  has(text, "\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n");
  lacks(text, "User=");
  done(text);
}

/* A /tmp of the service's own would hide what lies in the real one. */
static void test_systemd_tmp(void **state) {
  (void)state;
  service_spec in_tmp[] = {plain(), plain(), plain(), plain(), plain()};
  in_tmp[0].program = "/tmp/km-node";
  in_tmp[1].config = "/var/tmp/a.yaml";
  in_tmp[2].writable[1] = "/tmp";
  in_tmp[3].writable[0] = "/var/tmp/mesh";
  in_tmp[4].config = "/tmpfs/a.yaml";
  for (size_t i = 0; i < 5; i++) {
    in_tmp[i].system = true;
    char *text = made(service_systemd, &in_tmp[i]);
    assert_int_equal(strstr(text, "PrivateTmp=yes") != NULL, i == 4);
    done(text);
  }
}

static void test_systemd_hooks(void **state) {
  (void)state;
  service_spec s = plain();
  s.runs_hooks = true;
  char *text = made(service_systemd, &s);
  lacks(text, "MemoryDenyWriteExecute");
  lacks(text, "SystemCallFilter");
  has(text, "\nNoNewPrivileges=yes\n");
  done(text);
}

static void test_systemd_escapes(void **state) {
  (void)state;
  service_spec s = plain();
  s.program = "/opt/my \"node\"/100%/km-node";
  s.config = "/home/$USER/a\\b%h 'c'/keymesh.yaml";
  s.node_id = "50% \\";
  s.writable[0] = "/home/%h";
  s.system = true;
  char *text = made(service_systemd, &s);
  has(text, "\nExecStart=\":/opt/my \\\"node\\\"/100%%/km-node\" run --config "
            "\"/home/$USER/a\\\\b%%h 'c'/keymesh.yaml\"\n");
  has(text, "Description=KeyMesh node 50%% /\n"); /* the next line is not taken in */
  has(text, "ReadWritePaths=\"/home/%%h\" ");
  done(text);
}

/* --- launchd --------------------------------------------------------------------------------- */

static void test_launchd(void **state) {
  (void)state;
  service_spec s = plain();
  s.config = "/Users/a/<mesh> & \"more\"/keymesh.yaml";
  char *text = made(service_launchd, &s);
  has(text, "<key>Label</key>\n  <string>org.keymesh.km-node</string>\n");
  has(text, "    <string>/usr/bin/km-node</string>\n    <string>run</string>\n"
            "    <string>--config</string>\n"
            "    <string>/Users/a/&lt;mesh&gt; &amp; \"more\"/keymesh.yaml</string>\n");
  has(text, "<key>StandardErrorPath</key>\n  <string>/home/a/mesh/logs/a.log</string>\n");
  has(text, "<key>RunAtLoad</key>\n  <true/>\n");
  has(text, "<key>SuccessfulExit</key>\n    <false/>\n");
  lacks(text, "UserName");
  done(text);
  s.system = true;
  s.user = "mesh";
  s.log_file = NULL;
  text = made(service_launchd, &s);
  has(text, "<key>UserName</key>\n  <string>mesh</string>\n");
  lacks(text, "StandardErrorPath");
  done(text);
}

/* --- Windows --------------------------------------------------------------------------------- */

static void test_windows_cmd(void **state) {
  (void)state;
  service_spec s = plain();
  s.program = "C:\\Program Files\\KeyMesh\\km-node.exe";
  s.config = "C:\\Users\\a & b\\100%\\keymesh.yaml";
  char *text = made(service_windows_cmd, &s);
  has(text, "@echo off\r\n");
  has(text, "\r\nstart \"km-node\" /min \"C:\\Program Files\\KeyMesh\\km-node.exe\" run --config "
            "\"C:\\Users\\a & b\\100%%\\keymesh.yaml\"\r\n");
  for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++) {
    assert_int_equal(p[-1], '\r');
  }
  done(text);
}

static void test_windows_reg(void **state) {
  (void)state;
  service_spec s = plain();
  s.program = "C:\\km node.exe";
  s.config = "D:\\100%\\k.yaml";
  char *text = made(service_windows_reg, &s);
  has(text, "Windows Registry Editor Version 5.00\r\n\r\n[HKEY_LOCAL_MACHINE\\");
  has(text, "\r\n\"km-node\"=\"\\\"C:\\\\km node.exe\\\" run --config "
            "\\\"D:\\\\100%\\\\k.yaml\\\"\"\r\n");
  done(text);
  /* Beyond ASCII: as the bytes of UTF-16, which no encoding of the file can change. */
  s.program = "C:\\\xc3\xa4";
  s.config = "\xf0\x9f\x94\x91";
  text = made(service_windows_reg, &s);
  has(text, "\"km-node\"=hex(1):22,00,43,00,3a,00,5c,00,e4,00,22,00,20,00,");
  has(text, "22,00,3d,d8,11,dd,22,00,00,00\r\n");
  done(text);
}

/* --- refused --------------------------------------------------------------------------------- */

static void refused(make *fn, const service_spec *s, const char *word) {
  char *text = NULL;
  km_errinfo err = {0};
  assert_int_equal(fn(&text, s, &err), KM_ERR_INVALID);
  has(err.text, word);
  assert_null(text);
}

static void test_refused(void **state) {
  (void)state;
  static make *const all[] = {service_systemd, service_launchd, service_windows_cmd,
                              service_windows_reg};
  for (size_t i = 0; i < 4; i++) {
    service_spec s = plain();
    s.config = "/a\nExecStart=/bin/sh";
    refused(all[i], &s, "configuration's path");
    s = plain();
    s.program = "/a\xff";
    refused(all[i], &s, "program's path");
    s = plain();
    s.node_id = "a\x1b[2J";
    refused(all[i], &s, "node's name");
    s = plain();
    s.name = "../x";
    refused(all[i], &s, "service's name");
  }
  service_spec s = plain();
  s.program = "C:\\a\" & calc \"";
  refused(service_windows_cmd, &s, "path of Windows");
  refused(service_windows_reg, &s, "path of Windows");
}

static void test_names(void **state) {
  (void)state;
  assert_true(service_name_is_good("km-node") && service_name_is_good("A.b_1"));
  assert_false(service_name_is_good("") || service_name_is_good("-x") ||
               service_name_is_good("a b") || service_name_is_good("a/b") ||
               service_name_is_good("a@b"));
}

/* --- places ---------------------------------------------------------------------------------- */

static void check_place(service_platform platform, bool system, const service_home *home,
                        const char *wanted) {
  char *path = NULL;
  km_errinfo err = {0};
  int rv = service_place(&path, platform, system, "n", home, &err);
  if (wanted == NULL) {
    assert_int_equal(rv, KM_ERR_NOT_FOUND);
    has(err.text, "is not set");
    return;
  }
  assert_int_equal(rv, 0);
  assert_string_equal(path, wanted);
  done(path);
}

static void test_places(void **state) {
  (void)state;
  const service_home home = {"/home/a", NULL, "C:\\Users\\a\\AppData\\Roaming"};
  const service_home xdg = {"/home/a", "/cfg", NULL}, relative = {"/home/a", "cfg", NULL};
  const service_home none = {NULL, NULL, NULL}, empty = {"", "", ""};
  check_place(SERVICE_LINUX, false, &home, "/home/a/.config/systemd/user/n.service");
  check_place(SERVICE_LINUX, false, &xdg, "/cfg/systemd/user/n.service");
  check_place(SERVICE_LINUX, false, &relative, "/home/a/.config/systemd/user/n.service");
  check_place(SERVICE_LINUX, true, &none, "/etc/systemd/system/n.service");
  check_place(SERVICE_MACOS, false, &xdg, "/home/a/Library/LaunchAgents/org.keymesh.n.plist");
  check_place(SERVICE_MACOS, true, &none, "/Library/LaunchDaemons/org.keymesh.n.plist");
  check_place(SERVICE_WINDOWS, false, &home,
              "C:\\Users\\a\\AppData\\Roaming\\Microsoft\\Windows\\Start Menu\\Programs\\Startup\\"
              "n.cmd");
  check_place(SERVICE_WINDOWS, true, &none, "C:\\ProgramData\\KeyMesh\\n.reg");
  for (int platform = SERVICE_LINUX; platform <= SERVICE_WINDOWS; platform++) {
    check_place((service_platform)platform, false, &none, NULL);
    check_place((service_platform)platform, false, &empty, NULL);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_systemd_user),    cmocka_unit_test(test_systemd_system),
      cmocka_unit_test(test_systemd_tmp),     cmocka_unit_test(test_systemd_hooks),
      cmocka_unit_test(test_systemd_escapes), cmocka_unit_test(test_launchd),
      cmocka_unit_test(test_windows_cmd),     cmocka_unit_test(test_windows_reg),
      cmocka_unit_test(test_refused),         cmocka_unit_test(test_names),
      cmocka_unit_test(test_places),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
