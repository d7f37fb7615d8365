/* The part of YAML 1.1 that our configuration uses, as a small tree that knows its lines: mappings
 * with plain keys, sequences, scalars. Anchors, aliases, tags, several documents and duplicate keys
 * are refused, and so is what is too deep or too long. Pure. */
#ifndef KM_CMD_CLI_YAML_H
#define KM_CMD_CLI_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include <keymesh/error.h>

#define TREE_MAX_BYTES (1u << 20)
#define TREE_MAX_NODES 50000
#define TREE_MAX_DEPTH 8

typedef enum tree_kind { TREE_SCALAR, TREE_LIST, TREE_MAP } tree_kind;

typedef struct tree tree;
struct tree {
  tree_kind kind;
  unsigned line; /* from 1 */
  char *text;    /* TREE_SCALAR: UTF-8 without a NUL in it */
  bool quoted;   /* TREE_SCALAR: in quotes or a block, thus a text whatever it looks like */
  char **keys;   /* TREE_MAP */
  unsigned *key_lines;
  tree *items; /* TREE_LIST, TREE_MAP: `count` of them */
  size_t count;
};

/* Reads a document; an empty one is an empty mapping. `name` is the file's, for errors, whose text
 * begins "NAME:LINE: ". Free with tree_free.
 * 0, KM_ERR_INVALID or KM_ERR_NOMEM: `ret` is empty then. */
KM_NODISCARD int tree_parse(tree *ret, const char *name, const char *text, size_t len,
                            km_errinfo *err);
void tree_free(tree *t); /* what is in it; all zero does no harm */

/* The value of a key; NULL when it is not there, or `map` is NULL or no mapping. */
const tree *tree_get(const tree *map, const char *key);
/* Nothing was written there: `key:`, `key: ~` or `key: null`. */
bool tree_is_null(const tree *t);

#endif /* KM_CMD_CLI_YAML_H */
