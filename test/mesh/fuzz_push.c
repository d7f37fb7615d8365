/* Frames of a push stream as they are put together from pieces: whatever comes, each is read once
 * and within its bounds. First byte: how large the pieces are. */
#include <stdlib.h>

#include "endpoint/mesh/push.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define MAX 4096

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

/* Sum of what all frames hold, and where they end. */
typedef struct outcome {
  size_t frames, bytes, end;
  int error;
} outcome;

static outcome read_all(const uint8_t *data, size_t len, size_t piece) {
  outcome o = {0};
  size_t seen = piece;
  while (o.error == 0 && o.end < len) {
    size_t have = (seen < len ? seen : len) - o.end, used = 0, want = 0;
    uint8_t type;
    km_rd body;
    int rv = km_push_frame(data + o.end, have, MAX, &used, &want, &type, &body);
    if (rv == 1) {
      check(used <= have && km_rd_left(&body) < used && body.end == data + o.end + used);
      o.frames++;
      o.bytes += km_rd_left(&body);
      o.end += used;
    } else if (rv == 0) {
      check(want == 0 || want > have);
      if (seen >= len) {
        return o;
      }
      seen += piece;
    } else {
      check(rv == KM_ERR_BAD_PACKET);
      o.error = rv;
    }
  }
  return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  if (len == 0) {
    return 0;
  }
  outcome whole = read_all(data + 1, len - 1, len);
  outcome cut = read_all(data + 1, len - 1, (size_t)data[0] + 1);
  check(whole.frames == cut.frames && whole.bytes == cut.bytes && whole.end == cut.end &&
        whole.error == cut.error);
  return 0;
}
