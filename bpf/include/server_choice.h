// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Steps 9, 10 and 11a: the real that a server id names, in a QUIC connection
 * id, in stable-routed UDP or in a TCP option; and what the connection table
 * learns from that.
 */
#ifndef KATRAN_SERVER_CHOICE_H
#define KATRAN_SERVER_CHOICE_H

#include "choice.h"
#include "icmp.h"
#include "introspection.h"
#include "quic.h"
#include "quic_lb.h"
#include "server_id.h"
#include "vip.h"

/* What the connection table had for a flow. */
enum memory {
	KNEW_NOTHING,
	KNEW_THIS_REAL,
	KNEW_ANOTHER,
};

/*
 * The real that a server id is mapped to, 0: to none. NULL with *id != 0: it is
 * one that `reals` has no room for. Ids are one space for both families:
 * whoever sends one of an IPv4 real in IPv6 has it from elsewhere.
 */
static __always_inline struct real_definition *mapped_real(u32 mapped, u32 *id,
							   const bool v6)
{
	struct real_definition *real;

	*id = mapped;
	if (!mapped)
		return NULL;
	real = find_real(id);
	if (v6 && real && unlikely(!(real->flags & REAL_IPV6))) {
		*id = 0;
		return NULL;
	}
	return real;
}

static __always_inline struct real_definition *
real_of_server(u32 server, u32 *id, const bool v6)
{
	return mapped_real(real_or_none(find_server_id(&server)), id, v6);
}

/* A server id outranks the connection table, which follows it. */
static __always_inline enum memory teach(const struct packet *p,
					 const struct table *table,
					 struct flow_key *flow,
					 const struct vip *vip,
					 const struct choice *choice)
{
	struct real_pos_lru *entry = find_entry(table, flow);
	enum memory memory = KNEW_THIS_REAL;

	if (!entry) {
		u64 now = coarse_ns();

		if (!flooded(now))
			learn(p, table, flow, choice->id, now);
		return KNEW_NOTHING;
	}
	if (entry->pos != choice->id) {
		add_stats(server_id_stats_of(vip->num), 0, 1);
		entry->pos = choice->id;
		memory = KNEW_ANOTHER;
	}
	entry->atime = p->proto == IPPROTO_UDP ? coarse_ns() : 0;
	return memory;
}

/* The server that the VIP's layout finds in a connection id. */
static __always_inline void server_of_cid(struct quic_cid *cid, void *end,
					  const struct vip *vip,
					  struct lb_quic_packets_stats *quic,
					  struct server *server)
{
	u32 number = QUIC_NO_ID;

	if (!quic_lb_server(cid, end, vip, server, &number)) {
		number = quic_server_id(cid, quic);
		server->id = number;
	}
	if (number == QUIC_NO_ID)
		return;
	server->named = true;
	server->real = real_or_none(find_server_id(&number));
}

/* Step 9. The table learns it whatever no_lru says. */
static __always_inline int quic_choice(struct packet *p, void *end,
				       const struct table *table,
				       struct flow_key *flow,
				       const struct vip *vip,
				       struct choice *choice, const bool v6)
{
	struct lb_quic_packets_stats *quic;
	struct server server = {};
	bool initial = false;
	struct quic_cid cid;

	if (p->from_icmp) {
		count_pair(COUNT_QUIC_ICMP, 1, ignored_by_quic(p, v6));
		return CONTINUE;
	}
	quic = quic_stats();
	if (!quic)
		return XDP_DROP;
	if (find_quic_cid(p, end, quic, &cid, &initial))
		server_of_cid(&cid, end, vip, quic, &server);
	if (server.named) {
		choice->real = mapped_real(server.real, &choice->id, v6);
		if (likely(choice->real)) {
			quic->cid_routed++;
			switch (teach(p, table, flow, vip, choice)) {
			case KNEW_NOTHING:
				quic->dst_not_found_in_lru++;
				break;
			case KNEW_THIS_REAL:
				quic->dst_match_in_lru++;
				break;
			case KNEW_ANOTHER:
				quic->dst_mismatch_in_lru++;
				break;
			}
			return CONTINUE;
		}
		if (choice->id) {
			quic->cid_unknown_real_dropped++;
			report(p, EVENT_SERVER_ID_NO_REAL);
			return XDP_DROP;
		}
		quic->cid_invalid_server_id++;
		quic->cid_invalid_server_id_sample = server.id;
	}
	if (initial)
		add_stats(server_id_stats_of(vip->num), 1, 0);
	else
		quic->ch_routed++;
	return CONTINUE;
}

/*
 * Step 10. The table learns nothing: every packet of such a flow carries its
 * id.
 */
static __always_inline int stable_choice(struct packet *p, void *end,
					 const struct vip *vip,
					 struct choice *choice, const bool v6)
{
#ifdef FEATURE_UDP_STABLE_ROUTING
	struct lb_stable_rt_packets_stats *stable;
	u32 server;

	if (!(vip->flags & VIP_UDP_STABLE_ROUTING) || choice->real)
		return CONTINUE;
	stable = stable_stats();
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
	choice->real = real_of_server(server, &choice->id, v6);
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
#endif
	return CONTINUE;
}

/* Step 11a. */
static __always_inline int option_choice(struct packet *p, void *end,
					 const struct table *table,
					 struct flow_key *flow,
					 const struct vip *vip,
					 struct choice *choice, const bool v6)
{
#ifdef FEATURE_TCP_SERVER_ID
	struct lb_tpr_packets_stats *tpr = tpr_stats();
	u32 server = NO_SERVER_ID;

	if (!tpr)
		return XDP_DROP;
	if (p->tcp_flags & TCP_SYN) {
		tpr->tcp_syn++;
		add_stats(server_id_stats_of(vip->num), 1, 0);
		return CONTINUE;
	}
	if (!p->from_icmp)
		server = tcp_server_id(p->transport, end);
	if (server != NO_SERVER_ID)
		choice->real = real_of_server(server, &choice->id, v6);
	if (!choice->real) {
		tpr->ch_routed++;
		return CONTINUE;
	}
	tpr->sid_routed++;
	if (!(vip->flags & VIP_NO_LRU) &&
	    teach(p, table, flow, vip, choice) == KNEW_ANOTHER)
		tpr->dst_mismatch_in_lru++;
#endif
	return CONTINUE;
}

/* CONTINUE with choice->real set, or without. */
static __always_inline int server_choice(struct packet *p, void *end,
					 const struct table *table,
					 struct flow_key *flow,
					 const struct vip *vip,
					 struct choice *choice, const bool v6)
{
	int verdict = CONTINUE;

	if (p->proto != IPPROTO_UDP)
		return option_choice(p, end, table, flow, vip, choice, v6);
	if (vip->flags & VIP_QUIC)
		verdict = quic_choice(p, end, table, flow, vip, choice, v6);
	if (verdict == CONTINUE)
		verdict = stable_choice(p, end, vip, choice, v6);
	return verdict;
}

#endif
