/* A file of peers as a source. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "discovery/discovery_impl.h"
#include "discovery/peer_file.h"

#define LINES_A_TURN 64
#define BAD_LINES_LOGGED 20
#define LOOK_EVERY (2 * KM_NS_PER_S) /* while somebody watches; look-ups look themselves */
#define UNSETTLED_S 2                /* a file as young as that may change and look the same */

typedef struct version {
  dev_t dev;
  ino_t ino;
  off_t size;
  struct timespec mtime, ctime;
} version;

typedef struct file_source {
  const km_env *env;
  km_loop *loop;
  km_source *source;
  char *path;
  km_defer *work;     /* goes on with what is done in steps */
  km_deadline *timer; /* of the next look at the file */
  km_peer_file peers; /* what counts */
  km_peer_file next;  /* what is being read */
  bool reading;
  version version; /* of the file read last */
  bool settled;    /* as long as the version is the same, so is the content */
  bool watched;
  size_t told;   /* peers.lines before it were told; peers.count: all */
  bool troubled; /* it was logged that the file cannot be read */
} file_source;

/* --- the file --------------------------------------------------------------------------------- */

static version version_of(const struct stat *st) {
  return (version){.dev = st->st_dev,
                   .ino = st->st_ino,
                   .size = st->st_size,
                   .mtime = st->st_mtim,
                   .ctime = st->st_ctim};
}

static bool same_time(struct timespec a, struct timespec b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_version(const version *a, const version *b) {
  return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
         same_time(a->mtime, b->mtime) && same_time(a->ctime, b->ctime);
}

static int fail_file(const file_source *fs, int sys_errno, km_errinfo *err) {
  int code = km_fail_errno(err, sys_errno, "cannot read the file of peers %s", fs->path);
  if (code == KM_ERR_FILE_NOT_FOUND || code == KM_ERR_PERMISSION || code == KM_ERR_NOMEM) {
    return code;
  }
  if (err != NULL) {
    err->code = KM_ERR_IO;
  }
  return KM_ERR_IO;
}

static int read_fd(const file_source *fs, int fd, char *buf, size_t cap, size_t *ret_len,
                   km_errinfo *err) {
  size_t len = 0;
  while (len < cap) {
    ssize_t n = read(fd, buf + len, cap - len);
    if (n == 0) {
      break;
    }
    if (n < 0 && errno != EINTR) {
      return fail_file(fs, errno, err);
    }
    len += n > 0 ? (size_t)n : 0;
  }
  *ret_len = len;
  return 0;
}

static int check_fd(file_source *fs, int fd, size_t *ret_size, km_errinfo *err) {
  struct stat st;
  if (fstat(fd, &st) != 0) {
    return fail_file(fs, errno, err);
  }
  if (!S_ISREG(st.st_mode)) {
    return km_fail(err, KM_ERR_INVALID, "the file of peers %s is not a regular file", fs->path);
  }
  if ((uint64_t)st.st_size > KM_PEER_FILE_MAX) {
    return km_fail(err, KM_ERR_LIMIT, "the file of peers %s is longer than %zu bytes", fs->path,
                   KM_PEER_FILE_MAX);
  }
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
  fs->version = version_of(&st);
  fs->settled = st.st_mtim.tv_sec > now.tv_sec || now.tv_sec - st.st_mtim.tv_sec > UNSETTLED_S;
  *ret_size = (size_t)st.st_size;
  return 0;
}

/* Begins to read it into fs->next. */
static int open_file(file_source *fs, km_errinfo *err) {
  /* Without O_NONBLOCK a named pipe would hold us up. */
  int fd = open(fs->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) {
    return fail_file(fs, errno, err);
  }
  size_t size = 0, len = 0;
  char *text = NULL;
  int rv = check_fd(fs, fd, &size, err);
  if (rv == 0) {
    text = km_env_alloc(fs->env, size);
    rv = text == NULL ? km_fail(err, KM_ERR_NOMEM, NULL) : read_fd(fs, fd, text, size, &len, err);
  }
  (void)close(fd);
  if (rv != 0) {
    km_env_free(fs->env, text);
    return rv;
  }
  km_peer_file_init(&fs->next, fs->env, text, len);
  fs->reading = true;
  return 0;
}

static void on_bad_line(void *ctx, uint32_t number, const char *why) {
  const file_source *fs = ctx;
  if (fs->next.bad <= BAD_LINES_LOGGED) {
    KM_LOG(&fs->env->logger, KM_LOG_WARN, KM_LOGC_DISCOVERY, NULL, NULL, "file-line-bad",
           "%s, line %u: %s", fs->path, (unsigned)number, why);
  }
}

static void log_read(const file_source *fs) {
  if (fs->peers.bad > BAD_LINES_LOGGED) {
    KM_LOG(&fs->env->logger, KM_LOG_WARN, KM_LOGC_DISCOVERY, NULL, NULL, "file-line-bad",
           "%s: %zu lines cannot be read", fs->path, fs->peers.bad);
  }
  KM_LOG(&fs->env->logger, KM_LOG_DEBUG, KM_LOGC_DISCOVERY, NULL, NULL, "file-read",
         "%s: %zu lines with peers", fs->path, fs->peers.count);
}

/* --- its content ------------------------------------------------------------------------------ */

/* Tells the next peers to those who watch, who drop what they heard already. */
static void tell_some(file_source *fs) {
  for (size_t n = 0; fs->watched && fs->told < fs->peers.count && n < LINES_A_TURN; n++) {
    km_addr *addr;
    size_t at = fs->told;
    fs->told = km_peer_file_next(&fs->peers, at);
    if (km_peer_file_addr(&fs->peers, at, &addr) == 0) {
      const km_found found = {.size = sizeof found, .addr = addr};
      km_source_found(fs->source, &found);
      km_addr_free(addr);
    }
  }
}

static void tell_lost(file_source *fs) {
  for (size_t i = 0; fs->watched && i < fs->peers.count; i = km_peer_file_next(&fs->peers, i)) {
    const km_id *id = &fs->peers.lines[i].id;
    if (km_peer_file_find(&fs->next, id) == fs->next.count) {
      km_source_lost(fs->source, id);
    }
  }
}

/* 1: there is more to read; 0: it counts now; else it was given up. */
static int read_some(file_source *fs, size_t lines, km_errinfo *err) {
  int rv = km_peer_file_step(&fs->next, lines, on_bad_line, fs);
  if (rv > 0) {
    return rv;
  }
  fs->reading = false;
  if (rv < 0) {
    km_peer_file_clear(&fs->next);
    return rv == KM_ERR_LIMIT ? km_fail(err, rv, "the file of peers %s has more than %d peers",
                                        fs->path, KM_PEER_FILE_MAX_LINES)
                              : km_fail(err, rv, NULL);
  }
  tell_lost(fs);
  km_peer_file_clear(&fs->peers);
  fs->peers = fs->next;
  fs->next = (km_peer_file){0};
  fs->told = 0;
  fs->troubled = false;
  log_read(fs);
  return 0;
}

/* One line until it can be read again. */
static void trouble(file_source *fs, const char *why) {
  if (!fs->troubled) {
    fs->troubled = true;
    KM_LOG(&fs->env->logger, KM_LOG_WARN, KM_LOGC_DISCOVERY, NULL, NULL, "file-unreadable",
           "%s; what it said before still counts", why);
  }
}

static bool is_more(const file_source *fs) {
  return fs->reading || (fs->watched && fs->told < fs->peers.count);
}

static void go_on(file_source *fs) {
  km_errinfo err = {0};
  if (fs->reading && read_some(fs, LINES_A_TURN, &err) < 0) {
    trouble(fs, err.text);
  }
  if (!fs->reading) {
    tell_some(fs);
  }
  if (is_more(fs)) {
    km_defer_run(fs->work);
  }
}

static void on_work(void *ctx) {
  go_on(ctx);
}

/* Looks whether the file changed, and begins to read it again. */
static void look(file_source *fs) {
  struct stat st;
  km_errinfo err = {0};
  if (fs->reading) {
    return;
  }
  if (stat(fs->path, &st) != 0) {
    (void)fail_file(fs, errno, &err);
    trouble(fs, err.text);
    return;
  }
  version now = version_of(&st);
  if (fs->settled && same_version(&now, &fs->version)) {
    fs->troubled = false;
    return;
  }
  if (open_file(fs, &err) != 0) {
    trouble(fs, err.text);
    return;
  }
  go_on(fs);
}

static void on_timer(void *ctx) {
  file_source *fs = ctx;
  km_deadline_set(fs->timer, km_loop_now(fs->loop) + LOOK_EVERY);
  look(fs);
}

/* --- the source ------------------------------------------------------------------------------- */

static void resolve(void *ctx, km_query *query, const km_id *id) {
  file_source *fs = ctx;
  look(fs);
  size_t at = km_peer_file_find(&fs->peers, id);
  km_addr *addr;
  if (at < fs->peers.count && km_peer_file_addr(&fs->peers, at, &addr) == 0) {
    const km_found found = {.size = sizeof found, .addr = addr};
    km_query_found(query, &found);
    km_addr_free(addr);
  }
  km_query_done(query, NULL);
}

static void watch(void *ctx, bool on) {
  file_source *fs = ctx;
  fs->watched = on;
  fs->told = 0;
  km_deadline_set(fs->timer, on ? km_loop_now(fs->loop) + LOOK_EVERY : KM_TS_NEVER);
  if (on) {
    look(fs);
    km_defer_run(fs->work);
  }
}

static void close_source(void *ctx) {
  file_source *fs = ctx;
  km_deadline_free(fs->timer);
  km_defer_free(fs->work);
  km_peer_file_clear(&fs->peers);
  km_peer_file_clear(&fs->next);
  km_env_free(fs->env, fs->path);
  km_env_free(fs->env, fs);
}

static int set_up(file_source *fs, const char *path, km_errinfo *err) {
  fs->path = km_env_strdup(fs->env, path);
  int rv = fs->path == NULL ? KM_ERR_NOMEM : km_defer_new(&fs->work, fs->loop, on_work, fs);
  if (rv == 0) {
    rv = km_deadline_new(&fs->timer, fs->loop, on_timer, fs);
  }
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  rv = open_file(fs, err);
  return rv != 0 ? rv : read_some(fs, SIZE_MAX, err);
}

int km_discovery_add_file(km_discovery *discovery, const char *path, km_errinfo *err) {
  static const km_source_ops ops = {.size = sizeof ops,
                                    .name = "file",
                                    .resolve = resolve,
                                    .watch = watch,
                                    .close = close_source};
  if (discovery == NULL || path == NULL || path[0] == '\0') {
    return km_fail(err, KM_ERR_INVALID, "no file of peers was named");
  }
  file_source *fs = km_env_zalloc(km_discovery_env(discovery), 1, sizeof *fs);
  if (fs == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  fs->env = km_discovery_env(discovery);
  fs->loop = km_discovery_loop(discovery);
  int rv = set_up(fs, path, err);
  if (rv == 0) {
    rv = km_discovery_add(discovery, &fs->source, &ops, fs, err);
  }
  if (rv != 0) {
    close_source(fs);
  }
  return rv;
}
