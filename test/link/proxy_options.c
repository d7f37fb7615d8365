#include "test/link/proxy_options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"

#define MAX_MS 60000.0
#define MAX_MBIT 100000.0

/* A finite number from `low` to `high` that is the whole text but for `suffix`. */
static bool number(double *ret, const char *text, const char *suffix, double low, double high) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || strcmp(end, suffix) != 0 || !isfinite(value) || value < low || value > high) {
    return false;
  }
  *ret = value;
  return true;
}

static bool probability(double *ret, const char *text) {
  if (number(ret, text, "", 0, 1)) {
    return true;
  }
  if (!number(ret, text, "%", 0, 100)) {
    return false;
  }
  *ret /= 100;
  return true;
}

static bool milliseconds(uint64_t *ret_ns, const char *text) {
  double ms;
  if (!number(&ms, text, "", 0, MAX_MS)) {
    return false;
  }
  *ret_ns = (uint64_t)(ms * 1e6);
  return true;
}

static bool megabits(uint64_t *ret_bps, const char *text) {
  double mbit;
  if (!number(&mbit, text, "", 0, MAX_MBIT)) {
    return false;
  }
  *ret_bps = (uint64_t)(mbit * 1e6);
  return true;
}

static bool whole(uint64_t *ret, const char *text) {
  char *end;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0) {
    return false;
  }
  *ret = value;
  return true;
}

static bool set_link(proxy_options *o, const char *name, const char *value, bool *known) {
  link_options *l = &o->link;
  *known = true;
  if (strcmp(name, "--loss") == 0) {
    return probability(&l->loss, value);
  }
  if (strcmp(name, "--reorder") == 0) {
    return probability(&l->reorder, value);
  }
  if (strcmp(name, "--dup") == 0) {
    return probability(&l->dup, value);
  }
  if (strcmp(name, "--corrupt") == 0) {
    return probability(&l->corrupt, value);
  }
  if (strcmp(name, "--delay") == 0) {
    return milliseconds(&l->delay_ns, value);
  }
  if (strcmp(name, "--jitter") == 0) {
    return milliseconds(&l->jitter_ns, value);
  }
  if (strcmp(name, "--rate") == 0) {
    return megabits(&l->rate_bps, value);
  }
  *known = false;
  return false;
}

static bool set_other(proxy_options *o, const char *name, const char *value, bool *known) {
  *known = true;
  if (strcmp(name, "--seed") == 0) {
    return whole(&o->seed, value);
  }
  if (strcmp(name, "--queue") == 0) {
    uint64_t bytes;
    if (!whole(&bytes, value) || bytes > (UINT64_C(1) << 30)) {
      return false;
    }
    o->link.queue_bytes = (size_t)bytes;
    return true;
  }
  if (strcmp(name, "--listen") == 0) {
    return km_udp_addr_parse(&o->listen, value, strlen(value), NULL) == 0;
  }
  if (strcmp(name, "--to") == 0) {
    return km_udp_addr_parse(&o->to, value, strlen(value), NULL) == 0;
  }
  *known = false;
  return false;
}

static int set(proxy_options *o, const char *name, const char *value, km_errinfo *err) {
  bool known;
  bool ok = set_link(o, name, value, &known);
  if (!known) {
    ok = set_other(o, name, value, &known);
  }
  if (!known) {
    return km_fail(err, KM_ERR_INVALID, "unknown option %s", name);
  }
  if (!ok) {
    return km_fail(err, KM_ERR_INVALID, "%s does not take '%s'", name, value);
  }
  return 0;
}

int proxy_options_parse(proxy_options *ret, int argc, char **argv, km_errinfo *err) {
  memset(ret, 0, sizeof *ret);
  link_options_default(&ret->link);
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--json") == 0) {
      ret->json = true;
      continue;
    }
    if (i + 1 == argc) {
      return km_fail(err, KM_ERR_INVALID, "%s needs a value, or is unknown", argv[i]);
    }
    int rv = set(ret, argv[i], argv[i + 1], err);
    if (rv != 0) {
      return rv;
    }
    i++;
  }
  if (ret->listen.family == 0 || ret->to.family == 0) {
    return km_fail(err, KM_ERR_INVALID, "--listen and --to are required");
  }
  return 0;
}
