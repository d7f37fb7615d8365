/* A file with a signed key name record: one line of hexadecimal digits. */
#ifndef KM_CMD_NODE_RECORD_FILE_IO_H
#define KM_CMD_NODE_RECORD_FILE_IO_H

#include <keymesh/record.h>

/* The length of the record, or an error with a sentence. */
int record_file_read(const char *path, uint8_t ret[KM_RECORD_BYTES_MAX], km_errinfo *err);
/* Replaces the file as a whole, or leaves it as it is. */
int record_file_write(const char *path, const uint8_t *record, size_t len, km_errinfo *err);

#endif /* KM_CMD_NODE_RECORD_FILE_IO_H */
