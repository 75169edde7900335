// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The balancer: an XDP program that finds the VIP a packet is for, chooses a
 * real and sends the packet there in a tunnel.
 *
 * In the steps of docs/datapath.md, section 3, which comments name:
 *  1 Ethernet and VLAN tags		 7 frames that are too big
 *  2 IP, malformed packets		 8 the flow and its table
 *  3 ICMP				 9 server id in QUIC
 *  4 tunnels that end here		10 server id in stable-routed UDP
 *  5 TCP and UDP			11 server id in TCP (a), tables (b, c),
 *  6 the VIP				   down reals (d), a new choice (e)
 *					12 counters, encapsulation
 *
 * bcc rewrites table accesses in this file only, not in what it includes: so
 * every access is a function here, and the files in include/ call these.
 */
#include <uapi/linux/bpf.h>

#include "compiler.h"
#include "settings.h"
#include "structs.h"
#include "maps.h"

static __always_inline struct lb_stats *stats_of(u32 index)
{
	return stats.lookup(&index);
}

static __always_inline struct lb_stats *real_stats_of(u32 id)
{
	return reals_stats.lookup(&id);
}

static __always_inline struct lb_stats *server_id_stats_of(u32 vip)
{
	return server_id_stats.lookup(&vip);
}

static __always_inline struct lb_quic_packets_stats *quic_stats(void)
{
	u32 zero = 0;

	return quic_stats_map.lookup(&zero);
}

static __always_inline struct ctl_value *control(u32 index)
{
	return ctl_array.lookup(&index);
}

static __always_inline struct tick *last_tick(void)
{
	u32 zero = 0;

	return clock_tick.lookup(&zero);
}

static __always_inline struct vip_meta *
find_vip_in_map(struct vip_definition *key)
{
	return vip_map.lookup(key);
}

static __always_inline struct vip_slot *vip_slot_at(u64 hash)
{
	/* Its top bits, the only ones that all bits of a key reach. */
	u32 slot = hash >> (64 - __builtin_ctz(VIP_SLOTS));

	return vip_index.lookup(&slot);
}

static __always_inline u32 *find_vip_address(struct address *key)
{
	return vip_addresses.lookup(key);
}

#ifdef FEATURE_CIDR_VIPS
static __always_inline struct vip_meta *find_vip_lpm(struct vip_lpm_key *key)
{
	return vip_lpm_map.lookup(key);
}

static __always_inline struct vip_meta *find_vip_lpm4(struct vip_lpm4_key *key)
{
	return vip_lpm4_map.lookup(key);
}

static __always_inline u32 *find_vip_address_lpm4(struct v4_lpm_key *key)
{
	return vip_address_lpm4.lookup(key);
}

static __always_inline u32 *find_vip_address_lpm6(struct v6_lpm_key *key)
{
	return vip_address_lpm6.lookup(key);
}

static __always_inline struct vip_definition *find_cidr_vip_key(u32 vip)
{
	return cidr_vip_keys.lookup(&vip);
}
#endif

static __always_inline struct real_definition *find_real(u32 *id)
{
	return reals.lookup(id);
}

static __always_inline u32 *find_ring_slot(u32 *index)
{
	return ch_rings.lookup(index);
}

static __always_inline u32 *find_server_id(u32 *id)
{
	return server_id_map.lookup(id);
}

#ifdef FEATURE_QUIC_LB
static __always_inline struct quic_lb_vip *find_quic_lb_vip(u32 vip)
{
	return quic_lb_vips.lookup(&vip);
}

static __always_inline u32 *find_quic_lb_server(struct quic_lb_server *key)
{
	return quic_lb_servers.lookup(key);
}
#endif

static __always_inline void *find_table(u32 *cpu)
{
	return lru_mapping.lookup(cpu);
}

static __always_inline void *find_outgrown_table(u32 *cpu)
{
	return lru_outgrown.lookup(cpu);
}

static __always_inline struct real_pos_lru *
find_fallback_entry(struct flow_key *flow)
{
	return fallback_cache.lookup(flow);
}

static __always_inline void set_fallback_entry(struct flow_key *flow,
					       struct real_pos_lru *entry)
{
	fallback_cache.update(flow, entry);
}

static __always_inline u32 *find_learned(u32 vip)
{
	return vip_learned.lookup(&vip);
}

static __always_inline struct vip_definition *find_traced_vip(void)
{
	u32 zero = 0;

	return vip_miss_stats.lookup(&zero);
}

static __always_inline u32 *find_miss_count(u32 *id)
{
	return lru_miss_stats.lookup(id);
}

#ifdef FEATURE_TCP_SERVER_ID
static __always_inline struct lb_tpr_packets_stats *tpr_stats(void)
{
	u32 zero = 0;

	return tpr_stats_map.lookup(&zero);
}
#endif

#ifdef FEATURE_UDP_STABLE_ROUTING
static __always_inline struct lb_stable_rt_packets_stats *stable_stats(void)
{
	u32 zero = 0;

	return stable_rt_stats.lookup(&zero);
}
#endif

#ifdef FEATURE_SOURCE_ROUTING
static __always_inline u32 *find_source_route4(struct v4_lpm_key *key)
{
	return lpm_src_v4.lookup(key);
}

static __always_inline u32 *find_source_route6(struct v6_lpm_key *key)
{
	return lpm_src_v6.lookup(key);
}
#endif

#ifdef FEATURE_SOURCE_FILTER
static __always_inline u32 *find_filter4(struct filter4_key *key)
{
	return src_filter_v4.lookup(key);
}

static __always_inline u32 *find_filter6(struct filter6_key *key)
{
	return src_filter_v6.lookup(key);
}

static __always_inline struct lb_stats *denied_stats_of(u32 vip)
{
	return src_denied.lookup(&vip);
}
#endif

#ifdef FEATURE_GLOBAL_LRU
static __always_inline void *find_global_table(u32 *cpu)
{
	return global_lru_maps.lookup(cpu);
}

static __always_inline u32 *find_global_fallback(struct flow_key *flow)
{
	return fallback_glru.lookup(flow);
}
#endif

#ifdef FEATURE_UDP_FLOW_MIGRATION
static __always_inline void *find_down_set(struct vip_definition *key)
{
	return vip_to_down_reals_map.lookup(key);
}
#endif

#ifdef FEATURE_INTROSPECTION
static __always_inline void emit_event(struct xdp_md *ctx, u32 length,
				       void *meta, u32 meta_length)
{
	event_pipe.perf_submit_skb(ctx, length, meta, meta_length);
}

static __always_inline struct capture_filter *find_capture_filter(void)
{
	u32 zero = 0;

	return capture_filter.lookup(&zero);
}
#endif

#ifdef KNOWS_OWN_ADDRESSES
static __always_inline struct real_definition *own_address(u32 family)
{
	return pckt_srcs.lookup(&family);
}
#endif

#ifdef FEATURE_INLINE_DECAP
static __always_inline u32 *find_decap_dst(struct address *key)
{
	return decap_dst.lookup(key);
}

#if !DECAP_ANY
static __always_inline void *find_source4(struct v4_lpm_key *key)
{
	return tunnel_src_v4.lookup(key);
}

static __always_inline void *find_source6(struct v6_lpm_key *key)
{
	return tunnel_src_v6.lookup(key);
}
#endif

static __always_inline struct lb_stats *decap_vip_stats_of(u32 vip)
{
	return decap_vip_stats.lookup(&vip);
}

/* Comes back only if the control plane has not put the program there. */
static __always_inline void balance_again(struct xdp_md *ctx)
{
	subprograms.call(ctx, 0);
}

#ifdef FEATURE_FLOW_DEBUG
static __always_inline void *find_flow_debug_table(u32 *cpu)
{
	return flow_debug_maps.lookup(cpu);
}
#endif
#endif

#include "packet.h"
#include "frame.h"
#include "stats.h"
#include "introspection.h"
#include "parse.h"
#include "vip.h"
#include "source_filter.h"
#include "icmp.h"
#include "choose.h"
#include "capture.h"
#include "send.h"
#include "decap_inline.h"
#include "established.h"

/* Steps 2 to 5: from the IP header to the flow. */
static __always_inline int parse_flow(struct cursor *cur, struct packet *p,
				      struct flow_key *flow, const bool v6)
{
	int verdict;

	verdict = parse_ip(cur, p, flow, v6);
	if (unlikely(verdict != CONTINUE))
		return verdict;

	if (likely(p->proto == IPPROTO_TCP))
		return parse_tcp(cur, p, v6);
	if (p->proto == IPPROTO_UDP) {
		verdict = parse_udp(cur, p, v6);
		if (verdict == CONTINUE)
			verdict = decap_gue(cur, p, flow, v6);
		return verdict;
	}
	if (p->proto == (v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return v6 ? parse_icmp_ipv6(cur, p, flow) :
			    parse_icmp_ipv4(cur, p, flow);
	return decap_ipip(cur, p, flow, v6);
}

/* Step 7. */
static __always_inline int too_big(struct packet *p, const bool v6)
{
	report(p, EVENT_TOO_BIG);
	return answer_too_big(p, v6);
}

/*
 * Steps 7 to 12. There are two of it: what it takes to tell who captures how
 * a real was chosen costs a packet that nobody captures nothing.
 */
static __always_inline int forward(const struct cursor *cur, struct packet *p,
				   struct flow_key *flow,
				   const struct vip *vip, const bool captured,
				   const bool v6)
{
	struct choice choice = { .captured = captured };
	int verdict;

	if (unlikely(p->frame - p->tag_bytes > MAX_FRAME)) {
		capture_in(p, vip, &choice);
		verdict = too_big(p, v6);
		capture_out(p, vip, &choice, verdict);
		return verdict;
	}
	count(COUNT_VIP_PACKETS);
	verdict = choose_real(p, flow, cur->end, vip, &choice, v6);
	capture_in(p, vip, &choice);
	if (likely(verdict == CONTINUE))
		verdict = send_to_real(p, vip, &choice, v6);
	capture_out(p, vip, &choice, verdict);
	return verdict;
}

static __always_inline int balance(struct cursor *cur, struct packet *p,
				   const bool v6)
{
	struct flow_key flow __on_stack;
	struct vip vip = {};
	int verdict;

	verdict = parse_flow(cur, p, &flow, v6);
	if (unlikely(verdict == MALFORMED))
		return is_vip_address(flow.dst, v6) ? XDP_DROP : XDP_PASS;
	if (unlikely(verdict != CONTINUE))
		return verdict;

	if (unlikely(!find_vip(p, &flow, &vip, v6))) {
		if (p->icmp_counter && is_vip_address(flow.dst, v6))
			count_icmp_error(p);
		return XDP_PASS;
	}
	count_icmp_error(p);
	if (is_denied(p, &flow, &vip, v6))
		return drop_unserved(p, &flow, &vip);
	if (unlikely(is_captured(p, &flow, &vip)))
		return forward(cur, p, &flow, &vip, true, v6);
	return forward(cur, p, &flow, &vip, false, v6);
}

/* Any packet's way: steps 1 to 12. */
static __always_inline int balance_any(struct packet *p)
{
	struct cursor cur;
	__be16 type;

	if (unlikely(!open_frame(&cur, p)))
		return XDP_DROP;
	type = is_to_many(p->eth) ? 0 : parse_ethernet(&cur, p);
	if (likely(type == htons(ETH_P_IP)))
		return balance(&cur, p, false);
	if (type == htons(ETH_P_IPV6))
		return balance(&cur, p, true);
	return XDP_PASS;
}

int balancer(struct xdp_md *ctx)
{
	struct packet p = { .ctx = ctx };
	int action;

	p.frame = ctx->data_end - ctx->data;
	if (unlikely(p.frame < ETH_HLEN))
		return XDP_DROP;
	count_pair(COUNT_SEEN, 1, p.frame);

	if (unlikely(!send_established(ctx, &action))) {
		/* Nothing that was loaded there is kept for here. */
		barrier();
		action = balance_any(&p);
	}

	if (likely(action == XDP_TX))
		count_pair(COUNT_SENT, 1, p.frame);
	else if (action == XDP_DROP)
		count_pair(COUNT_DROPPED, 1, p.frame);
	else
		count_pair(COUNT_PASSED, 1, p.frame);
#ifdef FEATURE_CHAIN
	/* Not ours: a balancer in a slot behind may know the VIP. */
	if (action == XDP_PASS && !p.is_here) {
		next_programs.call(ctx, 1);
		next_programs.call(ctx, 2);
	}
#endif
	return action;
}
