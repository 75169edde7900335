// SPDX-License-Identifier: GPL-2.0-or-later
/* Step 1: which frames may be for a balancer. */
#ifndef KATRAN_FRAME_H
#define KATRAN_FRAME_H

#include "packet.h"
#include "vlan.h"

/*
 * Multicast and broadcast: every balancer of the segment gets the frame, and
 * each would send it on. Another host's own MAC is no reason to pass it: what
 * a router sends to a virtual one (VRRP) is for whoever has that.
 */
static __always_inline bool is_to_many(const u8 *eth)
{
	return unlikely(eth[0] & 1);
}

/* False: the frame has no Ethernet header. */
static __always_inline bool open_frame(struct cursor *cur, struct packet *p)
{
	cur->pos = (void *)(long)p->ctx->data;
	cur->end = (void *)(long)p->ctx->data_end;
	p->eth = cur->pos;
	return cur->pos + ETH_HLEN <= cur->end;
}

#endif
