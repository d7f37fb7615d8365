#include "holepunch/igd_io.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/udp_addr.h"

#define HOPS 2 /* UPnP Device Architecture 1.1, section 1.3.2 */
#define REPEAT_NS (500 * KM_NS_PER_MS)

static const struct sockaddr_in everybody = {.sin_family = AF_INET};

static int open_socket(int type) {
  int fd = socket(AF_INET, type, 0);
  if (fd >= 0 && (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(fd, F_SETFL, O_NONBLOCK) != 0)) {
    (void)close(fd);
    return -1;
  }
  return fd;
}

/* Until it is ready or the time is over. */
static bool wait_for(int fd, short events, km_ts until) {
  for (;;) {
    km_ts now = km_clock_now();
    if (now >= until) {
      return false;
    }
    struct pollfd p = {.fd = fd, .events = events};
    int rv = poll(&p, 1, (int)((until - now) / KM_NS_PER_MS) + 1);
    if (rv > 0) {
      return true;
    }
    if (rv < 0 && errno != EINTR) {
      return false;
    }
  }
}

/* --- searching -------------------------------------------------------------------------------- */

static void search(int fd) {
  struct sockaddr_in group = everybody;
  group.sin_port = htons(1900);
  group.sin_addr.s_addr = htonl(0xeffffffa); /* 239.255.255.250 */
  for (unsigned kind = 0; kind < KM_IGD_KINDS; kind++) {
    char text[KM_IGD_REQUEST_CAP];
    size_t len = km_igd_search(text, kind);
    /* What does not get out is repeated. */
    (void)sendto(fd, text, len, 0, (const struct sockaddr *)&group, sizeof group);
  }
}

static int open_search(const km_gateway *gateway) {
  unsigned char hops = HOPS;
  struct sockaddr_in own = everybody;
  int fd = open_socket(SOCK_DGRAM);
  if (fd < 0) {
    return -1;
  }
  if (gateway->local.family == 4) {
    memcpy(&own.sin_addr, gateway->local.ip, 4);
    (void)setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &own.sin_addr, sizeof own.sin_addr);
  }
  (void)setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &hops, sizeof hops); /* 1 is enough, too */
  if (bind(fd, (const struct sockaddr *)&own, sizeof own) != 0) {
    (void)close(fd);
    return -1;
  }
  return fd;
}

/* One that was not heard before. */
static bool hear(int fd, km_igd_answer *ret, const km_igd_answer *before, size_t count) {
  char text[1500];
  struct sockaddr_storage ss;
  socklen_t ss_len = (socklen_t)sizeof ss;
  ssize_t len = recvfrom(fd, text, sizeof text, 0, (struct sockaddr *)&ss, &ss_len);
  if (len < 0 || !km_udp_addr_from_sockaddr(&ret->from, (const struct sockaddr *)&ss, ss_len) ||
      !km_igd_location(ret->location, text, (size_t)len)) {
    return false;
  }
  for (size_t i = 0; i < count; i++) {
    if (strcmp(before[i].location, ret->location) == 0) {
      return false;
    }
  }
  return true;
}

size_t km_igd_discover(km_igd_answer ret[KM_IGD_MAX_ANSWERS], const km_gateway *gateway,
                       km_ts wait_ns) {
  size_t count = 0;
  bool found = false;
  int fd = open_search(gateway);
  km_ts begin = km_clock_now(), end = begin + wait_ns, repeat = begin;
  while (fd >= 0 && !found && count < KM_IGD_MAX_ANSWERS && km_clock_now() < end) {
    if (km_clock_now() >= repeat) {
      search(fd);
      repeat += REPEAT_NS;
    }
    if (wait_for(fd, POLLIN, repeat < end ? repeat : end) && hear(fd, &ret[count], ret, count)) {
      found = memcmp(ret[count].from.ip, gateway->addr.ip, 4) == 0;
      count++;
    }
  }
  if (fd >= 0) {
    (void)close(fd); /* nothing waits to be sent */
  }
  return count;
}

/* --- HTTP ------------------------------------------------------------------------------------- */

static bool connect_to(int fd, const km_udp_addr *host, km_ts until, km_udp_addr *ret_local) {
  struct sockaddr_storage ss;
  socklen_t len = km_udp_addr_to_sockaddr(host, &ss);
  if (connect(fd, (const struct sockaddr *)&ss, len) != 0) {
    int error = 0;
    socklen_t error_len = (socklen_t)sizeof error;
    if (errno != EINPROGRESS || !wait_for(fd, POLLOUT, until) ||
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_len) != 0 || error != 0) {
      return false;
    }
  }
  len = (socklen_t)sizeof ss;
  return getsockname(fd, (struct sockaddr *)&ss, &len) == 0 &&
         km_udp_addr_from_sockaddr(ret_local, (const struct sockaddr *)&ss, len);
}

static bool send_all(int fd, const char *bytes, size_t len, km_ts until) {
  while (len > 0) {
    ssize_t sent = send(fd, bytes, len, MSG_NOSIGNAL);
    if (sent > 0) {
      bytes += sent;
      len -= (size_t)sent;
    } else if ((errno != EAGAIN && errno != EINTR) || !wait_for(fd, POLLOUT, until)) {
      return false;
    }
  }
  return true;
}

static size_t receive(int fd, char *ret, km_ts until) {
  size_t len = 0;
  while (len < KM_IGD_MAX_HTTP && !km_igd_http_is_whole(ret, len) && wait_for(fd, POLLIN, until)) {
    ssize_t got = recv(fd, ret + len, KM_IGD_MAX_HTTP - len, 0);
    if (got == 0) {
      break;
    }
    if (got > 0) {
      len += (size_t)got;
    } else if (errno != EAGAIN && errno != EINTR) {
      break; /* some routers reset what they have answered */
    }
  }
  return len;
}

size_t km_igd_exchange(char *ret, const km_udp_addr *host, const char *request, size_t len,
                       km_ts wait_ns, km_udp_addr *ret_local) {
  km_ts until = km_clock_now() + wait_ns;
  int fd = open_socket(SOCK_STREAM);
  size_t got = 0;
  if (fd >= 0 && connect_to(fd, host, until, ret_local) && send_all(fd, request, len, until)) {
    got = receive(fd, ret, until);
  }
  if (fd >= 0) {
    (void)close(fd); /* what it had to say was read */
  }
  return got;
}
