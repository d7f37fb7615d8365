/* What ids are called. */
#ifndef KM_CMD_NODE_CTL_NAMES_H
#define KM_CMD_NODE_CTL_NAMES_H

#include <cjson/cJSON.h>

#include "cmd/node/project/project.h"

typedef struct names_entry {
  char id[KM_ID_HEX_LEN + 1];
  char *name;
} names_entry;

/* Zeroed it is empty. The first name of an id stays. */
typedef struct name_list {
  names_entry *at;
  size_t count, cap;
} name_list;

/* Names are a help: what there is no memory for is left out. */
void names_add(name_list *n, const char *id, const char *name);
void names_add_project(name_list *n, const project *p);
/* A row of peer.list, or the result of peers. */
void names_add_answer(name_list *n, const cJSON *answer);
const char *names_find(const name_list *n, const char *id); /* "" for none */
void names_clear(name_list *n);

#endif /* KM_CMD_NODE_CTL_NAMES_H */
