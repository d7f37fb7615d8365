/* Looking ids up by DNS: a name server that is hostile on demand, and a real one (named, of bind9)
 * where it is installed. */
#include <keymesh/discovery.h>
#include <keymesh/record.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "discovery/details.h"
#include "discovery/dns_source_io.h"
#include "test/discovery/net_lab.h"

static lab_peer server;
static km_secret_key *key;
static km_id id;
static char z32[KM_ID_TEXT_CAP];
static uint8_t record[KM_RECORD_BYTES_MAX];
static int record_len;
static km_discovery *d;

/* --- helpers --------------------------------------------------------------------------------- */

static int start_server(void **state) {
  (void)state;
  static const uint8_t seed[KM_SECRET_KEY_BYTES] = "a key of the tests of discovery";
  char attribute[KM_RECORD_ATTRIBUTE_CAP];
  const km_record r = {.size = sizeof r, .name = "me", .issued_s = 1000, .expires_s = 1300};
  assert_int_equal(km_secret_key_from_bytes(&key, seed), 0);
  km_secret_key_id(key, &id);
  (void)km_id_format(&id, KM_ID_Z32, z32, sizeof z32);
  record_len = km_record_sign(&r, key, record, NULL);
  assert_true(record_len > 0);
  (void)km_record_attribute(attribute, record, (size_t)record_len);
  const char *args[] = {"--record", attribute, NULL};
  lab_peer_start(&server, "hostile_dns.py", args);
  return 0;
}

static int stop_server(void **state) {
  (void)state;
  lab_peer_stop(&server);
  km_secret_key_free(key);
  return 0;
}

static int start(void **state) {
  (void)lab_peer_lines(&server, "");
  int rv = lab_setup(state);
  const km_discovery_options options = {.size = sizeof options};
  return rv != 0 ? rv : km_discovery_new(&d, lab_loop, &options, NULL);
}

static int stop(void **state) {
  km_discovery_free(d);
  return lab_teardown(state);
}

static const char *address(int port) {
  static char texts[4][32];
  static unsigned next;
  char *text = texts[next++ % COUNT_OF(texts)];
  (void)snprintf(text, sizeof texts[0], "127.0.0.1:%d", port);
  return text;
}

static void add_dns(const char *const *origins, const char *const *servers, uint32_t timeout_ms) {
  km_dns_options options = {
      .size = sizeof options, .origins = origins, .servers = servers, .timeout_ms = timeout_ms};
  km_errinfo err = {0};
  while (origins[options.origin_count] != NULL) {
    options.origin_count++;
  }
  while (servers[options.server_count] != NULL) {
    options.server_count++;
  }
  if (km_discovery_add_dns(d, &options, &err) != 0) {
    fail_msg("%s", err.text);
  }
}

static void add_origin(const char *origin, uint32_t timeout_ms) {
  add_dns((const char *[]){origin, NULL}, (const char *[]){address(server.port), NULL}, timeout_ms);
}

typedef struct seen {
  unsigned found, done;
  size_t udps, relays;
  char user_data[KM_USER_DATA_MAX + 1];
  size_t record_len;
  uint8_t record[KM_RECORD_BYTES_MAX];
  uint32_t valid_s, age_s;
  km_errinfo err;
} seen;

static void on_found(void *ctx, km_lookup *lookup, const km_found *found) {
  (void)lookup;
  seen *s = ctx;
  s->found++;
  assert_string_equal(found->source, "dns");
  assert_false(found->proven);
  assert_true(km_id_equal(km_addr_id(found->addr), &id));
  s->udps = km_addr_udp_count(found->addr);
  s->relays = km_addr_relay_count(found->addr);
  if (found->user_data != NULL) {
    assert_string_not_equal(found->user_data, "forged");
  }
  (void)snprintf(s->user_data, sizeof s->user_data, "%s",
                 found->user_data != NULL ? found->user_data : "");
  s->record_len = found->record_len;
  if (found->record_len > 0) {
    memcpy(s->record, found->record, found->record_len);
  }
  s->valid_s = found->valid_s;
  s->age_s = found->age_s;
}

static void on_done(void *ctx, km_lookup *lookup, size_t found, const km_errinfo *err) {
  (void)lookup;
  (void)found;
  seen *s = ctx;
  s->done++;
  s->err = *err;
}

static const km_lookup_callbacks callbacks = {
    .size = sizeof callbacks, .on_found = on_found, .on_done = on_done};

static km_lookup *begin(seen *s) {
  km_lookup *lookup;
  *s = (seen){0};
  assert_int_equal(km_discovery_lookup(d, &lookup, &id, &callbacks, s, NULL), 0);
  return lookup;
}

static seen look_up(void) {
  seen s;
  (void)begin(&s);
  LAB_UNTIL(s.done > 0);
  assert_int_equal(s.done, 1);
  return s;
}

/* Questions about the attributes since the last call. */
static unsigned questions(const char *how) {
  char line[128];
  (void)snprintf(line, sizeof line, "%s _iroh.%s", how, z32);
  return lab_peer_lines(&server, line);
}

/* --- answers --------------------------------------------------------------------------------- */

static void an_answer_is_found(void **state) {
  (void)state;
  add_origin("good.test.", 0);
  seen s = look_up();
  assert_in_range(s.found, 1, 2);
  assert_string_equal(s.user_data, "good");
  assert_int_equal(s.udps, 1);
  assert_in_range(s.valid_s, 1, 60);
  assert_int_equal(s.err.code, 0);
  assert_int_equal(s.record_len, record_len); /* whichever of the two answers was first */
  assert_memory_equal(s.record, record, s.record_len);
}

static void a_late_record_is_told_later(void **state) {
  (void)state;
  seen s;
  add_origin("late-record.test", 0);
  (void)begin(&s);
  LAB_UNTIL(s.found == 1);
  assert_int_equal(s.record_len, 0);
  assert_string_equal(s.user_data, "late-record");
  LAB_UNTIL(s.done > 0);
  assert_int_equal(s.found, 2);
  assert_int_equal(s.record_len, record_len);
  assert_string_equal(s.user_data, "late-record");
}

static void a_record_that_does_not_come_is_not_waited_for(void **state) {
  (void)state;
  add_origin("no-record.test", 0);
  seen s = look_up();
  assert_int_equal(s.found, 1);
  assert_int_equal(s.err.code, 0);
}

static void answers_are_kept_for_their_time(void **state) {
  (void)state;
  add_origin("good.test", 0);
  assert_string_equal(look_up().user_data, "good");
  (void)questions("udp");
  for (unsigned i = 0; i < 5; i++) {
    seen s = look_up();
    assert_string_equal(s.user_data, "good");
    assert_int_equal(s.record_len, record_len);
    assert_in_range(s.valid_s, 1, 60);
  }
  assert_int_equal(questions("udp"), 0);
}

static void answers_die_with_their_time(void **state) {
  (void)state;
  add_origin("short.test", 0);
  assert_string_equal(look_up().user_data, "short");
  (void)questions("udp");
  lab_run_ms(1200);
  assert_string_equal(look_up().user_data, "short");
  assert_true(questions("udp") > 0);
}

static void answers_without_time_are_not_kept(void **state) {
  (void)state;
  add_origin("zero.test", 0);
  assert_string_equal(look_up().user_data, "zero");
  (void)questions("udp");
  seen s = look_up();
  assert_string_equal(s.user_data, "zero");
  assert_int_equal(s.valid_s, 0);
  assert_true(questions("udp") > 0);
}

static void what_is_absent_is_believed_for_a_moment(void **state) {
  (void)state;
  add_origin("nxdomain.test", 0);
  seen s = look_up();
  assert_int_equal(s.found, 0);
  assert_int_equal(s.err.code, KM_ERR_NOT_FOUND);
  assert_int_equal(questions("udp"), 1);
  assert_int_equal(look_up().err.code, KM_ERR_NOT_FOUND);
  assert_int_equal(questions("udp"), 0);
}

/* A stranger's TXT record counts as none: it is not believed for longer, whatever it says. */
static void what_is_of_no_use_is_absent(void **state) {
  (void)state;
  add_origin("policy.test", 0);
  assert_int_equal(look_up().err.code, KM_ERR_NOT_FOUND);
  assert_int_equal(look_up().err.code, KM_ERR_NOT_FOUND); /* not asked again at once */
  assert_int_equal(questions("udp"), 1);
  lab_run_ms(10200);
  assert_string_equal(look_up().user_data, "policy");
}

static void aliases_are_followed(void **state) {
  (void)state;
  add_origin("alias.test", 0);
  seen s = look_up();
  assert_string_equal(s.user_data, "alias");
  assert_in_range(s.valid_s, 1, 20); /* the alias' own */
}

static void truncated_answers_are_fetched_over_tcp(void **state) {
  (void)state;
  add_origin("tc.test", 0);
  seen s = look_up();
  assert_string_equal(s.user_data, "tc");
  assert_int_equal(s.udps, 30);
  assert_true(questions("tcp") > 0);
}

static void questions_are_repeated(void **state) {
  (void)state;
  add_origin("drop.test", 0);
  seen s = look_up();
  assert_string_equal(s.user_data, "drop");
  assert_true(questions("udp") >= 4);
}

/* --- lies ------------------------------------------------------------------------------------ */

/* The truth comes after the lie; on_found fails the test where a lie is told. */
static void forged_answers_are_not_believed(void **state) {
  (void)state;
  static const char *const origins[] = {"wrong-id.test", "wrong-question.test", "wrong-type.test",
                                        "wrong-source.test"};
  for (size_t i = 0; i < COUNT_OF(origins); i++) {
    void *unused = NULL;
    add_origin(origins[i], 0);
    seen s = look_up();
    if (s.found == 0 || strncmp(s.user_data, origins[i], strlen(s.user_data)) != 0) {
      fail_msg("%s: %u '%s' %s", origins[i], s.found, s.user_data, s.err.text);
    }
    (void)stop(&unused);
    (void)start(&unused);
  }
}

static void broken_answers_are_survived(void **state) {
  (void)state;
  static const struct {
    const char *origin;
    int code;
  } cases[] = {{"garbage.test", 0},
               {"wrong-owner.test", KM_ERR_NOT_FOUND},
               {"nodata.test", KM_ERR_NOT_FOUND},
               {"circle.test", KM_ERR_NOT_FOUND},
               {"no-question.test", KM_ERR_DNS},
               {"loop.test", KM_ERR_DNS},
               {"too-many.test", KM_ERR_DNS},
               {"cut.test", KM_ERR_DNS},
               {"tc-cut.test", KM_ERR_DNS},
               {"tc-closed.test", KM_ERR_DNS},
               {"servfail.test", KM_ERR_DNS},
               {"refused.test", KM_ERR_DNS}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    void *unused = NULL;
    add_origin(cases[i].origin, 5000);
    seen s = look_up();
    bool right = cases[i].code == 0 ? s.found > 0 : s.found == 0 && s.err.code == cases[i].code;
    if (!right || (s.found == 0 && strlen(s.err.text) < 10)) {
      fail_msg("%s: %u, %d %s", cases[i].origin, s.found, s.err.code, s.err.text);
    }
    assert_in_range(questions("udp") + questions("tcp"), 0, 60);
    (void)stop(&unused);
    (void)start(&unused);
  }
}

/* --- time and numbers ------------------------------------------------------------------------ */

static void silence_ends(void **state) {
  (void)state;
  add_origin("silent.test", 600);
  km_ts begun = km_clock_now();
  seen s = look_up();
  assert_int_equal(s.found, 0);
  assert_int_equal(s.err.code, KM_ERR_TIMEOUT);
  assert_true(km_clock_now() - begun >= 600 * KM_NS_PER_MS);
}

static void origins_do_not_wait_for_each_other(void **state) {
  (void)state;
  seen s;
  add_dns((const char *[]){"silent.test", "nxdomain.test", "alias.test", NULL},
          (const char *[]){address(server.port), NULL}, 1500);
  (void)begin(&s);
  LAB_UNTIL(s.found > 0);
  assert_int_equal(s.done, 0);
  assert_string_equal(s.user_data, "alias");
  LAB_UNTIL(s.done > 0);
  assert_int_equal(s.err.code, 0);
}

static void another_server_helps_out(void **state) {
  (void)state;
  int silent = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof at;
  assert_int_equal(bind(silent, (struct sockaddr *)&at, sizeof at), 0);
  assert_int_equal(getsockname(silent, (struct sockaddr *)&at, &len), 0);
  add_dns((const char *[]){"alias.test", NULL},
          (const char *[]){address(ntohs(at.sin_port)), address(server.port), NULL}, 0);
  assert_string_equal(look_up().user_data, "alias");
  (void)close(silent);
}

static void look_ups_end_when_told(void **state) {
  (void)state;
  seen s;
  add_dns((const char *[]){"silent.test", "alias.test", "tc.test", NULL},
          (const char *[]){address(server.port), NULL}, 0);
  for (unsigned turns = 0; turns < 12; turns++) {
    km_lookup *lookup = begin(&s);
    for (unsigned i = 0; i < turns; i++) {
      (void)km_loop_run_once(lab_loop, 2);
    }
    km_lookup_cancel(lookup);
    lab_run_ms(5);
  }
  (void)begin(&s);
  lab_run_ms(20);
  km_discovery_free(d); /* with questions under way */
  d = NULL;
  lab_run_ms(20);
  assert_int_equal(s.done, 0);
}

/* Many look-ups of names that nobody answers about, and one that is answered. */
static void a_flood_is_bounded(void **state) {
  (void)state;
  static seen many[300];
  add_origin("silent-flood.test", 2000);
  for (size_t i = 0; i < COUNT_OF(many); i++) {
    (void)begin(&many[i]);
  }
  lab_run_ms(100);
  char line[128];
  (void)snprintf(line, sizeof line, "udp _iroh.%s.silent-flood", z32);
  assert_in_range(lab_peer_lines(&server, line), 1, KM_DNS_IN_FLIGHT);
  for (size_t i = 0; i < COUNT_OF(many); i++) {
    LAB_UNTIL(many[i].done > 0);
    assert_int_equal(many[i].err.code, KM_ERR_TIMEOUT);
  }
}

/* --- configuration --------------------------------------------------------------------------- */

static void write_file(const char *path, const char *text) {
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  assert_true(fputs(text, f) >= 0);
  assert_int_equal(fclose(f), 0);
}

static void the_system_s_servers_are_followed(void **state) {
  (void)state;
  char path[] = "/tmp/km-resolv-XXXXXX", text[128];
  const char *origin = "alias.test";
  const km_dns_options options = {
      .size = sizeof options, .origins = &origin, .origin_count = 1, .timeout_ms = 5000};
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  (void)close(fd);
  write_file(path, "nameserver 127.0.0.1:1\n");
  assert_int_equal(km_dns_source_add(d, &options, path, NULL), 0);
  assert_int_equal(look_up().found, 0);
  (void)snprintf(text, sizeof text, "nameserver 127.0.0.1:%d\nsearch other.test\n", server.port);
  write_file(path, text);
  assert_string_equal(look_up().user_data, "alias");
  assert_int_equal(unlink(path), 0);
  assert_string_equal(look_up().user_data, "alias"); /* the last that was known goes on */
}

static void options_are_checked(void **state) {
  (void)state;
  static const char *const origins[] = {"", " ", "a..b", "a b.test", "a/b", ".a", NULL};
  static const char *const servers[] = {"",          "name.test",       "1.2.3",
                                        "1.2.3.4:0", "1.2.3.4:99999",   "[::1",
                                        "::1:53:",   "1.2.3.4,5.6.7.8", NULL};
  static const char *const good[] = {"192.0.2.1",     "192.0.2.1:5353",   "2001:db8::1",
                                     "[2001:db8::1]", "[2001:db8::1]:54", "[fe80::1%1]:53"};
  const char *const nine[9] = {"a", "a", "a", "a", "a", "a", "a", "a", "a"};
  char long_name[300];
  const char *long_origin = long_name;
  km_errinfo err;
  assert_int_equal(km_discovery_add_dns(NULL, NULL, &err), KM_ERR_INVALID);
  assert_true(strlen(err.text) > 10);
  memset(long_name, 'a', sizeof long_name);
  long_name[sizeof long_name - 1] = '\0';
  for (size_t i = 0; i < COUNT_OF(origins); i++) {
    const km_dns_options o = {.size = sizeof o, .origins = &origins[i], .origin_count = 1};
    assert_int_equal(km_discovery_add_dns(d, &o, &err), KM_ERR_INVALID);
    assert_true(strlen(err.text) > 10);
  }
  for (size_t i = 0; i < COUNT_OF(servers); i++) {
    const km_dns_options o = {.size = sizeof o, .servers = &servers[i], .server_count = 1};
    if (km_discovery_add_dns(d, &o, &err) != KM_ERR_INVALID) {
      fail_msg("%s was taken", servers[i]);
    }
  }
  for (size_t i = 0; i < COUNT_OF(good); i++) {
    const km_dns_options o = {.size = sizeof o, .servers = &good[i], .server_count = 1};
    if (km_discovery_add_dns(d, &o, &err) != 0) {
      fail_msg("%s: %s", good[i], err.text);
    }
  }
  const struct {
    km_dns_options o;
    int code;
  } cases[] = {
      {{.size = sizeof(km_dns_options), .origins = &long_origin, .origin_count = 1},
       KM_ERR_INVALID},
      {{.size = sizeof(km_dns_options), .origins = nine, .origin_count = 9}, KM_ERR_LIMIT},
      {{.size = sizeof(km_dns_options), .servers = nine, .server_count = 9}, KM_ERR_LIMIT},
      {{.size = 1}, KM_ERR_INVALID},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    assert_int_equal(km_discovery_add_dns(d, &cases[i].o, &err), cases[i].code);
  }
  assert_int_equal(km_discovery_add_dns(d, NULL, &err), 0);
}

/* --- a real name server ---------------------------------------------------------------------- */

typedef struct named {
  char folder[32];
  pid_t pid;
  int port;
} named;

static int free_port(void) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof at;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
  (void)close(fd);
  return ntohs(at.sin_port);
}

static bool is_up(int port) {
  struct sockaddr_in at = {.sin_family = AF_INET,
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                           .sin_port = htons((uint16_t)port)};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  bool up = connect(fd, (struct sockaddr *)&at, sizeof at) == 0;
  (void)close(fd);
  return up;
}

static void write_in(const named *n, const char *name, const char *text) {
  char path[64];
  (void)snprintf(path, sizeof path, "%s/%s", n->folder, name);
  write_file(path, text);
}

static void write_zone(const named *n) {
  static char text[16384];
  size_t len = 0, cap = sizeof text;
  len += (size_t)snprintf(text, cap,
                          "$TTL 45\n@ IN SOA ns root 1 3600 600 86400 7\n@ IN NS ns\n"
                          "ns IN A 127.0.0.1\n"
                          "_iroh.%s.small IN TXT \"relay=https://relay.test./\"\n"
                          "_iroh.%s.small IN TXT \"user-data=\" \"in \" \"pieces\"\n"
                          "_iroh.%s.alias IN CNAME _iroh.%s.small\n",
                          z32, z32, z32, z32);
  for (int i = 1; i <= 60; i++) {
    len += (size_t)snprintf(text + len, cap - len,
                            "_iroh.%s.big IN TXT \"addr=[2001:db8:1:2:3:4:5:%x]:4433\"\n", z32,
                            (unsigned)i);
  }
  assert_true(len < cap);
  write_in(n, "zone", text);
}

/* A copy of the program: where AppArmor confines named, it confines the one in its place. */
static void start_named(named *n) {
  char text[1024], command[256];
  *n = (named){.folder = "/tmp/km-named-XXXXXX"};
  assert_non_null(mkdtemp(n->folder));
  (void)snprintf(command, sizeof command, "cp /usr/sbin/named %s/named", n->folder);
  assert_int_equal(system(command), 0);
  n->port = free_port();
  (void)snprintf(text, sizeof text,
                 "options { directory \"%s\"; listen-on port %d { 127.0.0.1; };\n"
                 "  listen-on-v6 { none; }; recursion no; pid-file \"pid\";\n"
                 "  session-keyfile \"key\"; };\n"
                 "controls { };\n"
                 "zone \"named.test\" { type primary; file \"zone\"; };\n"
                 "zone \"broken.test\" { type primary; file \"missing\"; };\n",
                 n->folder, n->port);
  write_in(n, "conf", text);
  write_zone(n);
  int in, out;
  char program[64], conf[64], log[64];
  (void)snprintf(program, sizeof program, "%s/named", n->folder);
  (void)snprintf(conf, sizeof conf, "%s/conf", n->folder);
  (void)snprintf(log, sizeof log, "%s/log", n->folder);
  n->pid =
      lab_spawn((const char *[]){program, "-f", "-n", "1", "-c", conf, "-L", log, NULL}, &in, &out);
  (void)close(in);
  (void)close(out);
  for (int i = 0; i < 500 && !is_up(n->port); i++) {
    (void)usleep(20000);
  }
  assert_true(is_up(n->port));
}

static void stop_named(named *n) {
  char command[64];
  (void)kill(n->pid, SIGKILL);
  (void)waitpid(n->pid, NULL, 0);
  (void)snprintf(command, sizeof command, "rm -r %s", n->folder);
  assert_int_equal(system(command), 0);
}

static void a_real_name_server_is_understood(void **state) {
  (void)state;
  static const struct {
    const char *origin;
    int code;
    size_t udps, relays;
    const char *user_data;
  } cases[] = {{"small.named.test", 0, 0, 1, "in pieces"},
               {"alias.named.test", 0, 0, 1, "in pieces"},
               {"SMALL.Named.Test.", 0, 0, 1, "in pieces"},
               {"big.named.test", 0, KM_ADDR_MAX_DIRECT, 0, ""},
               {"none.named.test", KM_ERR_NOT_FOUND, 0, 0, ""},
               {"broken.test", KM_ERR_DNS, 0, 0, ""},
               {"foreign.test", KM_ERR_DNS, 0, 0, ""}};
  if (access("/usr/sbin/named", X_OK) != 0) {
    print_message("no named here (bind9): skipped\n");
    skip();
  }
  named n;
  start_named(&n);
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    void *unused = NULL;
    add_dns((const char *[]){cases[i].origin, NULL}, (const char *[]){address(n.port), NULL}, 0);
    seen s = look_up();
    bool right = s.err.code == cases[i].code && s.udps == cases[i].udps &&
                 s.relays == cases[i].relays && strcmp(s.user_data, cases[i].user_data) == 0 &&
                 (s.found > 0) == (cases[i].code == 0) && s.valid_s <= 45;
    if (!right) {
      print_error("%s: %u found, %zu, %zu, '%s', %d %s\n", cases[i].origin, s.found, s.udps,
                  s.relays, s.user_data, s.err.code, s.err.text);
      stop_named(&n);
      fail();
    }
    (void)stop(&unused);
    (void)start(&unused);
  }
  stop_named(&n);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(an_answer_is_found, start, stop),
      cmocka_unit_test_setup_teardown(a_late_record_is_told_later, start, stop),
      cmocka_unit_test_setup_teardown(a_record_that_does_not_come_is_not_waited_for, start, stop),
      cmocka_unit_test_setup_teardown(answers_are_kept_for_their_time, start, stop),
      cmocka_unit_test_setup_teardown(answers_die_with_their_time, start, stop),
      cmocka_unit_test_setup_teardown(answers_without_time_are_not_kept, start, stop),
      cmocka_unit_test_setup_teardown(what_is_absent_is_believed_for_a_moment, start, stop),
      cmocka_unit_test_setup_teardown(what_is_of_no_use_is_absent, start, stop),
      cmocka_unit_test_setup_teardown(aliases_are_followed, start, stop),
      cmocka_unit_test_setup_teardown(truncated_answers_are_fetched_over_tcp, start, stop),
      cmocka_unit_test_setup_teardown(questions_are_repeated, start, stop),
      cmocka_unit_test_setup_teardown(forged_answers_are_not_believed, start, stop),
      cmocka_unit_test_setup_teardown(broken_answers_are_survived, start, stop),
      cmocka_unit_test_setup_teardown(silence_ends, start, stop),
      cmocka_unit_test_setup_teardown(origins_do_not_wait_for_each_other, start, stop),
      cmocka_unit_test_setup_teardown(another_server_helps_out, start, stop),
      cmocka_unit_test_setup_teardown(look_ups_end_when_told, start, stop),
      cmocka_unit_test_setup_teardown(a_flood_is_bounded, start, stop),
      cmocka_unit_test_setup_teardown(the_system_s_servers_are_followed, start, stop),
      cmocka_unit_test_setup_teardown(options_are_checked, start, stop),
      cmocka_unit_test_setup_teardown(a_real_name_server_is_understood, start, stop),
  };
  return cmocka_run_group_tests(tests, start_server, stop_server);
}
