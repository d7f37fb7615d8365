/* What node2 sends: a text or a file, read twice (to send it and to check its echo), so that it is
 * never in memory as a whole. */
#ifndef KM_CMD_NODE_SOURCE_IO_H
#define KM_CMD_NODE_SOURCE_IO_H

#include <keymesh/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct source source;

/* `text` or `file` or neither (then a greeting); "-" is standard input, put aside in a temporary
 * file. 0 or an error with a sentence. */
int source_open(source **ret, const char *text, const char *file, km_errinfo *err);
void source_close(source *s);
uint64_t source_size(const source *s);
/* Exactly `len` bytes from `offset`. */
bool source_read(source *s, uint64_t offset, void *buf, size_t len);
/* 0 when the same bytes are there, KM_ERR_CRYPTO when others are, KM_ERR_IO when none can be read.
 */
int source_compare(source *s, uint64_t offset, const void *data, size_t len);

#endif /* KM_CMD_NODE_SOURCE_IO_H */
