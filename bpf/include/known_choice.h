// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Steps 11b to 11d: the real that a flow had before, by the connection table
 * or the global table, unless it is down.
 */
#ifndef KATRAN_KNOWN_CHOICE_H
#define KATRAN_KNOWN_CHOICE_H

#include "choice.h"
#include "server_id.h"
#include "vip.h"

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

/*
 * Whether the connection table may know a flow of this VIP. What the ring
 * chose by the destination port is never learned: only what an id or a source
 * route said is, and what was learned while the VIP had other flags, of which
 * the control plane knows. A look into the table costs more than all the rest
 * here.
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
	if (may_have_option(p))
		return true;
	learned = find_learned(vip->num);
	return learned && *learned;
}

/* UDP entries grow old unless packets come. */
static __always_inline bool is_fresh(const struct packet *p,
				     struct real_pos_lru *entry)
{
	u64 now;

	if (p->proto != IPPROTO_UDP)
		return true;
	now = coarse_ns();
	if ((s64)(now - entry->atime) > (s64)(UDP_TIMEOUT * NSEC_PER_SEC))
		return false;
	entry->atime = now;
	return true;
}

/* The real of an entry, and its id. NULL: it is gone, or the entry too old. */
static __always_inline struct real_definition *
real_of_entry(const struct packet *p, struct real_pos_lru *entry, u32 *id)
{
	struct real_definition *real;

	*id = entry->pos;
	real = find_real(id);
	if (likely(real && is_real(real)) && is_fresh(p, entry))
		return real;
	return NULL;
}

/* Step 11b. Reals that are gone are no hit. */
static __always_inline void table_choice(const struct packet *p,
					 const struct table *table,
					 struct flow_key *flow,
					 struct choice *choice)
{
	struct real_pos_lru *entry = find_entry(table, flow);

	if (unlikely(!entry))
		entry = find_outgrown_entry(table->cpu, flow);
	if (unlikely(!entry))
		return;
	choice->real = real_of_entry(p, entry, &choice->id);
	if (likely(choice->real))
		chosen_by(choice, HOW_TABLE);
}

/* Step 11c. Reals that are gone are no hit here either. */
static __always_inline void global_choice(const struct table *table,
					  struct flow_key *flow,
					  const struct vip *vip,
					  struct choice *choice)
{
#ifdef FEATURE_GLOBAL_LRU
	struct real_definition *real;
	u32 cpu = table->cpu;
	void *global;
	u32 *entry;

	if (!(vip->flags & VIP_GLOBAL_LRU))
		return;
	global = find_global_table(&cpu);
	if (likely(global)) {
		entry = bpf_map_lookup_elem(global, flow);
		asm volatile("" : "+r"(entry));
	} else {
		count(COUNT_GLOBAL_TABLE);
		entry = find_global_fallback(flow);
	}
	if (!entry)
		return;
	choice->id = *entry;
	real = find_real(&choice->id);
	if (!real || !is_real(real))
		return;
	count_second(COUNT_GLOBAL_TABLE);
	choice->real = real;
	chosen_by(choice, HOW_GLOBAL_TABLE);
#endif
}

#ifdef FEATURE_UDP_FLOW_MIGRATION
static __always_inline bool is_down(const struct vip *vip, u32 id)
{
	struct vip_definition exact __on_stack, *key = own_key(vip, &exact);
	void *down;

	if (!key)
		return false;
	down = find_down_set(key);
	return down && bpf_map_lookup_elem(down, &id);
}
#endif

/* Step 11d. */
static __always_inline void leave_down_real(const struct packet *p,
					    const struct vip *vip,
					    struct choice *choice)
{
#ifdef FEATURE_UDP_FLOW_MIGRATION
	if (p->proto == IPPROTO_UDP && vip->flags & VIP_UDP_FLOW_MIGRATION &&
	    !flooded(coarse_ns()) && choice->real &&
	    is_down(vip, choice->id)) {
		choice->real = NULL;
		count(COUNT_MIGRATED);
	}
#endif
}

/* A SYN begins a flow anew, whatever is known of one with its ports. */
static __always_inline void known_choice(const struct packet *p,
					 const struct table *table,
					 struct flow_key *flow,
					 const struct vip *vip,
					 struct choice *choice)
{
	bool syn = p->tcp_flags & TCP_SYN;

	if (likely(!syn && may_be_known(p, vip)))
		table_choice(p, table, flow, choice);
	if (!choice->real && !syn)
		global_choice(table, flow, vip, choice);
	leave_down_real(p, vip, choice);
}

#endif
