#include "magicsock/home_relay.h"

#include <string.h>

/* True when `a` is the better choice. Of equals the one named first in the configuration. */
static bool better(const km_home_relay *a, const km_home_relay *b) {
  if ((a->state == KM_HOME_DOWN) != (b->state == KM_HOME_DOWN)) {
    return b->state == KM_HOME_DOWN;
  }
  if (a->shaky != b->shaky) {
    return b->shaky;
  }
  if ((a->latency_ns == 0) != (b->latency_ns == 0)) {
    return b->latency_ns == 0;
  }
  return a->latency_ns < b->latency_ns;
}

static int best_but(const km_home_relay *relays, size_t count, int but, bool up_only) {
  int best = KM_HOME_NONE;
  for (size_t i = 0; i < count; i++) {
    if ((int)i == but || (up_only && relays[i].state != KM_HOME_UP)) {
      continue;
    }
    if (best == KM_HOME_NONE || better(&relays[i], &relays[best])) {
      best = (int)i;
    }
  }
  return best;
}

/* The challenger has to be clearly better than one that works. */
static bool worth_moving(const km_home_relay *now, const km_home_relay *challenger) {
  return !challenger->shaky && now->latency_ns != 0 && challenger->latency_ns != 0 &&
         challenger->latency_ns <= now->latency_ns / 3 * 2 &&
         now->latency_ns - challenger->latency_ns >= KM_HOME_WORTH_NS;
}

/* The best of all but one, or the present one while that is up and none is worth moving to. */
static int prefer(const km_home_relay *relays, size_t count, int but, int present) {
  int best = best_but(relays, count, but, false);
  if (present == KM_HOME_NONE || present == but || relays[present].state != KM_HOME_UP ||
      worth_moving(&relays[present], &relays[best])) {
    return best;
  }
  return present;
}

void km_home_plan_make(km_home_plan *ret, const km_home_relay *relays, size_t count, int home,
                       int standby) {
  memset(ret, 0, sizeof *ret);
  ret->home = ret->standby = KM_HOME_NONE;
  if (count == 0) {
    return;
  }
  int preferred = prefer(relays, count, KM_HOME_NONE, home);
  int next = prefer(relays, count, preferred, preferred == standby ? home : standby);
  ret->keep[preferred] = true;
  if (next != KM_HOME_NONE) {
    ret->keep[next] = true;
  }
  if (relays[preferred].state == KM_HOME_UP) {
    ret->home = preferred;
  } else if (home != KM_HOME_NONE && relays[home].state == KM_HOME_UP) {
    ret->home = home; /* until the preferred one is there */
    ret->keep[home] = true;
  } else {
    ret->home = best_but(relays, count, KM_HOME_NONE, true);
  }
  if (ret->home != KM_HOME_NONE) {
    ret->keep[ret->home] = true;
    bool ready = next != KM_HOME_NONE && next != ret->home && relays[next].state == KM_HOME_UP;
    ret->standby = ready ? next : best_but(relays, count, ret->home, true);
  }
}
