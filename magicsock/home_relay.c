#include "magicsock/home_relay.h"

#include <string.h>

/* True when `a` is the better choice. Of equals the one named first in the configuration. */
static bool better(const km_home_relay *a, const km_home_relay *b) {
  if ((a->state == KM_HOME_DOWN) != (b->state == KM_HOME_DOWN)) {
    return b->state == KM_HOME_DOWN;
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

/* The challenger has to be clearly better than a home that works. */
static bool worth_moving(const km_home_relay *home, const km_home_relay *challenger) {
  return home->latency_ns != 0 && challenger->latency_ns != 0 &&
         challenger->latency_ns <= home->latency_ns / 3 * 2;
}

static int prefer(const km_home_relay *relays, size_t count, int home) {
  int best = best_but(relays, count, KM_HOME_NONE, false);
  if (home == KM_HOME_NONE || relays[home].state != KM_HOME_UP ||
      worth_moving(&relays[home], &relays[best])) {
    return best;
  }
  return home;
}

void km_home_plan_make(km_home_plan *ret, const km_home_relay *relays, size_t count, int home) {
  memset(ret, 0, sizeof *ret);
  ret->home = ret->standby = KM_HOME_NONE;
  if (count == 0) {
    return;
  }
  int preferred = prefer(relays, count, home);
  int next = best_but(relays, count, preferred, false);
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
    ret->standby = best_but(relays, count, ret->home, true);
  }
}
