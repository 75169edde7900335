// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tunnels that end here: at an address of this host (strip and pass on to the
 * host) or at a decapsulation destination (strip and balance what was inside).
 */
#ifndef KATRAN_DECAP_INLINE_H
#define KATRAN_DECAP_INLINE_H

#include "csum.h"
#include "ecn.h"
#include "icmp.h"
#include "packet.h"
#include "stats.h"
#include "strip.h"

#ifdef FEATURE_INLINE_DECAP

#if !DECAP_ANY
#include "sources.h"
#endif

#define IPV4_OFFSET htons(0x1fff)

/* One more router on the way: false when the packet may go no further. */
static __always_inline bool decrement_ttl(void *header, const bool v6)
{
	if (v6) {
		struct ipv6hdr *ip = header;

		if (ip->hop_limit <= 1)
			return false;
		ip->hop_limit--;
	} else {
		struct iphdr *ip = header;
		__be16 old = word16_at(&ip->ttl);

		if (ip->ttl <= 1)
			return false;
		ip->ttl--;
		ip->check = csum_replace(ip->check, old,
					 word16_at(&ip->ttl));
	}
	return true;
}

static __always_inline bool is_own_address(const __be32 *addr, const bool v6)
{
#if DECAP_ANY
	return true;
#else
	struct real_definition *own = own_address(v6);

	/* Zero: the family has no address, not the address zero. */
	if (!own || !(own->dst[0] | own->dst[1] | own->dst[2] | own->dst[3]))
		return false;
	return own->dst[0] == addr[0] && own->dst[1] == addr[1] &&
	       own->dst[2] == addr[2] && own->dst[3] == addr[3];
#endif
}

static __always_inline bool may_tunnel(const struct flow_key *outer,
				       const bool v6)
{
#if DECAP_ANY
	return true;
#else
	return is_listed_source(outer, v6);
#endif
}

/* False: no TCP or UDP, or a fragment without ports. Ports as loaded. */
static __always_inline bool inner_flow(void *header, void *end,
				       struct flow_key *flow, const bool v6)
{
	void *transport;
	u8 proto;

	if (v6) {
		struct ipv6hdr *ip = header;

		if ((void *)(ip + 1) > end)
			return false;
		proto = ip->nexthdr;
		transport = ip + 1;
		set_address(flow->src, word64_at(&ip->saddr),
			    word64_at((void *)&ip->saddr + 8));
		set_address(flow->dst, word64_at(&ip->daddr),
			    word64_at((void *)&ip->daddr + 8));
	} else {
		struct iphdr *ip = header;

		if ((void *)(ip + 1) > end || ip->ihl != 5 ||
		    ip->frag_off & IPV4_OFFSET)
			return false;
		proto = ip->protocol;
		transport = ip + 1;
		set_address(flow->src, ip->saddr, 0);
		set_address(flow->dst, ip->daddr, 0);
	}
	if ((proto != IPPROTO_TCP && proto != IPPROTO_UDP) ||
	    transport + 4 > end)
		return false;
	flow->words[4] = word32_at(transport) | (u64)proto << 32;
	return true;
}

/* Where a tunnelled flow came from and which address of ours it came to. */
static __always_inline void debug_flow(const struct flow_key *outer,
				       const struct flow_key *inner)
{
#ifdef FEATURE_FLOW_DEBUG
	u32 cpu = bpf_get_smp_processor_id();
	void *table = find_flow_debug_table(&cpu);
	struct flow_debug_info info __on_stack;
	struct flow_key key = *inner;

	if (!table)
		return;
	key.port[0] = ntohs(inner->port[0]);
	key.port[1] = ntohs(inner->port[1]);
	set_address(info.l4_hop, outer->words[0], outer->words[1]);
	set_address(info.this_hop, outer->words[2], outer->words[3]);
	bpf_map_update_elem(table, &key, &info, BPF_ANY);
#endif
}

/* Which VIPs' packets came by GUE: counting only, never a change. */
static __always_inline void count_decap_vip(const struct flow_key *inner,
					    const bool v6)
{
	struct vip_words words;
	struct vip_meta *meta;

	meta = find_vip_exact(inner, inner->port[1], inner->proto, &words, v6);
	if (meta)
		add_stats(decap_vip_stats_of(meta->vip_num), 1, 0);
}

/*
 * cur stands at the inner header; `outer` is what lies between it and the
 * Ethernet header. flow has the outer addresses.
 */
static __always_inline int decapsulate(struct cursor *cur, struct packet *p,
				       struct flow_key *flow, u32 outer,
				       const bool gue, const bool v6,
				       const bool inner_v6)
{
	u32 inner_bytes = inner_v6 ? sizeof(struct ipv6hdr) :
				     sizeof(struct iphdr);
	struct flow_key inner;
	void *header = cur->pos;
	u32 *found, flags = 0;

	found = is_ambiguous(flow->dst, v6) ?
			NULL :
			find_decap_dst((struct address *)flow->dst);
	if ((!found && !is_own_address(flow->dst, v6)) ||
	    !may_tunnel(flow, v6))
		return XDP_PASS;
	if (found) {
		flags = *found;
		count(COUNT_DECAP_DST);
	}
	if (header + inner_bytes > cur->end ||
	    !holds_inner(p, outer, inner_bytes, v6))
		return MALFORMED;
	count_family(COUNT_DECAP, v6);
	if (!decrement_ttl(header, inner_v6) ||
	    !carry_ecn(p->tos, header, inner_v6))
		return XDP_DROP;

	if (gue && inner_flow(header, cur->end, &inner, inner_v6)) {
		debug_flow(flow, &inner);
		if (!found)
			count_decap_vip(&inner, inner_v6);
	}
	if (!strip_outer(p, outer, inner_v6 ? htons(ETH_P_IPV6) :
					      htons(ETH_P_IP)))
		return XDP_DROP;
	if (!found)
		return XDP_PASS;
	if (gue && flags & DECAP_EGRESS) {
		void *eth = (void *)(long)p->ctx->data;

		if (eth + ETH_HLEN > (void *)(long)p->ctx->data_end)
			return XDP_DROP;
		swap_macs(eth);
		count_family(COUNT_EGRESS_DECAP, inner_v6);
		return XDP_TX;
	}
	count_family(COUNT_DECAP_BALANCED, inner_v6);
	balance_again(p->ctx);
	return XDP_DROP;
}

#endif

/* Step 4, for what is neither TCP nor UDP nor ICMP. */
static __always_inline int decap_ipip(struct cursor *cur, struct packet *p,
				      struct flow_key *flow, const bool v6)
{
#ifdef FEATURE_INLINE_DECAP
	const u32 outer = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
#endif

	if (!is_length_right(cur, p, 0, v6))
		return MALFORMED;
#ifdef FEATURE_INLINE_DECAP
	if (p->proto == IPPROTO_IPIP)
		return decapsulate(cur, p, flow, outer, false, v6, false);
	/* IPv6 in IPv4 does not exist here. */
	if (p->proto == IPPROTO_IPV6 && v6)
		return decapsulate(cur, p, flow, outer, false, true, true);
#endif
	return XDP_PASS;
}

/* UDP that may be a tunnel which ends here. */
static __always_inline bool may_be_gue(const struct packet *p)
{
#ifdef FEATURE_INLINE_DECAP
	return flow_dport(p) == htons(GUE_PORT);
#else
	return false;
#endif
}

/* Step 4, for UDP: cur stands behind its header. CONTINUE: it is no GUE. */
static __always_inline int decap_gue(struct cursor *cur, struct packet *p,
				     struct flow_key *flow, const bool v6)
{
#ifdef FEATURE_INLINE_DECAP
	const u32 outer = sizeof(struct udphdr) +
			  (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	u8 *version = cur->pos;
	bool inner_v6;

	if (!may_be_gue(p))
		return CONTINUE;
	inner_v6 = (void *)(version + 1) <= cur->end && *version & 0x30;
	if (!v6) {
		if (inner_v6)
			return XDP_PASS;
		return decapsulate(cur, p, flow, outer, true, false, false);
	}
	if (inner_v6)
		return decapsulate(cur, p, flow, outer, true, true, true);
	return decapsulate(cur, p, flow, outer, true, true, false);
#else
	return CONTINUE;
#endif
}

#endif
