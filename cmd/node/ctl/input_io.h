/* What commands read and write beside their answers: files, standard input, standard output. */
#ifndef KM_CMD_NODE_CTL_INPUT_IO_H
#define KM_CMD_NODE_CTL_INPUT_IO_H

#include <stdint.h>
#include <stdio.h>

#include <keymesh/error.h>

/* A file, or standard input for "-", whole: from malloc, with a NUL behind. 0,
 * KM_ERR_FILE_NOT_FOUND, KM_ERR_PERMISSION, KM_ERR_LIMIT (more than `max` bytes), KM_ERR_IO or
 * KM_ERR_NOMEM. */
KM_NODISCARD int input_read(const char *path, size_t max, uint8_t **ret, size_t *ret_len,
                            km_errinfo *err);
/* The next line of a stream without its end, a NUL behind it; `*line` is reused, from malloc. 1, 0
 * at the end, KM_ERR_LIMIT (more than `max` bytes), KM_ERR_IO or KM_ERR_NOMEM. */
KM_NODISCARD int input_line(FILE *from, size_t max, char **line, size_t *cap, size_t *ret_len,
                            km_errinfo *err);
/* Writes a file anew; NULL: standard output. 0, KM_ERR_PERMISSION, KM_ERR_NO_SPACE, ... */
KM_NODISCARD int output_write(const char *path, const uint8_t *bytes, size_t len, km_errinfo *err);

#endif /* KM_CMD_NODE_CTL_INPUT_IO_H */
