/* What is known of the NAT that a socket of ours sits behind, in few bytes: what a peer needs to
 * know of it to punch through. */
#ifndef KM_HOLEPUNCH_NAT_H
#define KM_HOLEPUNCH_NAT_H

#include <keymesh/net_report.h>

/* Values of km_nat_mapping and km_nat_filtering (keymesh/net_report.h). */
typedef struct km_nat_info {
  uint8_t mapping4, mapping6;
  uint8_t filtering4, filtering6;
  /* From one mapping of ours to the next when they are made in a row, as some hard NATs do; 0: not
   * known, or random. */
  int16_t port_step;
} km_nat_info;

#endif /* KM_HOLEPUNCH_NAT_H */
