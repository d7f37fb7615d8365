#include "test/netlab/link_tap_io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/env.h"

/* Room for the bursts of senders that batch, so that only the emulated link loses packets. */
#define TX_QUEUE 20000

static int enter(const char *file, km_errinfo *err) {
  int fd = open(file, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET) != 0) {
    int number = errno;
    if (fd >= 0) {
      close(fd);
    }
    return km_fail_errno(err, number, "cannot enter the network namespace");
  }
  close(fd);
  return 0;
}

/* Names are cut where the kernel would refuse them anyway. */
static void name_request(struct ifreq *ret, const char *name) {
  memset(ret, 0, sizeof *ret);
  (void)snprintf(ret->ifr_name, sizeof ret->ifr_name, "%s", name);
}

static int bring_up(int sock, const char *name, int mtu) {
  struct ifreq request;
  name_request(&request, name);
  request.ifr_mtu = mtu;
  if (ioctl(sock, SIOCSIFMTU, &request) != 0) {
    return -1;
  }
  name_request(&request, name);
  request.ifr_qlen = TX_QUEUE;
  if (ioctl(sock, SIOCSIFTXQLEN, &request) != 0) {
    return -1;
  }
  name_request(&request, name);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return ioctl(sock, SIOCSIFFLAGS, &request);
}

static int attach(int fd, const char *name, int mtu) {
  struct ifreq request;
  name_request(&request, name);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (ioctl(fd, TUNSETIFF, &request) != 0) {
    return -1;
  }
  int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (sock < 0) {
    return -1;
  }
  int rv = bring_up(sock, name, mtu), number = errno;
  close(sock);
  errno = number;
  return rv;
}

static int make(const char *name, int mtu, km_errinfo *err) {
  int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return km_fail_errno(err, errno, "cannot open /dev/net/tun");
  }
  if (attach(fd, name, mtu) != 0) {
    int number = errno;
    close(fd);
    return km_fail_errno(err, number, "cannot make the TAP interface");
  }
  return fd;
}

int tap_open(const char *where, int mtu, km_errinfo *err) {
  const char *name = strrchr(where, ':');
  if (name == NULL) {
    return make(where, mtu, err);
  }
  char file[256];
  size_t len = (size_t)(name - where);
  if (len >= sizeof file) {
    return km_fail(err, KM_ERR_INVALID, "the namespace's name is too long: %s", where);
  }
  memcpy(file, where, len);
  file[len] = '\0';
  int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  int rv = enter(file, err);
  if (rv == 0) {
    rv = make(name + 1, mtu, err);
  }
  if (home >= 0) {
    (void)setns(home, CLONE_NEWNET); /* the next name is meant from where we began */
    close(home);
  }
  return rv;
}
