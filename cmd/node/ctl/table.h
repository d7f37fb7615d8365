/* A table for people: columns as wide as they need to be. Cells are cleaned of what would steer a
 * terminal. */
#ifndef KM_CMD_NODE_CTL_TABLE_H
#define KM_CMD_NODE_CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#define TABLE_COLUMNS_MAX 12

typedef struct table {
  const char *const *heads; /* one that begins with '>' is of numbers: to the right */
  size_t columns;
  char **cells; /* row by row */
  size_t count, cap;
} table;

/* `heads` is static, NULL at the end. */
void table_init(table *t, const char *const *heads);
/* Copies as many cells as there are columns; without memory the row is left out. */
void table_add(table *t, const char *const *cells);
size_t table_rows(const table *t);
/* Prints to stdout, heads bold with `colour`; nothing when there is no row. Frees. */
void table_print(table *t, bool colour);
void table_free(table *t);

/* Columns that a text takes, one a character. */
size_t table_width(const char *text);

#endif /* KM_CMD_NODE_CTL_TABLE_H */
