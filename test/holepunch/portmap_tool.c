/* Keeps a UDP port mapped and says what happens in JSON lines, for portmap_test.py.
 *
 *   portmap_tool [PROTOCOLS [LIFETIME_S]]     "pcp,natpmp,upnp"
 *
 * Reads commands: "port N" (also binds it, and tells of what arrives there), "changed", "quit". */
#include <cjson/cJSON.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/udp_addr.h"
#include "holepunch/portmap_io.h"

typedef struct tool {
  km_loop *loop;
  km_portmap *portmap;
  km_poll *commands, *arrivals;
  int fd;
  char line[128];
  size_t line_len;
  bool done;
} tool;

/* Takes over the object. */
static void say(cJSON *object) {
  char *text = cJSON_PrintUnformatted(object);
  (void)printf("%s\n", text != NULL ? text : "{}");
  (void)fflush(stdout);
  free(text);
  cJSON_Delete(object);
}

static void add_addr(cJSON *object, const char *name, const km_udp_addr *addr) {
  char text[KM_UDP_ADDR_TEXT_CAP] = "";
  if (addr->family != 0) {
    (void)km_udp_addr_format(addr, text, sizeof text);
  }
  (void)cJSON_AddStringToObject(object, name, text);
}

static void on_status(void *ctx, const km_portmap_status *status) {
  (void)ctx;
  cJSON *object = cJSON_CreateObject();
  cJSON *found = cJSON_CreateArray();
  for (km_portmap_protocol p = KM_PORTMAP_PCP; p <= KM_PORTMAP_UPNP; p++) {
    if ((status->found & (1u << p)) != 0) {
      (void)cJSON_AddItemToArray(found, cJSON_CreateString(km_portmap_protocol_name(p)));
    }
  }
  (void)cJSON_AddStringToObject(object, "event", "status");
  (void)cJSON_AddStringToObject(object, "protocol", km_portmap_protocol_name(status->protocol));
  add_addr(object, "external", &status->external);
  (void)cJSON_AddBoolToObject(object, "probing", status->probing);
  (void)cJSON_AddNumberToObject(object, "lifetime_s", status->lifetime_s);
  (void)cJSON_AddItemToObject(object, "found", found);
  (void)cJSON_AddStringToObject(object, "trouble", status->trouble);
  say(object);
}

static void on_arrival(void *ctx, int events) {
  tool *t = ctx;
  char text[64];
  struct sockaddr_storage ss;
  socklen_t ss_len = sizeof ss;
  km_udp_addr from = {0};
  (void)events;
  ssize_t len =
      recvfrom(t->fd, text, sizeof text - 1, MSG_DONTWAIT, (struct sockaddr *)&ss, &ss_len);
  if (len < 0) {
    return;
  }
  text[len] = '\0';
  (void)km_udp_addr_from_sockaddr(&from, (struct sockaddr *)&ss, ss_len);
  cJSON *object = cJSON_CreateObject();
  (void)cJSON_AddStringToObject(object, "event", "datagram");
  (void)cJSON_AddStringToObject(object, "text", text);
  add_addr(object, "from", &from);
  say(object);
}

static void close_port(tool *t) {
  km_poll_free(t->arrivals);
  t->arrivals = NULL;
  if (t->fd >= 0) {
    (void)close(t->fd);
  }
  t->fd = -1;
}

static bool open_port(tool *t, uint16_t port) {
  const struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
  close_port(t);
  if (port == 0) {
    return true;
  }
  t->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  return t->fd >= 0 && bind(t->fd, (const struct sockaddr *)&any, sizeof any) == 0 &&
         km_poll_new(&t->arrivals, t->loop, t->fd, on_arrival, t) == 0 &&
         km_poll_set(t->arrivals, KM_POLL_READ) == 0;
}

static void obey(tool *t, const char *line) {
  unsigned port;
  if (sscanf(line, "port %u", &port) == 1 && port <= UINT16_MAX) {
    if (!open_port(t, (uint16_t)port)) {
      perror("bind");
      exit(1);
    }
    km_portmap_set_port(t->portmap, (uint16_t)port);
  } else if (strcmp(line, "changed") == 0) {
    km_portmap_network_changed(t->portmap);
  } else {
    t->done = true;
  }
}

static void on_command(void *ctx, int events) {
  tool *t = ctx;
  char c;
  (void)events;
  ssize_t len = read(0, &c, 1);
  if (len == 0) {
    t->done = true;
  } else if (len == 1 && c == '\n') {
    t->line[t->line_len] = '\0';
    t->line_len = 0;
    obey(t, t->line);
  } else if (len == 1 && t->line_len < sizeof t->line - 1) {
    t->line[t->line_len++] = c;
  }
}

static uint8_t protocols(const char *text) {
  return (uint8_t)((strstr(text, "pcp") != NULL ? 1u << KM_PORTMAP_PCP : 0u) |
                   (strstr(text, "natpmp") != NULL ? 1u << KM_PORTMAP_NATPMP : 0u) |
                   (strstr(text, "upnp") != NULL ? 1u << KM_PORTMAP_UPNP : 0u));
}

int main(int argc, char **argv) {
  tool t = {.fd = -1};
  km_portmap_config config = {0};
  km_env env = km_env_system;
  if (argc > 1) {
    config.allowed = protocols(argv[1]);
  }
  if (argc > 2) {
    config.lifetime_s = (uint32_t)strtoul(argv[2], NULL, 10);
  }
  env.logger = (km_logger){.sink = km_log_to_stderr};
  if (km_log_filter_parse(&env.logger.filter, "debug", NULL) != 0 || km_loop_new(&t.loop) != 0 ||
      km_portmap_new_with(&t.portmap, &env, t.loop, &config, on_status, &t) != 0 ||
      km_poll_new(&t.commands, t.loop, 0, on_command, &t) != 0 ||
      km_poll_set(t.commands, KM_POLL_READ) != 0) {
    (void)fprintf(stderr, "cannot begin\n");
    return 1;
  }
  while (!t.done) {
    (void)km_loop_run_once(t.loop, -1);
  }
  km_portmap_free(t.portmap);
  close_port(&t);
  km_poll_free(t.commands);
  return km_loop_free(t.loop) == 0 ? 0 : 1;
}
