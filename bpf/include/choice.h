// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the ways to choose a real share: the choice itself, and the connection
 * table that knows the choices made before.
 */
#ifndef KATRAN_CHOICE_H
#define KATRAN_CHOICE_H

#include "clock.h"
#include "packet.h"
#include "stats.h"

struct choice {
	/* NULL: none yet. */
	struct real_definition *real;
	u32 id;
	/*
	 * What the outer source or GUE port is made of: the client's address,
	 * as loaded, IPv6's last word.
	 */
	__be32 client;
	/* Constant wherever the packet's way is compiled: see capture.h. */
	bool captured;
	/* For who captures: 0 bytes of a frame that nobody wants. */
	u32 snaplen;
	u8 how;
};

/* What chose the real. */
enum how {
	HOW_NOT = 0,
	HOW_TABLE = 1,
	HOW_GLOBAL_TABLE = 2,
	HOW_SERVER_ID = 3,
	HOW_SOURCE_ROUTE = 4,
	HOW_RING = 5,
};

static __always_inline void chosen_by(struct choice *choice, u8 how)
{
	if (choice->captured)
		choice->how = how;
}

/* The connection table of the CPU that has the packet. */
struct table {
	u32 cpu;
	/* NULL: the CPU has none and uses the fallback. */
	void *own;
};

/* A real that was removed leaves its place in the array zero. */
static __always_inline bool is_real(const struct real_definition *real)
{
	return word64_at(real->dst) | word64_at(real->dst + 2);
}

/*
 * The per-CPU table and the fallback have a lookup each, and stay apart by the
 * asm: from one shared call the verifier cannot tell the map's type and so
 * cannot inline the lookup.
 */
static __always_inline struct real_pos_lru *
find_entry(const struct table *table, struct flow_key *flow)
{
	struct real_pos_lru *entry;

	if (likely(table->own)) {
		entry = bpf_map_lookup_elem(table->own, flow);
		asm volatile("" : "+r"(entry));
		return entry;
	}
	return find_fallback_entry(flow);
}

/* TCP entries never grow old, so theirs need no clock. */
static __always_inline void learn(const struct packet *p,
				  const struct table *table,
				  struct flow_key *flow, u32 id, u64 now)
{
	struct real_pos_lru entry = {
		.pos = id,
		.atime = p->proto == IPPROTO_UDP ? now : 0,
	};
	long error;

	if (likely(table->own)) {
		error = bpf_map_update_elem(table->own, flow, &entry, BPF_ANY);
		asm volatile("" : "+r"(error));
	} else {
		set_fallback_entry(flow, &entry);
	}
}

#endif
