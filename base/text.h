/* Text that may come from a stranger, made fit for one line of a log, a terminal or JSON. */
#ifndef KM_BASE_TEXT_H
#define KM_BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* Length of the well-formed UTF-8 sequence (RFC 3629) at `text`, 0 where there is none. */
size_t km_utf8_sequence(const char *text, size_t len);

/* True when the sequence is a control character: C0, DEL, or C1 (terminals obey U+009B). */
int km_utf8_is_control(const char *sequence, size_t len);

/* Replaces control characters and bytes that are not UTF-8 by '?', in place; cuts a sequence that
 * the end of the buffer broke. `text` is NUL-terminated. */
void km_text_clean(char *text);

#endif /* KM_BASE_TEXT_H */
