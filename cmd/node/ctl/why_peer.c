#include "cmd/node/ctl/why_peer.h"

#include <string.h>

/* The way there, before it is shown. */
typedef struct answer {
  show *show;
  bool direct;
} answer;

bool why_peer_is_name(const char *word) {
  size_t len = strlen(word);
  km_id id;
  bool ticket = strncmp(word, "endpoint", 8) == 0 && len > KM_PEER_NAME_MAX;
  return !ticket && len > 0 && len <= KM_PEER_NAME_MAX && km_id_parse(&id, word, len, NULL) != 0;
}

static void take_result(void *ctx, cJSON *result) {
  answer *a = ctx;
  a->direct = strcmp(show_text(result, "path"), "direct") == 0;
  show_end(a->show, result);
}

static int ask(ctl *c, const char *name) {
  answer a = {.show = &c->show};
  const ctl_reader reader = {.result = take_result, .ctx = &a};
  km_errinfo err;
  show_begin(&c->show, "why");
  int rv = ctl_ask(c, "why", ctl_args("peer", name, NULL), &reader, &err);
  if (rv != 0) {
    return cli_error(&c->show.out, cli_status_of(rv), &err);
  }
  return a.direct ? CLI_EXIT_OK : CLI_EXIT_RELAYED;
}

int why_peer(const ctl_options *options, const char *name) {
  project *here;
  km_errinfo err;
  ctl c;
  /* Without a project nothing is wrong: the word was no id, which is said better elsewhere. */
  if (options->config == NULL && project_load(&here, NULL, &err) != 0) {
    return -1;
  }
  if (options->config == NULL) {
    project_free(here);
  }
  int status = ctl_open(&c, options);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  status = c.client != NULL ? ask(&c, name) : -1;
  ctl_close(&c);
  return status;
}
