#include "cmd/node/qr.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "base/env.h"

#ifdef KM_WITH_QRENCODE
#include <qrencode.h>

#define QUIET 4 /* modules of margin, ISO/IEC 18004 section 5.3.8 */

static bool is_dark(const QRcode *code, int x, int y) {
  bool inside = x >= 0 && y >= 0 && x < code->width && y < code->width;
  return inside && (code->data[y * code->width + x] & 1) != 0;
}

/* Two rows of modules are one of characters. On a terminal the colours are set, as half of them are
 * dark and half are light; elsewhere the dark modules are what is printed. */
static void print_code(const QRcode *code) {
  static const char *const blocks[] = {" ", "\u2580", "\u2584", "\u2588"};
  bool colour = isatty(STDOUT_FILENO) != 0;
  for (int y = -QUIET; y < code->width + QUIET; y += 2) {
    (void)fputs(colour ? "\033[30;107m" : "", stdout);
    for (int x = -QUIET; x < code->width + QUIET; x++) {
      (void)fputs(blocks[(is_dark(code, x, y) ? 1 : 0) + (is_dark(code, x, y + 1) ? 2 : 0)],
                  stdout);
    }
    (void)puts(colour ? "\033[0m" : "");
  }
}

int qr_print(const char *text, km_errinfo *err) {
  QRcode *code = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_L);
  if (code == NULL) {
    return errno == ENOMEM ? km_fail(err, KM_ERR_NOMEM, NULL)
                           : km_fail(err, KM_ERR_LIMIT,
                                     "the ticket is too long for a QR code: "
                                     "leave out some of its addresses");
  }
  print_code(code);
  QRcode_free(code);
  return 0;
}
#else
int qr_print(const char *text, km_errinfo *err) {
  (void)text;
  return km_fail(err, KM_ERR_UNSUPPORTED, "this km-node was built without libqrencode");
}
#endif
