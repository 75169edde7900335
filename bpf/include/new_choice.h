// SPDX-License-Identifier: GPL-2.0-or-later
/* Step 11e: a real for a flow that nothing is known of. */
#ifndef KATRAN_NEW_CHOICE_H
#define KATRAN_NEW_CHOICE_H

#include "choice.h"
#include "hash.h"
#include "introspection.h"
#include "vip.h"

#ifdef FEATURE_SOURCE_ROUTING
static __always_inline u32 source_route(const struct flow_key *flow,
					const bool v6)
{
	u32 *id;

	if (v6) {
		struct v6_lpm_key key = { .prefixlen = 128 };

		__builtin_memcpy(key.addr, flow->src, sizeof(key.addr));
		id = find_source_route6(&key);
	} else {
		struct v4_lpm_key key = {
			.prefixlen = 32,
			.addr = flow->src[0],
		};

		id = find_source_route4(&key);
	}
	return id ? *id : 0;
}
#endif

/* The real's id by the longest prefix of the client's address; 0: none. */
static __always_inline u32 source_choice(const struct flow_key *flow,
					 const struct vip *vip, bool flood,
					 const bool v6)
{
#ifdef FEATURE_SOURCE_ROUTING
	u32 id;

	if (!(vip->flags & VIP_SOURCE_ROUTING) || flood)
		return 0;
	id = source_route(flow, v6);
	count_pair(COUNT_SOURCE_ROUTE, !id, !!id);
	return id;
#else
	return 0;
#endif
}

/* The real's id; 0: the slot is empty. */
static __always_inline u32 ring_choice(const struct flow_key *flow,
				       __be32 ports, const struct vip *vip,
				       const bool v6)
{
	u32 index, hash, dport = ports >> 16;
	u32 *id;

	if (vip->flags & VIP_HASH_DST_PORT_ONLY) {
		const u32 nobody[4] = {};
		u32 first = v6 ? jhash_four_words(nobody, MAX_VIPS) : 0;

		hash = jhash_two_words(first, dport | dport << 16, RING_SEED);
	} else {
		u32 first = v6 ? jhash_four_words(flow->src, MAX_VIPS) :
				 flow->src[0];

		hash = jhash_two_words(first, ports, RING_SEED);
	}
	index = vip->num * RING_SIZE + ring_slot(hash);
	id = find_ring_slot(&index);
	return id ? *id : 0;
}

/*
 * lru_miss_stats counts for the one VIP that the operator is tracing; no VIP
 * has protocol 0.
 */
static __always_inline void count_traced_miss(const struct vip *vip, u32 id)
{
	struct vip_definition *traced = find_traced_vip(), *key;
	struct vip_definition exact __on_stack;
	u32 *misses;

	if (!traced || likely(!traced->proto))
		return;
	key = own_key(vip, &exact);
	if (!key || word32_at(&traced->port) != word32_at(&key->port) ||
	    traced->vip[0] != key->vip[0] || traced->vip[1] != key->vip[1] ||
	    traced->vip[2] != key->vip[2] || traced->vip[3] != key->vip[3])
		return;
	misses = find_miss_count(&id);
	if (misses)
		*misses += 1;
}

/* CONTINUE: *choice is complete. */
static __always_inline int new_choice(struct packet *p,
				      const struct table *table,
				      struct flow_key *flow,
				      const struct vip *vip,
				      struct choice *choice, const bool v6)
{
	u64 now = coarse_ns();
	bool remember = !(vip->flags & VIP_NO_LRU) &&
			!(p->tcp_flags & TCP_RST);
	bool flood;

	if (p->proto == IPPROTO_TCP) {
		bool syn = p->tcp_flags & TCP_SYN;

		count_pair(COUNT_NEW_TCP, syn, !syn);
		if (!syn)
			report(p, EVENT_TCP_NONSYN_MISS);
	}
	flood = flooded(now);
	choice->id = source_choice(flow, vip, flood, v6);
	chosen_by(choice, HOW_SOURCE_ROUTE);
	if (!choice->id) {
		chosen_by(choice, HOW_RING);
		choice->id = ring_choice(flow, p->ports, vip, v6);
		if (unlikely(!choice->id)) {
			count_second(COUNT_NO_REAL);
			return XDP_DROP;
		}
		/*
		 * All clients of a port share a real, and its outer source;
		 * the ring alone gives it, so the table need not learn it.
		 */
		if (vip->flags & VIP_HASH_DST_PORT_ONLY) {
			choice->client = 0;
			remember = false;
		}
	}
	choice->real = find_real(&choice->id);
	if (unlikely(!choice->real)) {
		count(COUNT_NO_REAL);
		return XDP_DROP;
	}
	if (remember && !flood)
		learn(p, table, flow, choice->id, now);
	count_second(COUNT_VIP_PACKETS);
	count_traced_miss(vip, choice->id);
	return CONTINUE;
}

#endif
