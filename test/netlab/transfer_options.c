#include "test/netlab/transfer_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool whole(uint64_t *ret, const char *text, uint64_t high) {
  char *end;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  *ret = value;
  return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && value <= high;
}

static bool whole32(uint32_t *ret, const char *text) {
  uint64_t value;
  bool ok = whole(&value, text, UINT32_MAX);
  *ret = (uint32_t)value;
  return ok;
}

static bool congestion(km_congestion *ret, const char *text) {
  static const struct {
    const char *name;
    km_congestion value;
  } names[] = {{"cubic", KM_CC_CUBIC}, {"bbr", KM_CC_BBR}, {"reno", KM_CC_RENO}};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (strcmp(names[i].name, text) == 0) {
      *ret = names[i].value;
      return true;
    }
  }
  return false;
}

static bool add_relay(transfer_options *o, const char *url) {
  if (o->relay_count == TRANSFER_MAX_RELAYS) {
    return false;
  }
  o->relays[o->relay_count++] = url;
  return true;
}

static bool set(transfer_options *o, const char *name, const char *value) {
  if (strcmp(name, "--send") == 0) {
    return whole(&o->send, value, UINT64_C(1) << 40);
  }
  if (strcmp(name, "--relay") == 0) {
    return add_relay(o, value);
  }
  if (strcmp(name, "--bind") == 0) {
    return km_udp_addr_parse(&o->bind, value, strlen(value), NULL) == 0;
  }
  if (strcmp(name, "--gap") == 0) {
    return whole32(&o->gap_ms, value);
  }
  if (strcmp(name, "--congestion") == 0) {
    return congestion(&o->congestion, value);
  }
  if (strcmp(name, "--timeout") == 0) {
    return whole32(&o->timeout_ms, value);
  }
  if (strcmp(name, "--log") == 0) {
    o->log = value;
    return true;
  }
  if (strcmp(name, "--key") == 0) {
    o->key = value;
    return true;
  }
  return false;
}

static int refuse(km_errinfo *err, const char *what, const char *word) {
  err->code = KM_ERR_INVALID;
  (void)snprintf(err->text, sizeof err->text, "%s: %s", what, word);
  return err->code;
}

int transfer_options_parse(transfer_options *ret, int argc, char **argv, km_errinfo *err) {
  *ret = (transfer_options){.gap_ms = 20, .congestion = KM_CC_CUBIC};
  int i = 2;
  if (argc > 2 && strcmp(argv[1], "dial") == 0) {
    ret->peer = argv[i++];
  } else if (argc < 2 || strcmp(argv[1], "accept") != 0) {
    return refuse(err, "say accept, or dial and whom", argc < 2 ? "" : argv[1]);
  }
  while (i < argc) {
    if (strcmp(argv[i], "--hold") == 0) {
      ret->hold = true;
      i++;
    } else if (i + 1 < argc && set(ret, argv[i], argv[i + 1])) {
      i += 2;
    } else {
      return refuse(err, "unknown, or with a value that it does not take", argv[i]);
    }
  }
  return 0;
}
