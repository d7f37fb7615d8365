/* What a terminal sends for keys, made uniform. Pure. */
#ifndef KM_CMD_NODE_CTL_KEYS_H
#define KM_CMD_NODE_CTL_KEYS_H

#include <stddef.h>
#include <stdint.h>

#define KEYS_TEXT_CAP 8

/* One key. */
typedef struct keys_key {
  size_t used;              /* bytes it took; 0: it is not complete yet */
  char text[KEYS_TEXT_CAP]; /* a character in UTF-8, a control character, or ESC and a letter; "": a
                               key that means nothing here */
} keys_key;

/* Arrows and the like become the control characters of Emacs. `len` > 0. */
void keys_next(keys_key *ret, const uint8_t *bytes, size_t len);

#endif /* KM_CMD_NODE_CTL_KEYS_H */
