// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which real gets the packet: the one a server id names, the one the flow had
 * before, or a new choice by source route or ring.
 */
#ifndef KATRAN_CHOOSE_H
#define KATRAN_CHOOSE_H

#include "choice.h"
#include "known_choice.h"
#include "new_choice.h"
#include "server_choice.h"

/* Steps 8 to 11. CONTINUE: *choice is complete. */
static __always_inline int choose_real(struct packet *p, struct flow_key *flow,
				       void *end, const struct vip *vip,
				       struct choice *choice, const bool v6)
{
	struct table table = { .cpu = bpf_get_smp_processor_id() };
	int verdict;

	if (vip->flags & VIP_HASH_NO_SRC_PORT)
		p->ports &= 0xffff0000;
	flow->words[4] = p->ports | (u64)p->proto << 32;
	choice->client = flow->src[v6 ? 3 : 0];
	choice->real = NULL;

	table.own = find_table(&table.cpu);
	if (unlikely(!table.own))
		count(COUNT_FALLBACK);

	verdict = server_choice(p, end, &table, flow, vip, choice, v6);
	if (unlikely(verdict != CONTINUE))
		return verdict;
	if (choice->real) {
		chosen_by(choice, HOW_SERVER_ID);
		return CONTINUE;
	}
	known_choice(p, &table, flow, vip, choice);
	if (likely(choice->real))
		return CONTINUE;
	return new_choice(p, &table, flow, vip, choice, v6);
}

#endif
