// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The way of nearly all packets: TCP and UDP of flows that the connection table
 * knows, to exact VIPs without flags. It takes steps 2 to 12 as the general way
 * does, by the same functions, but nothing on it is for any other packet: so
 * half of what the general way keeps and asks falls away. Whatever turns out
 * to be another packet is left as it was, uncounted, to the general way.
 */
#ifndef KATRAN_ESTABLISHED_H
#define KATRAN_ESTABLISHED_H

#include "capture.h"
#include "decap_inline.h"
#include "frame.h"
#include "known_choice.h"
#include "packet.h"
#include "parse.h"
#include "send.h"
#include "server_id.h"
#include "vip.h"

/*
 * Steps 5 to 12, from the transport header on. False: it is a packet for the
 * general way.
 */
static __always_inline bool send_known(struct cursor *cur, struct packet *p,
				       struct flow_key *flow, int *action,
				       const u8 proto, const bool v6)
{
	u32 id, cpu = bpf_get_smp_processor_id();
	struct real_pos_lru *entry;
	struct choice choice;
	struct vip_meta *meta;
	struct vip vip = {};
	void *table;

	p->proto = proto;
	if (proto == IPPROTO_TCP) {
		if (parse_tcp(cur, p, v6) != CONTINUE ||
		    p->tcp_flags & TCP_SYN)
			return false;
	} else {
		if (parse_udp(cur, p, v6) != CONTINUE || may_be_gue(p))
			return false;
	}
	flow->words[4] = p->ports | (u64)proto << 32;
	meta = find_vip_exact(flow, flow_dport(p), proto, &vip.words, v6);
	if (!meta || meta->flags)
		return false;
	vip.num = meta->vip_num;

	table = find_table(&cpu);
	if (unlikely(!table))
		return false;
	entry = bpf_map_lookup_elem(table, flow);
	if (unlikely(!entry))
		return false;
	choice.real = real_of_entry(p, entry, &id);
	if (unlikely(!choice.real))
		return false;
	choice.id = id;
	choice.client = flow->src[v6 ? 3 : 0];
	count(COUNT_VIP_PACKETS);
	*action = send_to_real(p, &vip, &choice, v6);
	return true;
}

/* Steps 2 to 12. */
static __always_inline bool send_known_ip(struct cursor *cur, struct packet *p,
					  int *action, const bool v6)
{
	struct flow_key flow __on_stack;

	if (unlikely(parse_ip(cur, p, &flow, v6) != CONTINUE))
		return false;
	if (likely(p->proto == IPPROTO_TCP))
		return !may_have_option(p) &&
		       send_known(cur, p, &flow, action, IPPROTO_TCP, v6);
	return p->proto == IPPROTO_UDP &&
	       send_known(cur, p, &flow, action, IPPROTO_UDP, v6);
}

static __always_inline bool send_established(struct xdp_md *ctx, int *action)
{
	struct packet p = { .ctx = ctx };
	struct cursor cur;
	__be16 type;

	if (unlikely(!open_frame(&cur, &p) || is_to_many(p.eth)))
		return false;
	type = parse_ethernet(&cur, &p);
	/* Asked of p.frame, the verifier would walk the general way twice. */
	if (unlikely(cur.end - p.eth - p.tag_bytes > MAX_FRAME))
		return false;
	if (unlikely(somebody_captures()))
		return false;
	if (likely(type == htons(ETH_P_IP)))
		return send_known_ip(&cur, &p, action, false);
	if (type == htons(ETH_P_IPV6))
		return send_known_ip(&cur, &p, action, true);
	*action = XDP_PASS;
	return true;
}

#endif
