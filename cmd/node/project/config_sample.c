/* The keymesh.yaml that `km-node init` writes. */
#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "cmd/node/project/config.h"

/* In parts, as a string literal has its limits. What begins with "# " and a dash or a key is an
 * example; all else holds the defaults. */
static const char part_node[] =
    "# A KeyMesh node. Every key stands here with its default; what you do not need may go.\n"
    "# Paths are relative to this file. `km-node check` says what is wrong with it, and\n"
    "# man km-node-config explains more.\n"
    "\n"
    "node:\n"
    "  # What others are shown beside this node's id.\n"
    "  id: \"%s\"\n"
    "  # The address to listen on; empty: all of them, IPv4 and IPv6.\n"
    "  bind_host:\n"
    "  # The UDP port; 0: any. Take a fixed one, as 51888, if others are to name it under `addr`.\n"
    "  listen_port: 0\n"
    "  # Where the commands of this folder talk to the running node.\n"
    "  control_socket: run/control.sock\n"
    "\n";

static const char part_security[] =
    "security:\n"
    "  # The identity. Back it up; who has it is this node.\n"
    "  key: keys/node.key\n"
    "  # A file with the passphrase of a sealed key; empty: $KM_PASSPHRASE, else it is asked for.\n"
    "  passphrase_file:\n"
    "  # development: all are let in. signed: on first use. secure: those configured, trusted or\n"
    "  # recommended; others wait for `km-node peer approve`. strict: configured or trusted only.\n"
    "  level: secure\n"
    "  # So many trusted peers have to recommend a stranger; 0: recommendations do not count.\n"
    "  recommend_threshold: 2\n"
    "  # Does a trusted peer's revocation of another one count here?\n"
    "  accept_revocations: false\n"
    "  # Ids to let in as if they were configured, and ids to refuse whatever else says.\n"
    "  allow: []\n"
    "  block: []\n"
    "  # The same by fingerprint, \"sha256:...\": of a public key, or of an imported certificate.\n"
    "  fingerprint_whitelist: []\n"
    "  # Which ids the certificates of the first KeyMesh stand for (km-node cert import).\n"
    "  certs_file: keys/certs.yaml\n"
    "  # Of the first KeyMesh; used by `km-node cert import` alone.\n"
    "  ca_cert:\n"
    "  cert:\n"
    "\n";

static const char part_peers[] =
    "# Whom to connect to. `km-node peer add` writes them here.\n"
    "peers: []\n"
    "#  - id: \"<64 hex digits, a ticket, or the name of an imported certificate>\"\n"
    "#    name: host-B                  # shown beside the id\n"
    "#    addr: \"192.0.2.12:51888\"      # or a list; without it, discovery finds the peer\n"
    "#    relay: https://relay.example.org  # or a list\n"
    "#    cert_fingerprint: \"sha256:...\" # has to fit the id, or its imported certificate\n"
    "#    dial: true                    # false: wait until it dials us\n"
    "#    shares_access:                # what it may do here: ro or rw\n"
    "#      - {share: common, mode: rw}\n"
    "\n"
    "# What is kept in sync: namespaces of the key-value store.\n"
    "shares:\n"
    "  - name: common\n"
    "    # Of peers that are let in and have no shares_access for it: none, ro or rw.\n"
    "    default_mode: none\n"
    "    # For file transfer to come; it has to be inside this folder.\n"
    "    path: data/common\n"
    "    delete_propagation: false\n"
    "    ignore_file:\n"
    "\n";

static const char part_store[] =
    "store:\n"
    "  path: data/store.db\n"
    "  # power: what was acknowledged survives a power failure. process: the death of the node.\n"
    "  durability: power\n"
    "  # Bytes of a key (1 to 1024) and of a value (1 to 1048576).\n"
    "  max_key: 256\n"
    "  max_value: 65536\n"
    "  # How far ahead the clock of another node may be.\n"
    "  max_skew_ms: 60000\n"
    "  # A deletion is remembered at least so long.\n"
    "  tombstone_min_sec: 86400\n"
    "\n"
    "limits:\n"
    "  # Bytes of a message.\n"
    "  max_message: 1048576\n"
    "  # Of one peer: messages a minute, pushed entries a second; 0: no limit.\n"
    "  rate_per_minute: 60\n"
    "  rate_per_second: 10\n"
    "  # Accepted connections of one address.\n"
    "  max_conns_per_addr: 16\n"
    "  # Forged, malformed or forbidden things in ten minutes after which a peer is cut off.\n"
    "  max_faults: 16\n"
    "\n";

static const char part_connectivity[] =
    "connectivity:\n"
    "  heartbeat_sec: 20\n"
    "  # Silence after which a peer is given up; 0: three heartbeats.\n"
    "  heartbeat_timeout_sec: 0\n"
    "  connect_timeout_ms: 5000\n"
    "  # Stores are compared so often, beside what is pushed at once.\n"
    "  sync_interval_sec: 60\n"
    "  # Seconds between attempts; the last one repeats. Each is varied by so many percent.\n"
    "  backoff: [1, 3, 10, 30]\n"
    "  backoff_jitter_percent: 20\n"
    "  # off: none. dial-only: those of peers. custom: relay_urls. default: iroh's public ones.\n"
    "  relay: dial-only\n"
    "  relay_urls: []\n"
    "  # Authorities of the relays' certificates (PEM); empty: the system's.\n"
    "  relay_ca:\n"
    "  # Ask the router to forward a port (UPnP, NAT-PMP, PCP).\n"
    "  port_mapping: true\n"
    "\n"
    "discovery:\n"
    "  # Find peers on this network, and be found.\n"
    "  mdns: true\n"
    "  # Publish where this node is, signed, to the servers of `pkarr`.\n"
    "  publish: true\n"
    "  # Its addresses too, not only its relay: everybody can look them up then.\n"
    "  publish_direct: false\n"
    "  # Servers, as https://dns.example.org/pkarr, and DNS origins to look peers up.\n"
    "  pkarr: []\n"
    "  dns_origins: []\n"
    "\n";

static const char part_rest[] =
    "# The status page. Another host than 127.0.0.1 needs a token.\n"
    "status_http:\n"
    "  enabled: true\n"
    "  host: 127.0.0.1\n"
    "  port: 52180\n"
    "  token:\n"
    "\n"
    "hooks:\n"
    "  # A shell command for each message that comes; the message is on its stdin, as JSON.\n"
    "  on_message:\n"
    "\n"
    "logging:\n"
    "  # off, error, warn, info, debug or trace.\n"
    "  level: info\n"
    "  # Empty: standard error.\n"
    "  file: logs/keymesh.log\n";

char *config_sample(const char *node_id) {
  size_t cap = sizeof part_node + sizeof part_security + sizeof part_peers + sizeof part_store +
               sizeof part_connectivity + sizeof part_rest + 2 * strlen(node_id);
  char *ret = km_env_alloc(&km_env_system, cap);
  char *quoted = km_env_alloc(&km_env_system, 2 * strlen(node_id) + 1);
  if (ret != NULL && quoted != NULL) {
    char *to = quoted;
    for (const char *p = node_id; *p != '\0'; p++) {
      if (*p == '"' || *p == '\\') {
        *to++ = '\\';
      }
      *to++ = *p;
    }
    *to = '\0';
    int n = snprintf(ret, cap, part_node, quoted);
    (void)snprintf(ret + n, cap - (size_t)n, "%s%s%s%s%s", part_security, part_peers, part_store,
                   part_connectivity, part_rest);
  } else {
    km_env_free(&km_env_system, ret);
    ret = NULL;
  }
  km_env_free(&km_env_system, quoted);
  return ret;
}
