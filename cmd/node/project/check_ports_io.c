/* Whether the ports of a node are to be had: they are bound for a moment, and nothing is sent. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/ip_text.h"
#include "base/udp_addr.h"
#include "cmd/node/daemon/control_io.h"
#include "cmd/node/project/check.h"

/* 0 or the number of the system's error. */
static int try_bind(const km_udp_addr *addr, int type) {
  struct sockaddr_storage ss;
  socklen_t len = km_udp_addr_to_sockaddr(addr, &ss);
  const int on = 1;
  int fd = socket(ss.ss_family, type | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return errno;
  }
  if (addr->family == 6) {
    (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  if (type == SOCK_STREAM) { /* as the page has it: what lingers of an earlier one is no obstacle */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  }
  int number = bind(fd, (const struct sockaddr *)&ss, len) == 0 ? 0 : errno;
  (void)close(fd);
  return number;
}

static bool is_free(check *c, const char *host, uint16_t port, int type, const char *hint) {
  km_udp_addr addr = {.port = port};
  char at[KM_UDP_ADDR_TEXT_CAP];
  addr.family = km_ip_parse(addr.ip, host, strlen(host)); /* the configuration takes no other */
  int number = try_bind(&addr, type);
  if (number == 0 || number == EAFNOSUPPORT) { /* without IPv6 the other one does */
    return true;
  }
  (void)km_udp_addr_format(&addr, at, sizeof at);
  const char *protocol = type == SOCK_DGRAM ? "UDP" : "TCP";
  if (number == EADDRINUSE) {
    check_row(c, CHECK_ERROR, "port", hint, "another program has the %s port %s", protocol, at);
  } else if (number == EACCES) {
    check_row(c, CHECK_WARNING, "port", "run it as root, or as the service of km-node install",
              "the %s port %s is not for every user, as all below 1024", protocol, at);
  } else {
    check_row(c, CHECK_ERROR, "port", hint, "the %s port %s is not to be had: %s", protocol, at,
              strerror(number));
  }
  return false;
}

/* The node that runs has them itself. */
static bool node_runs(const project *p) {
  control_client *client;
  km_errinfo unused;
  if (control_client_open(&client, p->control_path, &unused) != 0) {
    return false;
  }
  control_client_close(client);
  return true;
}

void check_ports(check *c) {
  static const char other_port[] = "end that program, or set node.listen_port";
  const project *p = &c->file->pub;
  if (node_runs(p)) {
    return;
  }
  if (p->bind_host != NULL) {
    (void)is_free(c, p->bind_host, p->listen_port, SOCK_DGRAM,
                  "set node.bind_host, or node.listen_port");
  } else if (p->listen_port != 0 && is_free(c, "0.0.0.0", p->listen_port, SOCK_DGRAM, other_port)) {
    (void)is_free(c, "::", p->listen_port, SOCK_DGRAM, other_port);
  }
  if (p->status_enabled) {
    (void)is_free(c, p->status_host, p->status_port, SOCK_STREAM,
                  "set status_http.port, or status_http.enabled: false");
  }
}
