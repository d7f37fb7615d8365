/* km-node cert: certificates of the first KeyMesh, mapped to ids. */
#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "cmd/node/project/commands.h"
#include "cmd/node/project/files_io.h"
#include "cmd/node/project/paths.h"
#include "cmd/node/project/project_impl.h"
#include "cmd/node/project/project_option.h"
#include "cmd/node/project/x509_io.h"

typedef struct cert_command {
  project_option o;
  cli_output out;
  const char *ca, *id;
} cert_command;

static void tell(const cli_output *out, const char *name, const cert_entry *e) {
  char id[KM_ID_TEXT_CAP];
  (void)km_id_format(&e->id, KM_ID_HEX, id, sizeof id);
  cJSON *event = cli_event(out, name);
  cli_add_text(event, "name", e->name);
  cli_add_text(event, "id", id);
  cli_add_text(event, "cert_fingerprint", e->cert_fingerprint);
  cli_add_text(event, "spki_fingerprint", e->spki_fingerprint);
  cli_add_text(event, "not_after", e->not_after);
  cli_emit(event);
  cli_say(out, "name     %s\nid       %s\ncert     %s\nkey      %s\nuntil    %s", e->name, id,
          e->cert_fingerprint, e->spki_fingerprint, e->not_after);
}

/* --- import ---------------------------------------------------------------------------------- */

/* The id that the certificate stands for: that of its own key, or the one that was given. */
static int take_id(const cert_command *c, const x509_cert *x, km_id *ret, km_errinfo *err) {
  km_addr *ticket = NULL;
  if (c->id == NULL) {
    *ret = x->id;
    return x->has_id ? 0
                     : km_fail(err, KM_ERR_INVALID,
                               "the certificate's key is no Ed25519 key, so it has no id of its "
                               "own: give the id of %.40s's new node with --id",
                               x->name);
  }
  size_t len = strlen(c->id);
  if (km_id_parse(ret, c->id, len, err) != 0) {
    if (km_ticket_parse(&ticket, c->id, len, NULL) != 0) {
      return km_fail(err, KM_ERR_BAD_ID, "--id takes an id or a ticket");
    }
    *ret = *km_addr_id(ticket);
    km_addr_free(ticket);
  }
  return x->has_id && !km_id_equal(ret, &x->id)
             ? km_fail(err, KM_ERR_INVALID,
                       "--id is another id than that of the certificate's key; "
                       "leave it away")
             : 0;
}

static int save(const project *p, certs *all, const cert_entry *entry, km_errinfo *err) {
  bool made;
  int rv = certs_put(all, entry, err);
  char *dir = rv == 0 ? path_join(p->certs_file, "..") : NULL;
  char *text = rv == 0 ? certs_format(all) : NULL;
  if (rv == 0 && (dir == NULL || text == NULL)) {
    rv = km_fail(err, KM_ERR_NOMEM, NULL);
  }
  rv = rv != 0 ? rv : files_make_folder(dir, 0700, &made, err);
  if (rv == 0 && text != NULL) {
    rv = files_replace(p->certs_file, text, strlen(text), 0644, err);
  }
  km_env_free(&km_env_system, dir);
  km_env_free(&km_env_system, text);
  return rv;
}

static int add(const cert_command *c, const project *p, const x509_cert *x, km_errinfo *err) {
  certs all;
  cert_entry entry = {.name = (char *)(uintptr_t)x->name,
                      .not_after = (char *)(uintptr_t)x->not_after};
  memcpy(entry.cert_fingerprint, x->cert_fingerprint, sizeof entry.cert_fingerprint);
  memcpy(entry.spki_fingerprint, x->spki_fingerprint, sizeof entry.spki_fingerprint);
  int rv = take_id(c, x, &entry.id, err);
  rv = rv != 0 ? rv : project_certs(p, &all, err);
  if (rv != 0) {
    return rv;
  }
  rv = save(p, &all, &entry, err);
  if (rv == 0) {
    tell(&c->out, "cert", &entry);
    cli_say(&c->out, "file     %s\n\nPeers may be named by it now: `id: %s` under `peers`.",
            p->certs_file, entry.name);
  }
  certs_free(&all);
  return rv;
}

static int import(const cert_command *c, const project_file *f, const char *file, km_errinfo *err) {
  x509_cert x;
  const char *ca = c->ca != NULL ? c->ca : f->ca_cert;
  if (ca == NULL) {
    return km_fail(err, KM_ERR_INVALID,
                   "whose signature is to be on it? Give the authority's "
                   "certificate with --ca, or as security.ca_cert");
  }
  int rv = x509_read(&x, file, ca, err);
  return rv != 0 ? rv : add(c, &f->pub, &x, err);
}

/* --- list ------------------------------------------------------------------------------------ */

static int list(const cert_command *c, const project_file *f, km_errinfo *err) {
  certs all;
  int rv = project_certs(&f->pub, &all, err);
  if (rv != 0) {
    return rv;
  }
  for (size_t i = 0; i < all.count; i++) {
    cli_say(&c->out, "%s", i == 0 ? "" : " ");
    tell(&c->out, "cert", &all.at[i]);
  }
  if (all.count == 0) {
    cli_say(&c->out, "No certificate was imported.");
  }
  certs_free(&all);
  return 0;
}

/* --- the command ----------------------------------------------------------------------------- */

static int run(cert_command *c, const cli_words *words, km_errinfo *err) {
  project_file *f;
  bool imports = strcmp(words->at[0], "import") == 0 && words->count == 2;
  bool lists = strcmp(words->at[0], "list") == 0 && words->count == 1;
  if (!imports && !lists) {
    return km_fail(err, KM_ERR_INVALID,
                   "say 'import' and a certificate's file, or 'list': see km-node cert --help");
  }
  int rv = project_read(&f, c->o.config, err);
  if (rv != 0) {
    return rv;
  }
  rv = imports ? import(c, f, words->at[1], err) : list(c, f, err);
  config_free(f);
  return rv;
}

int cmd_cert(int argc, char **argv) {
  cert_command c = {0};
  const cli_option options[] = {
      PROJECT_OPTION_ROWS(c.o),
      {"--ca", CLI_TEXT, &c.ca, "FILE", "import: the authority's certificate, in PEM form", 0, 0},
      {"--id", CLI_TEXT, &c.id, "ID", "import: the id it stands for, unless its key is Ed25519", 0,
       0},
      {0},
  };
  const cli_command command = {
      .name = "km-node cert",
      .usage = "km-node cert import FILE --ca CA.crt [--id ID] | km-node cert list",
      .about = "Maps a certificate of the first KeyMesh to an id, so that peers can be named as\n"
               "they were, and cert_fingerprint still counts. The certificate has to be valid and\n"
               "signed by that authority. See docs/migration.md.",
      .example = "  km-node cert import keys/host-B.crt --ca keys/ca.crt --id ID",
      .options = options,
      .min_words = 1,
      .max_words = 2,
  };
  cli_words words;
  km_errinfo err;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&c.out, c.o.json);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : cli_error(&c.out, CLI_EXIT_USAGE, &err);
  }
  int rv = run(&c, &words, &err);
  return rv == 0 ? CLI_EXIT_OK : cli_error(&c.out, cli_status_of(rv), &err);
}
