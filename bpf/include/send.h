// SPDX-License-Identifier: GPL-2.0-or-later
/* Step 12: a real was chosen, and gets the packet. */
#ifndef KATRAN_SEND_H
#define KATRAN_SEND_H

#include "choice.h"
#include "encap.h"
#include "stats.h"
#include "vip.h"

/* A real on this host takes the packet as it is. */
static __always_inline bool
is_delivered_here(const struct vip *vip, const struct real_definition *real)
{
#ifdef FEATURE_LOCAL_DELIVERY
	return vip->flags & VIP_LOCAL && real->flags & REAL_LOCAL;
#else
	return false;
#endif
}

/* What is for a VIP of ours is for no balancer behind this one. */
static __always_inline int deliver_here(struct packet *p)
{
#ifdef FEATURE_CHAIN
	p->is_here = true;
#endif
	return XDP_PASS;
}

/* Step 12. */
static __always_inline int send_to_real(struct packet *p,
					const struct vip *vip,
					const struct choice *choice,
					const bool v6)
{
	struct real_definition *real = choice->real;
	struct inner inner;
	bool sent;

	add_stats(stats_of(vip->num), 1, p->bytes);
	add_stats(real_stats_of(choice->id), 1, p->bytes);
	if (is_delivered_here(vip, real))
		return deliver_here(p);

	inner = inner_of(p, choice->client, v6);
	if (real->flags & REAL_IPV6) {
		sent = encap_ipv6(p, &inner, real, v6);
		if (unlikely(!sent))
			count_family(COUNT_ENCAP_FAILED, true);
	} else {
		/* IPv6 in IPv4 does not exist here. */
		sent = !v6 && encap_ipv4(p, &inner, real);
		if (unlikely(!sent))
			count_family(COUNT_ENCAP_FAILED, false);
	}
	return likely(sent) ? XDP_TX : XDP_DROP;
}

#endif
