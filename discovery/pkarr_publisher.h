/* When a packet is published at one relay: soon after a change, again every few minutes, and again
 * after failures, with growing waits (iroh: PublisherService of address_lookup/pkarr.rs). Pure. */
#ifndef KM_DISCOVERY_PKARR_PUBLISHER_H
#define KM_DISCOVERY_PKARR_PUBLISHER_H

#include "base/env.h"

#define KM_PUBLISH_COALESCE (100 * KM_NS_PER_MS) /* changes within it go out together */
#define KM_PUBLISH_GAP (1 * KM_NS_PER_S)         /* at least this between two packets */
#define KM_PUBLISH_WAIT_STEP (1 * KM_NS_PER_S)   /* after the n-th failure in a row, n of these */
#define KM_PUBLISH_WAIT_MAX (60 * KM_NS_PER_S)
#define KM_PUBLISH_WAIT_CHANGED (10 * KM_NS_PER_S)      /* a change waits no longer than this */
#define KM_PUBLISH_RETRY_AFTER_MAX (3600 * KM_NS_PER_S) /* more is not believed */

typedef enum km_publish_step {
  KM_PUBLISH_WAIT, /* until km_pkarr_publisher_at, or for the request under way */
  KM_PUBLISH_GET,  /* ask for the packet that the relay has, to learn its timestamp */
  KM_PUBLISH_PUT
} km_publish_step;

typedef enum km_publish_result {
  KM_PUBLISH_OK,
  KM_PUBLISH_NEWER, /* refused: the relay has a newer packet */
  KM_PUBLISH_FAILED
} km_publish_result;

typedef struct km_pkarr_publisher {
  const km_env *env;
  uint64_t republish_ns;
  bool wanted;       /* there is something to publish */
  bool done;         /* the present state is published */
  bool busy;         /* a request is under way */
  bool changed;      /* a change waits for its turn */
  bool learn;        /* a GET comes before the next PUT */
  bool newer;        /* the last PUT met a newer packet */
  uint32_t failures; /* in a row */
  km_ts due;
  km_ts last_put;   /* 0: none */
  km_ts not_before; /* of a change: the last attempt failed, or the relay said so */
} km_pkarr_publisher;

/* `learn`: nothing is known of earlier timestamps, so that the relay is asked first. */
void km_pkarr_publisher_init(km_pkarr_publisher *p, const km_env *env, uint64_t republish_ns,
                             bool learn);
/* What is to be published is another than before; or nothing any more. */
void km_pkarr_publisher_changed(km_pkarr_publisher *p, km_ts now, bool wanted);
/* Another relay has a newer packet of the same content by now: here it is due, too. */
void km_pkarr_publisher_renewed(km_pkarr_publisher *p, km_ts now);
km_publish_step km_pkarr_publisher_next(const km_pkarr_publisher *p, km_ts now);
km_ts km_pkarr_publisher_at(const km_pkarr_publisher *p);

/* A request begins, and ends. A GET that failed is over as well: publishing goes on. */
void km_pkarr_publisher_begun(km_pkarr_publisher *p, km_ts now, km_publish_step step);
void km_pkarr_publisher_got(km_pkarr_publisher *p, km_ts now);
void km_pkarr_publisher_put(km_pkarr_publisher *p, km_ts now, km_publish_result result,
                            uint32_t retry_after_s);

#endif /* KM_DISCOVERY_PKARR_PUBLISHER_H */
