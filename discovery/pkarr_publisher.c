#include "discovery/pkarr_publisher.h"

static km_ts later(km_ts a, km_ts b) {
  return a > b ? a : b;
}

void km_pkarr_publisher_init(km_pkarr_publisher *p, const km_env *env, uint64_t republish_ns,
                             bool learn) {
  *p = (km_pkarr_publisher){
      .env = env, .republish_ns = republish_ns, .learn = learn, .due = KM_TS_NEVER};
}

void km_pkarr_publisher_changed(km_pkarr_publisher *p, km_ts now, bool wanted) {
  p->wanted = wanted;
  p->done = false;
  if (!wanted) {
    p->changed = false;
    return;
  }
  if (p->changed) {
    return; /* goes out with the one that waits already */
  }
  p->changed = true;
  p->due = later(now + KM_PUBLISH_COALESCE, p->not_before);
  if (p->last_put != 0) {
    p->due = later(p->due, p->last_put + KM_PUBLISH_GAP);
  }
}

void km_pkarr_publisher_renewed(km_pkarr_publisher *p, km_ts now) {
  if (p->done && p->failures == 0 && p->due > now + KM_PUBLISH_COALESCE) {
    p->due = now + KM_PUBLISH_COALESCE;
  }
}

km_publish_step km_pkarr_publisher_next(const km_pkarr_publisher *p, km_ts now) {
  if (!p->wanted || p->busy || now < p->due) {
    return KM_PUBLISH_WAIT;
  }
  return p->learn ? KM_PUBLISH_GET : KM_PUBLISH_PUT;
}

km_ts km_pkarr_publisher_at(const km_pkarr_publisher *p) {
  return p->wanted && !p->busy ? p->due : KM_TS_NEVER;
}

void km_pkarr_publisher_begun(km_pkarr_publisher *p, km_ts now, km_publish_step step) {
  p->busy = true;
  if (step == KM_PUBLISH_PUT) {
    p->last_put = now;
    p->changed = false;
  }
}

void km_pkarr_publisher_got(km_pkarr_publisher *p, km_ts now) {
  p->busy = false;
  p->learn = false;
  p->due = now;
}

static void succeed(km_pkarr_publisher *p, km_ts now) {
  p->failures = 0;
  p->newer = false;
  p->not_before = 0;
  p->done = p->wanted && !p->changed;
  if (!p->changed) {
    /* Relays must not hear from all of their publishers at once for ever after a restart. */
    p->due = now + p->republish_ns - km_env_random_below(p->env, p->republish_ns / 10 + 1);
  }
}

static void fail(km_pkarr_publisher *p, km_ts now, uint32_t retry_after_s) {
  p->failures++;
  p->newer = false;
  uint64_t wait = p->failures * KM_PUBLISH_WAIT_STEP;
  wait = wait < KM_PUBLISH_WAIT_MAX ? wait : KM_PUBLISH_WAIT_MAX;
  wait += km_env_random_below(p->env, wait / 4 + 1);
  uint64_t asked = retry_after_s * KM_NS_PER_S;
  asked = asked < KM_PUBLISH_RETRY_AFTER_MAX ? asked : KM_PUBLISH_RETRY_AFTER_MAX;
  uint64_t changed = wait < KM_PUBLISH_WAIT_CHANGED ? wait : KM_PUBLISH_WAIT_CHANGED;
  p->not_before = now + (changed > asked ? changed : asked);
  p->due = later(p->changed ? p->due : now + wait, p->not_before);
}

void km_pkarr_publisher_put(km_pkarr_publisher *p, km_ts now, km_publish_result result,
                            uint32_t retry_after_s) {
  p->busy = false;
  if (result == KM_PUBLISH_OK) {
    succeed(p, now);
  } else if (result == KM_PUBLISH_NEWER && !p->newer) {
    p->newer = p->learn = true;
    p->due = now;
  } else {
    fail(p, now, retry_after_s);
  }
}
