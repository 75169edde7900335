// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which real gets the packet: the one a server id names, the one the flow had
 * before, or a new choice by source route or ring.
 */
#ifndef KATRAN_CHOOSE_H
#define KATRAN_CHOOSE_H

#include "clock.h"
#include "hash.h"
#include "introspection.h"
#include "packet.h"
#include "quic.h"
#include "server_id.h"
#include "stats.h"
#include "vip.h"

struct choice {
	struct real_definition *real;
	u32 id;
	/*
	 * What the outer source or GUE port is made of: the client's address,
	 * as loaded, IPv6's last word.
	 */
	__be32 client;
};

/* A real that was removed leaves its place in the array zero. */
static __always_inline bool is_real(const struct real_definition *real)
{
	return word64_at(real->dst) | word64_at(real->dst + 2);
}

/* TCP entries never grow old, so theirs need no clock. */
static __always_inline u64 entry_time(const struct packet *p)
{
	return p->proto == IPPROTO_UDP ? coarse_ns() : 0;
}

/*
 * The per-CPU table and the fallback have a lookup each, and stay apart by the
 * asm: from one shared call the verifier cannot tell the map's type and so
 * cannot inline the lookup.
 */
static __always_inline struct real_pos_lru *find_entry(void *table,
						       struct flow_key *flow)
{
	struct real_pos_lru *entry;

	if (likely(table)) {
		entry = bpf_map_lookup_elem(table, flow);
		asm volatile("" : "+r"(entry));
		return entry;
	}
	return find_fallback_entry(flow);
}

/*
 * While a CPU's table is replaced by one of another size, the flows that it
 * lacks are still in the one before.
 */
static __always_inline struct real_pos_lru *
find_outgrown_entry(u32 cpu, struct flow_key *flow)
{
	void *table = find_outgrown_table(&cpu);
	struct real_pos_lru *entry;

	if (likely(!table))
		return NULL;
	entry = bpf_map_lookup_elem(table, flow);
	asm volatile("" : "+r"(entry));
	return entry;
}

static __always_inline void learn(void *table, struct flow_key *flow, u32 id,
				  u64 now)
{
	struct real_pos_lru entry = { .pos = id, .atime = now };
	long error;

	if (likely(table)) {
		error = bpf_map_update_elem(table, flow, &entry, BPF_ANY);
		asm volatile("" : "+r"(error));
	} else {
		set_fallback_entry(flow, &entry);
	}
}

/*
 * The real that a server id stands for. NULL with *id != 0: the id is mapped
 * to a real that `reals` has no room for.
 */
static __always_inline struct real_definition *real_of_server(u32 server,
							      u32 *id)
{
	u32 *mapped = find_server_id(&server);

	*id = 0;
	if (!mapped || *mapped == 0)
		return NULL;
	*id = *mapped;
	return find_real(id);
}

/* Step 9. CONTINUE with choice->real set, or without. */
static __always_inline int quic_choice(struct packet *p, void *end,
				       struct lb_quic_packets_stats *quic,
				       const struct vip *vip,
				       struct choice *choice)
{
	bool initial = false;
	u32 server = quic_server_id(p, end, quic, &initial);

	if (server != QUIC_NO_ID) {
		choice->real = real_of_server(server, &choice->id);
		if (likely(choice->real)) {
			quic->cid_routed++;
			return CONTINUE;
		}
		if (choice->id) {
			quic->cid_unknown_real_dropped++;
			report(p, EVENT_SERVER_ID_NO_REAL);
			return XDP_DROP;
		}
		quic->cid_invalid_server_id++;
		quic->cid_invalid_server_id_sample = server;
	}
	if (initial)
		add_stats(server_id_stats_of(vip->num), 1, 0);
	else
		quic->ch_routed++;
	return CONTINUE;
}

#ifdef FEATURE_UDP_STABLE_ROUTING
/* Step 10. */
static __always_inline int stable_choice(struct packet *p, void *end,
					 struct choice *choice)
{
	struct lb_stable_rt_packets_stats *stable = stable_stats();
	u32 server;

	if (!stable)
		return XDP_DROP;
	if (!stable_server_id(p, end, &server)) {
		stable->invalid_packet_type++;
		stable->ch_routed++;
		return CONTINUE;
	}
	if (server == NO_SERVER_ID) {
		stable->ch_routed++;
		return CONTINUE;
	}
	choice->real = real_of_server(server, &choice->id);
	if (choice->real) {
		stable->cid_routed++;
		return CONTINUE;
	}
	if (choice->id) {
		stable->cid_unknown_real_dropped++;
		report(p, EVENT_SERVER_ID_NO_REAL);
		return XDP_DROP;
	}
	stable->cid_invalid_server_id++;
	stable->ch_routed++;
	return CONTINUE;
}
#endif

#ifdef FEATURE_TCP_SERVER_ID
/* Step 11a. */
static __always_inline void tcp_choice(struct packet *p, void *end,
				       struct lb_tpr_packets_stats *tpr,
				       const struct vip *vip,
				       struct choice *choice)
{
	u32 server;

	if (p->tcp_flags & TCP_SYN) {
		tpr->tcp_syn++;
		add_stats(server_id_stats_of(vip->num), 1, 0);
		return;
	}
	if (!p->from_icmp) {
		server = tcp_server_id(p->transport, end);
		if (server != NO_SERVER_ID) {
			choice->real = real_of_server(server, &choice->id);
			if (choice->real) {
				tpr->sid_routed++;
				return;
			}
		}
	}
	tpr->ch_routed++;
}
#endif

#ifdef FEATURE_GLOBAL_LRU
/* Step 11c. Reals that are gone are no hit here either. */
static __always_inline struct real_definition *
global_choice(struct flow_key *flow, u32 *id)
{
	u32 cpu = bpf_get_smp_processor_id();
	void *table = find_global_table(&cpu);
	struct real_definition *real;
	u32 *entry;

	if (likely(table)) {
		entry = bpf_map_lookup_elem(table, flow);
		asm volatile("" : "+r"(entry));
	} else {
		count(COUNT_GLOBAL_TABLE);
		entry = find_global_fallback(flow);
	}
	if (!entry)
		return NULL;
	*id = *entry;
	real = find_real(id);
	if (!real || !is_real(real))
		return NULL;
	count_second(COUNT_GLOBAL_TABLE);
	return real;
}
#endif

/* The VIP's key; of a CIDR VIP, with its prefix's network address. */
static __always_inline struct vip_definition *own_key(const struct vip *vip)
{
#ifdef FEATURE_CIDR_VIPS
	if (vip->by_cidr)
		return find_cidr_vip_key(vip->num);
#endif
	return vip->key;
}

#ifdef FEATURE_UDP_FLOW_MIGRATION
/* Step 11d. */
static __always_inline bool is_down(const struct vip *vip, u32 id)
{
	struct vip_definition *key = own_key(vip);
	void *down;

	if (!key)
		return false;
	down = find_down_set(key);
	return down && bpf_map_lookup_elem(down, &id);
}
#endif

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
	u32 *misses;

	if (!traced || likely(!traced->proto))
		return;
	key = own_key(vip);
	if (!key || word32_at(&traced->port) != word32_at(&key->port) ||
	    traced->vip[0] != key->vip[0] || traced->vip[1] != key->vip[1] ||
	    traced->vip[2] != key->vip[2] || traced->vip[3] != key->vip[3])
		return;
	misses = find_miss_count(&id);
	if (misses)
		*misses += 1;
}

/* Step 11e. */
static __always_inline int new_choice(struct packet *p, struct flow_key *flow,
				      void *table, struct vip *vip,
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
	choice->id = 0;
#ifdef FEATURE_SOURCE_ROUTING
	if (vip->flags & VIP_SOURCE_ROUTING && !flood) {
		choice->id = source_route(flow, v6);
		count_pair(COUNT_SOURCE_ROUTE, !choice->id, !!choice->id);
	}
#endif
	if (!choice->id) {
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
		learn(table, flow, choice->id,
		      p->proto == IPPROTO_UDP ? now : 0);
	count_second(COUNT_VIP_PACKETS);
	count_traced_miss(vip, choice->id);
	return CONTINUE;
}

/*
 * Whether the tables may know a flow of this VIP. What the ring chose by the
 * destination port is never learned: only what an id or a source route said
 * is, and what was learned while the VIP had other flags, of which the control
 * plane knows. A look into the table costs more than all the rest here.
 */
static __always_inline bool may_be_known(const struct packet *p,
					 const struct vip *vip)
{
	u32 *learned;

	if (likely(!(vip->flags & (VIP_NO_LRU | VIP_HASH_DST_PORT_ONLY))))
		return true;
	if (vip->flags & VIP_NO_LRU)
		return false;
	if (vip->flags & (VIP_QUIC | VIP_SOURCE_ROUTING))
		return true;
#ifdef FEATURE_TCP_SERVER_ID
	if (p->proto == IPPROTO_TCP)
		return true;
#endif
	learned = find_learned(vip->num);
	return learned && *learned;
}

/* Steps 8 to 11. CONTINUE: *choice is complete. */
static __always_inline int choose_real(struct packet *p, struct flow_key *flow,
				       void *end, struct vip *vip,
				       struct choice *choice, const bool v6)
{
	struct lb_quic_packets_stats *quic = NULL;
#ifdef FEATURE_TCP_SERVER_ID
	struct lb_tpr_packets_stats *tpr = NULL;
#endif
	struct real_pos_lru *entry = NULL;
	struct real_definition *real;
	bool consult, keep = true;
	u32 cpu;
	void *table;

	if (vip->flags & VIP_HASH_NO_SRC_PORT)
		p->ports &= 0xffff0000;
	flow->words[4] = p->ports | (u64)p->proto << 32;
	choice->client = flow->src[v6 ? 3 : 0];
	choice->real = NULL;

	cpu = bpf_get_smp_processor_id();
	table = find_table(&cpu);
	if (unlikely(!table))
		count(COUNT_FALLBACK);

	if (p->proto == IPPROTO_UDP) {
		if (vip->flags & VIP_QUIC) {
			if (p->from_icmp) {
				count_pair(COUNT_QUIC_ICMP, 1,
					   ignored_by_quic(p, v6));
			} else {
				quic = quic_stats();
				if (!quic || quic_choice(p, end, quic, vip,
							 choice) != CONTINUE)
					return XDP_DROP;
			}
		}
#ifdef FEATURE_UDP_STABLE_ROUTING
		if (vip->flags & VIP_UDP_STABLE_ROUTING && !choice->real) {
			if (stable_choice(p, end, choice) != CONTINUE)
				return XDP_DROP;
			/* Every packet of such a flow carries its id. */
			keep = false;
		}
#endif
	}
#ifdef FEATURE_TCP_SERVER_ID
	else {
		tpr = tpr_stats();
		if (!tpr)
			return XDP_DROP;
		tcp_choice(p, end, tpr, vip, choice);
		keep = !(vip->flags & VIP_NO_LRU);
	}
#endif

	if (choice->real)
		consult = keep;
	else
		consult = !(p->tcp_flags & TCP_SYN) && may_be_known(p, vip);
	if (likely(consult)) {
		entry = find_entry(table, flow);
		if (unlikely(!entry) && !choice->real)
			entry = find_outgrown_entry(cpu, flow);
	}

	if (choice->real) {
		if (!keep)
			return CONTINUE;
		if (!entry) {
			u64 now = coarse_ns();

			if (quic)
				quic->dst_not_found_in_lru++;
			if (!flooded(now))
				learn(table, flow, choice->id,
				      p->proto == IPPROTO_UDP ? now : 0);
			return CONTINUE;
		}
		if (entry->pos == choice->id) {
			if (quic)
				quic->dst_match_in_lru++;
		} else {
			if (quic)
				quic->dst_mismatch_in_lru++;
#ifdef FEATURE_TCP_SERVER_ID
			if (tpr)
				tpr->dst_mismatch_in_lru++;
#endif
			add_stats(server_id_stats_of(vip->num), 0, 1);
			entry->pos = choice->id;
		}
		entry->atime = entry_time(p);
		return CONTINUE;
	}

	if (likely(entry)) {
		choice->id = entry->pos;
		real = find_real(&choice->id);
		if (likely(real && is_real(real))) {
			choice->real = real;
			if (p->proto == IPPROTO_UDP) {
				u64 now = coarse_ns();

				if ((s64)(now - entry->atime) >
				    (s64)(UDP_TIMEOUT * NSEC_PER_SEC))
					choice->real = NULL;
				else
					entry->atime = now;
			}
		}
	}
#ifdef FEATURE_GLOBAL_LRU
	if (!choice->real && vip->flags & VIP_GLOBAL_LRU &&
	    !(p->tcp_flags & TCP_SYN))
		choice->real = global_choice(flow, &choice->id);
#endif
#ifdef FEATURE_UDP_FLOW_MIGRATION
	if (p->proto == IPPROTO_UDP && vip->flags & VIP_UDP_FLOW_MIGRATION &&
	    !flooded(coarse_ns()) && choice->real &&
	    is_down(vip, choice->id)) {
		choice->real = NULL;
		count(COUNT_MIGRATED);
	}
#endif
	if (likely(choice->real))
		return CONTINUE;
	return new_choice(p, flow, table, vip, choice, v6);
}

#endif
