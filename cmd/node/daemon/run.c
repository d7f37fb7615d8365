/* km-node run: the node as a program that stays. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cli/options.h"
#include "cmd/node/daemon/commands.h"
#include "cmd/node/daemon/daemon.h"
#include "cmd/node/daemon/request_impl.h"

#define READY_WAIT_MS 5000 /* for a home relay, to have it in the ticket */
#define MAX_TIMEOUT_S 3600

/* --- stopping --------------------------------------------------------------------------------- */

void daemon_stop(node_daemon *d, int status) {
  if (d->stopping) {
    return;
  }
  d->stopping = true;
  d->status = status;
  km_timer_cancel(d->ready_timer);
  d->ready_timer = NULL;
  if (d->ready) {
    DAEMON_LOG(d, KM_LOG_INFO, "stopping", "status=%d", status);
  }
  control_server_close(d->control);
  d->control = NULL;
#if DAEMON_HAS_SHELL
  shell_detach(d->shell);
  d->shell = NULL;
#endif
  status_page_close(d->page);
  d->page = NULL;
  hook_close(d->hook);
  d->hook = NULL;
  if (d->node.mesh != NULL) {
    km_mesh_close(d->node.mesh); /* its on_closed closes the endpoint */
  } else if (d->endpoint != NULL) {
    km_endpoint_close(d->endpoint);
  }
}

static void on_signal(void *ctx) {
  node_daemon *d = ctx;
  daemon_stop(d, d->once != NULL ? 130 : CLI_EXIT_OK);
}

static void on_stop_timer(void *ctx) {
  node_daemon *d = ctx;
  d->stop_timer = NULL;
  daemon_stop(d, CLI_EXIT_OK);
}

/* Asked for by a request, whose answer goes out first. */
static void stop_soon(void *ctx) {
  node_daemon *d = ctx;
  if (!d->stopping && d->stop_timer == NULL &&
      km_timer_start(&d->stop_timer, d->loop, 0, on_stop_timer, d) != 0) {
    km_loop_stop(d->loop);
  }
}

static void on_hangup(void *ctx) {
  node_daemon *d = ctx;
  km_errinfo err = {0};
  cJSON *report = NULL;
  if (d->once == NULL && d->node.mesh != NULL) {
    (void)daemon_reload(d, &report, &err); /* it logs its end */
    cJSON_Delete(report);
  }
}

/* --- opening ---------------------------------------------------------------------------------- */

static int open_log(node_daemon *d, km_errinfo *err) {
  const project *p = d->project;
  const char *filter = cli_log_filter(NULL);
  /* Of one handshake the table says it all. */
  km_log_level level =
      d->options->once && p->log_level > KM_LOG_ERROR ? KM_LOG_ERROR : p->log_level;
  int rv = log_file_open(&d->log, d->options->once ? NULL : p->log_file, err);
  d->logger = (km_logger){.sink = log_file_write, .ctx = &d->log};
  memset(d->logger.filter.level, (int)level, sizeof d->logger.filter.level);
  return rv != 0 || filter == NULL ? rv : km_log_filter_parse(&d->logger.filter, filter, err);
}

/* Said before the store says that it is busy: what runs, and what to do. */
static int check_alone(const node_daemon *d, km_errinfo *err) {
  control_client *c;
  int rv = control_client_open(&c, d->project->control_path, err);
  if (rv == 0) {
    control_client_close(c);
    return km_fail(err, KM_ERR_STATE,
                   "a node runs on this project already: km-node status shows it");
  }
  return rv == KM_ERR_NOT_FOUND || rv == KM_ERR_PERMISSION ? 0 : rv;
}

static int open_mesh(node_daemon *d, km_errinfo *err) {
  km_mesh_options o;
  project_mesh_options(d->project, &o);
  o.store = d->node.store;
  daemon_set_callbacks(d, &o);
  /* Let in as peers, so that a reload can change them. */
  o.allow = NULL;
  o.allow_count = 0;
  int rv = d->options->once ? once_start(d, &o, err) : 0;
  rv = rv != 0 ? rv : km_mesh_open(&d->node.mesh, d->endpoint, &o, err);
  if (rv == 0 && !d->options->once) {
    daemon_forget_blocked(d);
  }
  return rv != 0 || d->options->once ? rv : daemon_add_allowed(d, err);
}

static int open_page(node_daemon *d, km_errinfo *err) {
  const project *p = d->project;
  bool given = d->options->status_port != STATUS_PORT_CONFIGURED;
  if (d->options->no_status || (!p->status_enabled && !given)) {
    return 0;
  }
  const status_page_config config = {.node = &d->node,
                                     .host = p->status_host,
                                     .port =
                                         given ? (uint16_t)d->options->status_port : p->status_port,
                                     .token = p->status_token};
  int rv = status_page_open(&d->page, &config, err);
  if (rv == KM_ERR_PERMISSION && err->sys_errno == 0) { /* it is not permitted by us */
    rv = err->code = KM_ERR_INVALID;
  }
  return rv;
}

static int open_hook(node_daemon *d, km_errinfo *err) {
  const hook_config config = {.loop = d->loop, .folder = d->project->dir, .logger = &d->logger};
  int rv = hook_open(&d->hook, &config);
  rv = rv != 0 ? rv : hook_set_command(d->hook, d->project->on_message);
  return rv == 0 ? 0 : km_fail(err, rv, NULL);
}

static int open_store(node_daemon *d, const km_secret_key *key, km_errinfo *err) {
  int rv = project_store(d->project, key, &d->node.store, err);
  if (rv == KM_ERR_STORE_BUSY) {
    return km_fail(err, rv,
                   "another process uses the store %.100s: is a node or a command of "
                   "this project running?",
                   d->project->store_path);
  }
  return rv;
}

#if DAEMON_HAS_SHELL
static void on_quit(void *ctx, int status) {
  daemon_stop(ctx, status);
}
#endif

/* What is left open on failure, close_all closes. */
static int open_all(node_daemon *d, const km_secret_key *key, km_errinfo *err) {
  int rv = open_store(d, key, err);
  rv = rv != 0 ? rv : open_hook(d, err);
  rv = rv != 0 ? rv : daemon_open_endpoint(d, key, err);
  rv = rv != 0 ? rv : open_mesh(d, err);
  if (rv != 0 || d->options->once) {
    return rv;
  }
  rv = open_page(d, err);
  rv = rv != 0 ? rv : control_server_open(&d->control, &d->node, d->project->control_path, err);
#if DAEMON_HAS_SHELL
  if (rv == 0 && d->options->interactive) {
    rv = shell_attach(&d->shell, &d->node, on_quit, d, err);
  }
#endif
  return rv;
}

static void on_ready_late(void *ctx) {
  node_daemon *d = ctx;
  d->ready_timer = NULL;
  DAEMON_LOG(d, KM_LOG_WARN, "no-relay", "no relay answered within %d s; it is tried on",
             READY_WAIT_MS / 1000);
  d->ready = true;
  daemon_tell_ready(d);
}

static void begin(node_daemon *d) {
  if (d->options->once) {
    once_begin(d);
    return;
  }
  if (daemon_has_relays(d) && !km_endpoint_online(d->endpoint) &&
      km_timer_start(&d->ready_timer, d->loop, READY_WAIT_MS, on_ready_late, d) == 0) {
    return;
  }
  d->ready = true;
  daemon_tell_ready(d);
}

/* --- what is said ----------------------------------------------------------------------------- */

static void on_line(void *ctx, const char *text) {
  line_queue_add(ctx, text);
}

static char *lost_line(void *ctx, uint64_t lines) {
  const node_daemon *d = ctx;
  char text[96];
  (void)snprintf(text, sizeof text,
                 d->out.json ? "{\"event\":\"lost\",\"count\":%llu}"
                             : "%llu lines were left out: nobody read them, or the disk was full",
                 (unsigned long long)lines);
  return strdup(text);
}

static int open_lines(node_daemon *d, km_errinfo *err) {
  int rv = log_file_queue(&d->log, d->loop);
  if (rv != 0 || d->options->interactive) {
    return rv == 0 ? 0 : km_fail(err, rv, NULL);
  }
  rv = line_queue_open(&d->lines, d->loop, STDOUT_FILENO, lost_line, d);
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  d->out.line = on_line;
  d->out.ctx = d->lines;
  return 0;
}

static void close_lines(node_daemon *d) {
  log_file_unqueue(&d->log);
  int sys_errno = line_queue_close(d->lines);
  d->lines = NULL;
  d->out.line = NULL;
  if (sys_errno != 0 && d->status == CLI_EXIT_OK) {
    (void)fprintf(stderr, "error: standard output cannot be written to: %s\n", strerror(sys_errno));
    d->status = CLI_EXIT_FAILED;
  }
}

/* --- one run ---------------------------------------------------------------------------------- */

static int start(node_daemon *d, km_errinfo *err) {
  km_secret_key *key = NULL;
  d->node = (node_context){.loop = d->loop,
                           .project = d->project,
                           .started_ms = km_clock_wall().unix_ns / (int64_t)KM_NS_PER_MS,
                           .daemon = d,
                           .reload = daemon_reload,
                           .stop = stop_soon};
  d->service =
      (cli_service){.loop = d->loop, .on_stop = on_signal, .on_reload = on_hangup, .ctx = d};
  int rv = project_key(d->project, &key, err);
  rv = rv != 0 ? rv : open_lines(d, err);
  rv = rv != 0 ? rv : cli_service_start(&d->service, err);
  rv = rv != 0 ? rv : open_all(d, key, err);
  km_secret_key_free(key);
  return rv;
}

static void close_all(node_daemon *d) {
  if (!d->stopping) {
    daemon_stop(d, d->status);
  }
  while (d->endpoint != NULL) {
    (void)km_loop_run(d->loop);
  }
  km_timer_cancel(d->stop_timer);
  once_free(d->once);
  km_discovery_free(d->discovery);
  km_store_close(d->node.store);
}

static int run_on(node_daemon *d) {
  km_errinfo err = {0};
  int rv = start(d, &err);
  if (rv == 0) {
    begin(d);
    while (d->endpoint != NULL) {
      (void)km_loop_run(d->loop);
    }
  } else {
    d->status = cli_error(&d->out, cli_status_of(rv), &err);
  }
  close_all(d);
  close_lines(d);
  cli_service_end(&d->service);
  return d->status;
}

static int run(const run_options *o) {
  node_daemon d = {.options = o, .log = {.fd = -1}};
  km_errinfo err = {0};
  cli_output_init(&d.out, o->json);
  int rv = project_load(&d.project, o->config, &err);
  if (rv != 0) {
    return cli_error(&d.out, CLI_EXIT_USAGE, &err);
  }
  d.first = d.project;
  rv = open_log(&d, &err);
  rv = rv != 0 ? rv : check_alone(&d, &err);
  if (rv == 0 && km_loop_new(&d.loop) != 0) {
    rv = km_fail(&err, KM_ERR_SYSTEM, NULL);
  }
  if (rv != 0) {
    d.status = cli_error(&d.out, cli_status_of(rv), &err);
  } else {
    d.status = run_on(&d);
    (void)km_loop_free(d.loop);
  }
  log_file_close(&d.log);
  if (d.project != d.first) {
    project_free(d.project);
  }
  project_free(d.first);
  return d.status;
}

/* --- the command line ------------------------------------------------------------------------- */

static cli_result parse(run_options *o, int argc, char **argv, km_errinfo *err) {
  const cli_option options[] = {
      {"--config", CLI_TEXT, &o->config, "FILE",
       "the project's keymesh.yaml or folder (default $KM_PROJECT, or here)", 0, 0},
      {"--status-port", CLI_NUMBER, &o->status_port, "PORT",
       "of the status page (0 = any; default the configuration's)", 0, 65535},
      {"--no-status", CLI_FLAG, &o->no_status, NULL, "no status page", 0, 0},
      {"--bind-host", CLI_TEXT, &o->bind_host, "IP", "bind here (default the configuration's)", 0,
       0},
      {"--once-handshake", CLI_FLAG, &o->once, NULL,
       "shake hands with every configured peer, print a table, and end", 0, 0},
      {"--timeout", CLI_NUMBER, &o->timeout_s, "S",
       "of --once-handshake: try again for so long (default one attempt each)", 1, MAX_TIMEOUT_S},
      {"--interactive", CLI_FLAG, &o->interactive, NULL, "with the shell of km-node shell", 0, 0},
      {"--json", CLI_FLAG, &o->json, NULL, "events on stdout, one JSON object a line", 0, 0},
      {0},
  };
  const cli_command command = {
      .name = "km-node run",
      .usage = "km-node run [--config FILE] [OPTION]...",
      .about = "Runs the node of a project: keeps connections to its peers, its shares in sync,\n"
               "its messages moving, and serves its status page. SIGHUP reads the configuration\n"
               "again, SIGTERM ends it gracefully.\n\n"
               "With --once-handshake the exit status is 0 only if every peer answered.",
      .example = "  km-node init && km-node run\n"
                 "  km-node run --once-handshake       # who can be reached?",
      .options = options};
  cli_words words;
  return cli_parse(&command, argc, argv, &words, err);
}

static int check(const run_options *o, km_errinfo *err) {
  if (o->timeout_s != 0 && !o->once) {
    return km_fail(err, KM_ERR_INVALID, "--timeout goes with --once-handshake");
  }
  if (o->once && o->interactive) {
    return km_fail(err, KM_ERR_INVALID, "--once-handshake and --interactive do not go together");
  }
  if (o->interactive && o->json) {
    return km_fail(err, KM_ERR_INVALID, "--interactive and --json do not go together");
  }
  return 0;
}

int cmd_run(int argc, char **argv) {
  run_options o = {.status_port = STATUS_PORT_CONFIGURED};
  km_errinfo err = {0};
  cli_output out;
  cli_result result = parse(&o, argc, argv, &err);
  cli_output_init(&out, o.json);
  if (result == CLI_HELPED) {
    return CLI_EXIT_OK;
  }
  if (result == CLI_BAD || check(&o, &err) != 0) {
    return cli_error(&out, CLI_EXIT_USAGE, &err);
  }
  return run(&o);
}
