/* One UDP socket: opened, read and written in batches. Two drivers behind one table: Linux
 * (recvmmsg, GRO, GSO, sendmmsg) and portable (one datagram a call). Both are built on Linux, so
 * that both are tested there; KM_UDP_POSIX makes the portable one the default. */
#ifndef KM_MAGICSOCK_UDP_H
#define KM_MAGICSOCK_UDP_H

#include "magicsock/sockaddr.h"

struct mmsghdr;

/* What one send call may carry: 64 segments (UDP_MAX_SEGMENTS of Linux before 6.9), and what an IP
 * packet of 65,535 bytes leaves for UDP payload. IPv6 could take 20 more than this. */
#define KM_UDP_MAX_SEGMENTS 64
#define KM_UDP_MAX_PAYLOAD_V4 65507
#define KM_UDP_MAX_PAYLOAD_V6 65487

/* The system calls on a socket, so that tests can put faults between. */
typedef struct km_udp_calls {
  void *ctx;
  int (*socket)(void *ctx, int domain, int type, int protocol);
  int (*bind)(void *ctx, int fd, const struct sockaddr *addr, socklen_t len);
  int (*setsockopt)(void *ctx, int fd, int level, int name, const void *value, socklen_t len);
  ssize_t (*sendmsg)(void *ctx, int fd, const struct msghdr *msg, int flags);
  ssize_t (*recvmsg)(void *ctx, int fd, struct msghdr *msg, int flags);
  int (*sendmmsg)(void *ctx, int fd, struct mmsghdr *msgs, unsigned count, int flags);
  int (*recvmmsg)(void *ctx, int fd, struct mmsghdr *msgs, unsigned count, int flags);
} km_udp_calls;

typedef struct km_udp {
  int fd;
  const km_udp_calls *calls;
  km_udp_addr bound; /* with the real port */
  bool wildcard;     /* bound to no address in particular: local_ip of packets is told apart */
  bool gso;          /* UDP_SEGMENT works here, as far as is known */
  bool gro;
  bool ecn;
} km_udp;

typedef struct km_udp_options {
  km_udp_addr bind;
  bool gso, ecn;
  const km_udp_calls *calls; /* NULL: the system's */
} km_udp_options;

/* Bytes of one receive buffer: one datagram, or what GRO put together. */
#define KM_UDP_RX_BUFFER 65536
#define KM_UDP_RX_BUFFERS 8

/* Receive buffers, shared by all sockets of a magicsock: a batch lives until the next receive. */
typedef struct km_udp_rx_pool km_udp_rx_pool;
KM_NODISCARD int km_udp_rx_pool_new(km_udp_rx_pool **ret, const km_env *env);
void km_udp_rx_pool_del(const km_env *env, km_udp_rx_pool *pool);

/* What one buffer received. */
typedef struct km_udp_rx {
  const uint8_t *data;
  size_t len;
  size_t segment; /* > 0, also when len is 0 */
  uint8_t ecn;
  bool truncated;       /* the datagram was longer than the buffer: useless */
  km_udp_addr from;     /* family 0: the system told none */
  uint8_t local_ip[16]; /* zero unless the socket is a wildcard one */
} km_udp_rx;

typedef struct km_udp_tx {
  const km_sockaddr *to;
  socklen_t to_len;
  const uint8_t *local_ip; /* 16 bytes: the source to send from; NULL: the system's choice */
  const uint8_t *data;
  size_t len;
  size_t segment; /* 1 to 65,535 */
  uint8_t ecn;
} km_udp_tx;

/* How a send went. Bytes are dealt with from the front, sent or dropped. */
typedef struct km_udp_tx_report {
  size_t done; /* bytes dealt with */
  size_t sent_bytes;
  uint32_t sent_packets;
  uint32_t dropped_packets;
  uint32_t calls;
  int last_errno; /* why the last drop happened, 0 if there was none */
  bool retried;   /* an error of an earlier packet was seen and passed over */
} km_udp_tx_report;

typedef struct km_udp_driver {
  const char *name;
  /* Receives into at most `want` buffers of the pool. Returns how many (ret[0..]), 0 when nothing
   * is there, KM_ERR_AGAIN when the socket reported an error that is over (call again), or
   * KM_ERR_CLOSED when it is dead. Fewer than `want` means that nothing is left. */
  int (*recv)(km_udp *udp, km_udp_rx_pool *pool, unsigned want, km_udp_rx *ret);
  /* Returns 0 when all was dealt with. KM_ERR_AGAIN: the socket is full, wait until it is writable.
   * KM_ERR_LIMIT: something below the socket is full, no event will tell when it is not. In both
   * cases what is left begins at report->done. KM_ERR_CLOSED: the socket is dead. */
  int (*send)(km_udp *udp, const km_udp_tx *tx, km_udp_tx_report *report);
} km_udp_driver;

extern const km_udp_driver km_udp_linux; /* Linux only */
extern const km_udp_driver km_udp_posix;
extern const km_udp_calls km_udp_system_calls;
const km_udp_driver *km_udp_default_driver(void);

/* Opens and binds a socket: non-blocking, close-on-exec, IPv6 only where IPv6, DF set, big buffers.
 * `err` names the address. */
KM_NODISCARD int km_udp_open(km_udp *ret, const km_udp_options *options, const km_logger *logger,
                             km_errinfo *err);
void km_udp_close(km_udp *udp);

/* For the drivers. */
#define KM_UDP_CONTROL_CAP 128 /* bytes; holds all control messages we send or ask for */
typedef union km_udp_control {
  char bytes[KM_UDP_CONTROL_CAP];
  size_t align_; /* as struct cmsghdr wants it */
} km_udp_control;

struct km_udp_rx_pool {
  uint8_t *buffers; /* KM_UDP_RX_BUFFERS of KM_UDP_RX_BUFFER bytes; resident once used */
  km_sockaddr names[KM_UDP_RX_BUFFERS];
  km_udp_control controls[KM_UDP_RX_BUFFERS];
};

/* Fills the control part of `msg` for a send of segments of `gso_segment` bytes (0: no GSO). */
void km_udp_control_fill(const km_udp *udp, struct msghdr *msg, km_udp_control *control,
                         const km_udp_tx *tx, size_t gso_segment);
/* Makes `ret` of what a receive call filled in. */
void km_udp_control_read(const km_udp *udp, struct msghdr *msg, size_t len, km_udp_rx *ret);
/* A failed receive as a result of km_udp_driver.recv. */
int km_udp_recv_failed(int sys_errno);

/* What a failed send means. */
typedef enum km_udp_verdict {
  KM_UDP_DROP,    /* this packet is lost, the next may pass */
  KM_UDP_BLOCKED, /* wait until the socket is writable */
  KM_UDP_FULL,    /* wait a moment: the socket counts as writable all the time */
  KM_UDP_RETRY,   /* a signal came between */
  KM_UDP_EARLIER, /* about a packet sent earlier, perhaps to somebody else (ICMP) */
  KM_UDP_DEAD     /* the descriptor is no socket any more */
} km_udp_verdict;
km_udp_verdict km_udp_send_verdict(int sys_errno);
void km_udp_report_sent(km_udp_tx_report *report, size_t bytes, size_t packets);
/* Counts what a failed call costs: nothing when it is to be repeated. Returns 0 to go on with what
 * is left after report->done, else what km_udp_driver.send returns. */
int km_udp_send_failed(const km_udp_tx *tx, int sys_errno, km_udp_tx_report *report);

/* struct iovec has no const, though sending only reads. */
static inline void *km_udp_unconst(const void *p) {
  union {
    const void *in;
    void *out;
  } u = {.in = p};
  return u.out;
}

#endif /* KM_MAGICSOCK_UDP_H */
