/* From what was measured to what it means. Pure. */
#ifndef KM_HOLEPUNCH_NET_REPORT_H
#define KM_HOLEPUNCH_NET_REPORT_H

#include <keymesh/net_report.h>

/* Sets verdict and advice, from all the rest. */
void km_net_report_conclude(km_net_report *report);

#endif /* KM_HOLEPUNCH_NET_REPORT_H */
