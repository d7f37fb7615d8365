/* Text that may come from a stranger, made fit for one line of a log, a terminal or JSON. */
#ifndef KM_BASE_TEXT_H
#define KM_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the well-formed UTF-8 sequence (RFC 3629) at `text`, 0 where there is none. */
size_t km_utf8_sequence(const char *text, size_t len);

/* True when the sequence is a control character: C0, DEL, or C1 (terminals obey U+009B). */
int km_utf8_is_control(const char *sequence, size_t len);

/* True for a character that is not seen but changes what is: it turns the direction of writing
 * around (a name reads as another one), breaks the line, or tells two equal looking names apart.
 * Joiners, which scripts and emoji need, are not among them. */
bool km_utf8_is_hidden(const char *sequence, size_t len);

/* All of it is UTF-8, and no NUL is in it. */
bool km_text_is_utf8(const char *text, size_t len);
/* And no control character. */
bool km_text_is_clean(const char *text, size_t len);

/* Replaces control and hidden characters and bytes that are not UTF-8 by '?', in place; cuts a
 * sequence that the end of the buffer broke. `text` is NUL-terminated. */
void km_text_clean(char *text);

/* Writes `text` in double quotes, cleaned, and with a backslash before quotes and backslashes of
 * its own, so that it can neither end nor begin a field of a log line. What does not fit is left
 * out, never the last quote; `cap` is 3 at least. Returns `buf`. */
#define KM_TEXT_QUOTED_CAP(len) (2 * (len) + 3)
const char *km_text_quote(char *buf, size_t cap, const char *text);

#endif /* KM_BASE_TEXT_H */
