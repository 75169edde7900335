// SPDX-License-Identifier: GPL-2.0-or-later
/* Which clients a VIP takes: between steps 6 and 7. */
#ifndef KATRAN_SOURCE_FILTER_H
#define KATRAN_SOURCE_FILTER_H

#include "packet.h"
#include "stats.h"
#include "vip.h"

#ifdef FEATURE_SOURCE_FILTER
static __always_inline u32 *source_verdict(const struct flow_key *flow,
					   u32 vip, const bool v6)
{
	if (v6) {
		struct filter6_key key __on_stack;

		key.prefixlen = 32 + 128;
		key.vip_num = vip;
		set_address(key.addr, flow->words[0], flow->words[1]);
		return find_filter6(&key);
	} else {
		struct filter4_key key __on_stack;

		key.prefixlen = 32 + 32;
		key.vip_num = vip;
		key.addr = flow->src[0];
		return find_filter4(&key);
	}
}
#endif

/*
 * The flow's client counts: of an ICMP error the one whose packet it quotes,
 * and not the router that sent it. A client that no prefix holds may come in,
 * so that a VIP whose entries are not there is as if it had no lists.
 */
static __always_inline bool is_denied(const struct packet *p,
				      const struct flow_key *flow,
				      const struct vip *vip, const bool v6)
{
#ifdef FEATURE_SOURCE_FILTER
	u32 *verdict;

	if (likely(!(vip->flags & VIP_SOURCE_FILTER)))
		return false;
	verdict = source_verdict(flow, vip->num, v6);
	if (likely(!verdict || *verdict != SOURCE_DENIED))
		return false;
	add_stats(denied_stats_of(vip->num), 1, p->bytes);
	return true;
#else
	return false;
#endif
}

#endif
