/* Whether bytes are one JSON text (RFC 8259), strictly, without building a tree: a megabyte of "[]"
 * would take a parser that builds one some fifty megabytes. Pure. */
#ifndef KM_STORE_JSON_TEXT_H
#define KM_STORE_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#define KM_JSON_DEPTH_MAX 128 /* arrays and objects within each other */

#define KM_JSON_NUMBER_MAX 63 /* characters; cJSON for one takes no more */

/* True for one value with white space around it, in UTF-8 without NUL, escaped or not, and with
 * surrogates in pairs only. */
bool km_json_text_ok(const char *text, size_t len);

#endif /* KM_STORE_JSON_TEXT_H */
