/* What the link emulator has to know of an Ethernet frame. Pure. */
#ifndef KM_TEST_NETLAB_LINK_FRAME_H
#define KM_TEST_NETLAB_LINK_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEAD 14 /* addresses and type: the packet follows */

/* Whether it asks or tells who has an address: ARP, or IPv6 neighbour discovery (RFC 4861). Such
 * frames never leave the wire; an emulated long-distance link must not delay or lose them, or the
 * kernel gives up before a satellite answers. */
bool frame_is_neighbour(const uint8_t *frame, size_t len);

#endif /* KM_TEST_NETLAB_LINK_FRAME_H */
