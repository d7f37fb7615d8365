#include "cmd/cli/yaml.h"

#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "base/env.h"

#define MAX_KEYS 256 /* of one mapping: each is compared with those before it */

typedef struct builder {
  yaml_parser_t parser;
  const char *name;
  const char *text; /* all of it */
  size_t len;
  km_errinfo *err;
  size_t nodes;
} builder;

/* --- errors ---------------------------------------------------------------------------------- */

static unsigned line_of(const yaml_event_t *event) {
  return (unsigned)event->start_mark.line + 1;
}

static int refuse(builder *b, const yaml_event_t *event, const char *what) {
  return km_fail(b->err, KM_ERR_INVALID, "%s:%u: %s", b->name, line_of(event), what);
}

/* Bytes that are no UTF-8 are seen long before their line is reached. */
static size_t line_of_byte(const builder *b, size_t offset) {
  size_t lines = 0;
  for (size_t i = 0; i < offset && i < b->len; i++) {
    lines += b->text[i] == '\n';
  }
  return lines;
}

/* Why libyaml stopped. */
static int refuse_syntax(builder *b) {
  const yaml_parser_t *p = &b->parser;
  if (p->error == YAML_MEMORY_ERROR) {
    return km_fail(b->err, KM_ERR_NOMEM, NULL);
  }
  size_t line =
      p->error == YAML_READER_ERROR ? line_of_byte(b, p->problem_offset) : p->problem_mark.line;
  return km_fail(b->err, KM_ERR_INVALID, "%s:%zu: this is not YAML: %s%s%s", b->name, line + 1,
                 p->problem == NULL ? "it cannot be read" : p->problem,
                 p->context == NULL ? "" : ", ", p->context == NULL ? "" : p->context);
}

static int next(builder *b, yaml_event_t *event) {
  return yaml_parser_parse(&b->parser, event) == 1 ? 0 : refuse_syntax(b);
}

/* --- what is refused ------------------------------------------------------------------------- */

static int check_extras(builder *b, const yaml_event_t *event, const yaml_char_t *anchor,
                        const yaml_char_t *tag) {
  if (anchor != NULL) {
    return refuse(b, event, "anchors (&name) are not known here: write the value out");
  }
  if (tag != NULL) {
    return refuse(b, event, "tags (!name) are not known here: leave it away");
  }
  return 0;
}

static int check_event(builder *b, const yaml_event_t *event) {
  switch (event->type) {
  case YAML_ALIAS_EVENT:
    return refuse(b, event, "aliases (*name) are not known here: write the value out");
  case YAML_SCALAR_EVENT:
    return check_extras(b, event, event->data.scalar.anchor, event->data.scalar.tag);
  case YAML_SEQUENCE_START_EVENT:
    return check_extras(b, event, event->data.sequence_start.anchor,
                        event->data.sequence_start.tag);
  case YAML_MAPPING_START_EVENT:
    return check_extras(b, event, event->data.mapping_start.anchor, event->data.mapping_start.tag);
  default:
    return 0;
  }
}

/* --- the tree -------------------------------------------------------------------------------- */

static int copy_scalar(builder *b, const yaml_event_t *event, char **ret) {
  const char *text = (const char *)event->data.scalar.value;
  size_t len = event->data.scalar.length;
  if (memchr(text, '\0', len) != NULL) {
    return refuse(b, event, "there is a NUL character in the value");
  }
  *ret = malloc(len + 1);
  if (*ret == NULL) {
    return km_fail(b->err, KM_ERR_NOMEM, NULL);
  }
  memcpy(*ret, text, len);
  (*ret)[len] = '\0';
  return 0;
}

/* Room for one more; arrays grow at powers of two. */
static int grow(builder *b, tree *t) {
  if (++b->nodes > TREE_MAX_NODES) {
    return km_fail(b->err, KM_ERR_INVALID, "%s:%u: there are more than %d values", b->name, t->line,
                   TREE_MAX_NODES);
  }
  if ((t->count & (t->count - 1)) != 0) {
    return 0;
  }
  size_t cap = t->count == 0 ? 1 : t->count * 2;
  tree *items = realloc(t->items, cap * sizeof *items);
  t->items = items == NULL ? t->items : items;
  if (items != NULL && t->kind == TREE_LIST) {
    return 0;
  }
  char **keys = items == NULL ? NULL : realloc(t->keys, cap * sizeof *keys);
  t->keys = keys == NULL ? t->keys : keys;
  unsigned *lines = keys == NULL ? NULL : realloc(t->key_lines, cap * sizeof *lines);
  t->key_lines = lines == NULL ? t->key_lines : lines;
  return lines == NULL ? km_fail(b->err, KM_ERR_NOMEM, NULL) : 0;
}

static int build(builder *b, tree *ret, yaml_event_t *event, unsigned depth);

static int build_list(builder *b, tree *ret, unsigned depth) {
  for (;;) {
    yaml_event_t event;
    int rv = next(b, &event);
    if (rv != 0) {
      return rv;
    }
    if (event.type == YAML_SEQUENCE_END_EVENT) {
      yaml_event_delete(&event);
      return 0;
    }
    rv = grow(b, ret);
    if (rv != 0) {
      yaml_event_delete(&event);
      return rv;
    }
    rv = build(b, &ret->items[ret->count++], &event, depth);
    if (rv != 0) {
      return rv;
    }
  }
}

/* Takes the key of a pair. */
static int take_key(builder *b, tree *map, const yaml_event_t *event) {
  int rv = check_event(b, event);
  if (rv == 0 && event->type != YAML_SCALAR_EVENT) {
    rv = refuse(b, event, "a key has to be a word");
  }
  rv = rv != 0 ? rv : grow(b, map);
  if (rv != 0) {
    return rv;
  }
  char *key = NULL;
  rv = map->count == MAX_KEYS ? refuse(b, event, "there are more than 256 keys here")
                              : copy_scalar(b, event, &key);
  for (size_t i = 0; rv == 0 && key != NULL && i < map->count; i++) {
    if (strcmp(map->keys[i], key) == 0) {
      rv = km_fail(b->err, KM_ERR_INVALID, "%s:%u: %.80s was given before, in line %u", b->name,
                   line_of(event), key, map->key_lines[i]);
    }
  }
  if (rv != 0) {
    free(key);
    return rv;
  }
  map->keys[map->count] = key;
  map->key_lines[map->count] = line_of(event);
  map->items[map->count] = (tree){.line = line_of(event)};
  map->count++;
  return 0;
}

static int build_map(builder *b, tree *ret, unsigned depth) {
  for (;;) {
    yaml_event_t event;
    int rv = next(b, &event);
    if (rv != 0) {
      return rv;
    }
    bool end = event.type == YAML_MAPPING_END_EVENT;
    rv = end ? 0 : take_key(b, ret, &event);
    yaml_event_delete(&event);
    if (end || rv != 0) {
      return rv;
    }
    rv = next(b, &event);
    rv = rv != 0 ? rv : build(b, &ret->items[ret->count - 1], &event, depth);
    if (rv != 0) {
      return rv;
    }
  }
}

/* Makes the value that `event` begins, and deletes the event. */
static int build(builder *b, tree *ret, yaml_event_t *event, unsigned depth) {
  *ret = (tree){.line = line_of(event)};
  int rv = check_event(b, event);
  yaml_event_type_t type = event->type;
  if (rv == 0 && type == YAML_SCALAR_EVENT) {
    ret->kind = TREE_SCALAR;
    ret->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    rv = copy_scalar(b, event, &ret->text);
  } else if (rv == 0 && depth == TREE_MAX_DEPTH) {
    rv = refuse(b, event, "this is nested too deeply");
  }
  yaml_event_delete(event);
  if (rv != 0 || type == YAML_SCALAR_EVENT) {
    return rv;
  }
  ret->kind = type == YAML_MAPPING_START_EVENT ? TREE_MAP : TREE_LIST;
  return ret->kind == TREE_MAP ? build_map(b, ret, depth + 1) : build_list(b, ret, depth + 1);
}

/* --- the document ---------------------------------------------------------------------------- */

/* Takes events that have nothing to say, up to the first that has. */
static int skip_to(builder *b, yaml_event_t *event) {
  for (;;) {
    int rv = next(b, event);
    if (rv != 0) {
      return rv;
    }
    if (event->type != YAML_STREAM_START_EVENT && event->type != YAML_DOCUMENT_START_EVENT &&
        event->type != YAML_DOCUMENT_END_EVENT) {
      return 0;
    }
    bool directives = event->type == YAML_DOCUMENT_START_EVENT &&
                      (event->data.document_start.version_directive != NULL ||
                       event->data.document_start.tag_directives.start !=
                           event->data.document_start.tag_directives.end);
    rv = directives ? refuse(b, event, "directives (%...) are not known here") : 0;
    yaml_event_delete(event);
    if (rv != 0) {
      return rv;
    }
  }
}

static int build_document(builder *b, tree *ret) {
  yaml_event_t event;
  int rv = skip_to(b, &event);
  if (rv != 0) {
    return rv;
  }
  if (event.type == YAML_STREAM_END_EVENT) {
    yaml_event_delete(&event);
    *ret = (tree){.kind = TREE_MAP, .line = 1};
    return 0;
  }
  rv = build(b, ret, &event, 0);
  rv = rv != 0 ? rv : skip_to(b, &event);
  if (rv != 0) {
    return rv;
  }
  rv = event.type == YAML_STREAM_END_EVENT
           ? 0
           : refuse(b, &event, "a second document begins here: one is all that is read");
  yaml_event_delete(&event);
  return rv;
}

int tree_parse(tree *ret, const char *name, const char *text, size_t len, km_errinfo *err) {
  builder b = {.name = name, .text = text, .len = len, .err = err};
  *ret = (tree){0};
  if (len > TREE_MAX_BYTES) {
    return km_fail(err, KM_ERR_INVALID, "%s:1: this is longer than 1 MiB", name);
  }
  if (yaml_parser_initialize(&b.parser) != 1) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(&b.parser, (const unsigned char *)text, len);
  int rv = build_document(&b, ret);
  yaml_parser_delete(&b.parser);
  if (rv != 0) {
    tree_free(ret);
  }
  return rv;
}

void tree_free(tree *t) {
  for (size_t i = 0; i < t->count; i++) {
    tree_free(&t->items[i]); /* as deep as TREE_MAX_DEPTH */
    if (t->keys != NULL) {
      free(t->keys[i]);
    }
  }
  free(t->items);
  free(t->keys);
  free(t->key_lines);
  free(t->text);
  *t = (tree){0};
}

const tree *tree_get(const tree *map, const char *key) {
  if (map == NULL || map->kind != TREE_MAP) {
    return NULL;
  }
  for (size_t i = 0; i < map->count; i++) {
    if (strcmp(map->keys[i], key) == 0) {
      return &map->items[i];
    }
  }
  return NULL;
}

bool tree_is_null(const tree *t) {
  return t->kind == TREE_SCALAR && !t->quoted &&
         (t->text[0] == '\0' || strcmp(t->text, "~") == 0 || strcmp(t->text, "null") == 0);
}
