// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Counters. Every CPU has its own copy, so plain additions do. Indexes of
 * `stats` from MAX_VIPS on; below it, index vip_num counts a VIP's traffic.
 */
#ifndef KATRAN_STATS_H
#define KATRAN_STATS_H

#include "settings.h"
#include "structs.h"

enum counter {
	COUNT_VIP_PACKETS = 0,		/* matched a VIP; chosen anew */
	COUNT_NEW_TCP = 1,		/* with SYN; without */
	COUNT_FLOOD = 2,		/* checks; start of the second */
	COUNT_FALLBACK = 3,		/* used fallback_cache */
	COUNT_TOO_BIG_SENT = 4,		/* ICMPv4; ICMPv6 */
	COUNT_SOURCE_ROUTE = 5,		/* misses; hits */
	COUNT_DECAP_DST = 6,		/* encapsulated to a decap_dst */
	COUNT_ENCAP_FAILED = 7,		/* IPv4; IPv6 */
	COUNT_GLOBAL_TABLE = 8,		/* no table; routed by it */
	COUNT_NO_REAL = 9,		/* outside reals; empty slot */
	COUNT_DECAP = 10,		/* outer IPv4; IPv6 */
	COUNT_QUIC_ICMP = 11,		/* all; with an ignored code */
	COUNT_ICMP6_TOO_BIG = 12,	/* all; with a small MTU */
	COUNT_ICMP4_FRAG_NEEDED = 13,	/* all; with a small MTU */
	COUNT_DECAP_BALANCED = 14,	/* inner IPv4; IPv6 */
	COUNT_MIGRATED = 15,		/* UDP flows off a down real */
	COUNT_SEEN = 16,		/* frames; bytes */
	COUNT_SENT = 17,
	COUNT_DROPPED = 18,
	COUNT_PASSED = 19,
	COUNT_EGRESS_DECAP = 20,	/* inner IPv4; IPv6 */
	COUNT_CIDR_VIP = 21,		/* matched by a CIDR VIP */
};

static __always_inline void add_stats(struct lb_stats *counter, u64 v1, u64 v2)
{
	if (likely(counter)) {
		counter->v1 += v1;
		counter->v2 += v2;
	}
}

static __always_inline void count_pair(u32 index, u64 v1, u64 v2)
{
	add_stats(stats_of(MAX_VIPS + index), v1, v2);
}

static __always_inline void count(u32 index)
{
	count_pair(index, 1, 0);
}

static __always_inline void count_second(u32 index)
{
	count_pair(index, 0, 1);
}

/* The first of a pair for IPv4, the second for IPv6. */
static __always_inline void count_family(u32 index, bool v6)
{
	count_pair(index, !v6, v6);
}

/*
 * More new flows in this CPU's current second than the tables should learn.
 * Every call counts as one. The coarse clock's tick of some milliseconds is
 * exact enough for a second.
 */
static __always_inline bool flooded(u64 now)
{
	struct lb_stats *second = stats_of(MAX_VIPS + COUNT_FLOOD);

	if (!second)
		return false;
	second->v1++;
	if ((s64)(now - second->v2) > (s64)NSEC_PER_SEC) {
		second->v1 = 1;
		second->v2 = now;
	}
	return second->v1 > MAX_NEW_FLOWS;
}

#endif
