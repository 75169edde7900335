// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * On a real: takes off what a balancer put on. Only packets for a VIP that
 * this host serves are touched, so that nobody can use the host to send
 * packets into the network behind it; everything else goes on as it came.
 *
 * One of three programs, by the settings: decap (XDP), decap_tc (tc ingress,
 * BY_TC), and decap_tunnel (BEHIND_TUNNEL), which watches over the kernel's
 * own tunnel devices: they strip, whatever it is and from whomever.
 */
#include <uapi/linux/bpf.h>

#include <linux/pkt_cls.h>

#include "compiler.h"
#include "way.h"
#include "settings.h"
#include "structs.h"

struct decap_stats {
	/* Decapsulated, by the family of the outer header. */
	u64 v4;
	u64 v6;
	/* IP packets seen. */
	u64 total;
	/* TCP packets that name a server; of them, another than this. */
	u64 tpr_misrouted;
	u64 tpr_total;
};
ASSERT_SIZE(struct decap_stats, 40);

BPF_TABLE("hash", struct address, u32, decap_vips, 1);
BPF_TABLE("percpu_array", u32, struct decap_stats, decap_counters, 1);
BPF_TABLE("array", u32, u32, tpr_server_id, 1);
BPF_F_TABLE("lpm_trie", struct v4_lpm_key, u32, decap_src_v4, 1,
	    BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct v6_lpm_key, u32, decap_src_v6, 1,
	    BPF_F_NO_PREALLOC);

static __always_inline struct decap_stats *counters(void)
{
	u32 zero = 0;

	return decap_counters.lookup(&zero);
}

static __always_inline bool is_served(struct address *vip)
{
	return decap_vips.lookup(vip);
}

static __always_inline u32 own_server_id(void)
{
	u32 zero = 0;
	u32 *id = tpr_server_id.lookup(&zero);

	return id ? *id : 0;
}

#include "ecn.h"
#include "packet.h"
#include "parse.h"
#include "server_id.h"
#include "strip.h"
#include "strip_skb.h"

static __always_inline void *find_source4(struct v4_lpm_key *key)
{
	return decap_src_v4.lookup(key);
}

static __always_inline void *find_source6(struct v6_lpm_key *key)
{
	return decap_src_v6.lookup(key);
}

#include "sources.h"

/* Multicast and broadcast: no tunnel of ours has such an end. */
static __always_inline bool is_to_many(const struct flow_key *outer,
				       const bool v6)
{
	u8 first = *(const u8 *)outer->dst;

	return v6 ? first == 0xff : first >= 224;
}

/*
 * A host that also routes (for its containers, say) must leave tunnels to
 * others alone. What its routes would forward is not for itself; what they
 * deliver or refuse is not forwarded. Where the host forwards nothing, the
 * kernel says only that, and whatever came for its MAC counts as its own.
 */
static __always_inline bool is_forwarded(struct packet *p,
					 const struct flow_key *outer,
					 const bool v6)
{
	struct bpf_fib_lookup fib = {};
	long result;

	fib.family = v6 ? 10 /* AF_INET6 */ : 2 /* AF_INET */;
	fib.ifindex = interface_of(p->ctx);
	fib.tot_len = p->bytes;
	if (v6) {
		__builtin_memcpy(fib.ipv6_src, outer->src, 16);
		__builtin_memcpy(fib.ipv6_dst, outer->dst, 16);
	} else {
		fib.ipv4_src = outer->src[0];
		fib.ipv4_dst = outer->dst[0];
	}
	result = bpf_fib_lookup(p->ctx, &fib, sizeof(fib), 0);
	return result == BPF_FIB_LKUP_RET_SUCCESS ||
	       result == BPF_FIB_LKUP_RET_NO_NEIGH ||
	       result == BPF_FIB_LKUP_RET_UNSUPP_LWT ||
	       result == BPF_FIB_LKUP_RET_FRAG_NEEDED;
}

/* Balancers that still have the port of before go on being understood. */
static __always_inline bool is_gue(__be16 port)
{
#ifdef GUE_PORT_BEFORE
	if (port == htons(GUE_PORT_BEFORE))
		return true;
#endif
	return port == htons(GUE_PORT);
}

static __always_inline void count_server_id(struct decap_stats *counted,
					    void *header, void *end,
					    const bool v6)
{
	struct tcphdr *tcp;
	u32 id, own;

	if (v6) {
		struct ipv6hdr *ip = header;

		if (ip->nexthdr != IPPROTO_TCP)
			return;
		tcp = (void *)(ip + 1);
	} else {
		struct iphdr *ip = header;

		if (ip->protocol != IPPROTO_TCP || ip->ihl != 5 ||
		    ip->frag_off & IPV4_FRAGMENT)
			return;
		tcp = (void *)(ip + 1);
	}
	if ((void *)(tcp + 1) > end || ((u8 *)tcp)[13] & TCP_SYN)
		return;
	id = tcp_server_id(tcp, end);
	if (id == NO_SERVER_ID)
		return;
	counted->tpr_total++;
	own = own_server_id();
	if (own && own != id)
		counted->tpr_misrouted++;
}

/* cur stands at the inner header, `outer` bytes behind the Ethernet header. */
static __always_inline int take_off(struct cursor *cur, struct packet *p,
				    struct flow_key *flow,
				    struct decap_stats *counted, u32 outer,
				    const bool v6, const bool inner_v6)
{
	u32 inner_bytes = inner_v6 ? sizeof(struct ipv6hdr) :
				     sizeof(struct iphdr);
	struct address destination __on_stack;
	void *header = cur->pos;

	if (!holds_inner(p, outer, inner_bytes, v6))
		return XDP_PASS;
	if (inner_v6) {
		struct ipv6hdr *ip = header;

		if ((void *)(ip + 1) > cur->end)
			return XDP_PASS;
		set_address(&destination, word64_at(&ip->daddr),
			    word64_at((void *)&ip->daddr + 8));
	} else {
		struct iphdr *ip = header;

		if ((void *)(ip + 1) > cur->end)
			return XDP_PASS;
		set_address(&destination, ip->daddr, 0);
	}
	if (is_ambiguous(destination.addr, inner_v6) ||
	    !is_served(&destination) ||
	    !is_listed_source(flow, v6) ||
	    is_to_many(flow, v6) || is_forwarded(p, flow, v6))
		return XDP_PASS;

	if (!carry_mark(p, header, inner_v6))
		return XDP_DROP;
	count_server_id(counted, header, cur->end, inner_v6);
	if (!strip(p, outer, v6, inner_v6))
		return XDP_DROP;
	if (v6)
		counted->v6++;
	else
		counted->v4++;
	return XDP_PASS;
}

static __always_inline int decap_packet(struct cursor *cur, struct packet *p,
					struct decap_stats *counted,
					const bool v6)
{
	u32 outer = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	struct flow_key flow __on_stack;
	bool inner_v6;

	/* Options and fragments are the host's business. */
	if ((v6 ? parse_ipv6(cur, p, &flow) : parse_ipv4(cur, p, &flow)) !=
	    CONTINUE)
		return XDP_PASS;
	if (p->proto == IPPROTO_UDP) {
		u8 *version;

		if (parse_udp(cur, p, v6) != CONTINUE || !is_gue(flow_dport(p)))
			return XDP_PASS;
		version = cur->pos;
		if ((void *)(version + 1) > cur->end)
			return XDP_PASS;
		inner_v6 = *version & 0x30;
		if (inner_v6)
			return take_off(cur, p, &flow, counted,
					outer + sizeof(struct udphdr), v6,
					true);
		return take_off(cur, p, &flow, counted,
				outer + sizeof(struct udphdr), v6, false);
	}
	if (!is_length_right(cur, p, 0, v6))
		return XDP_PASS;
	if (p->proto == IPPROTO_IPIP)
		return take_off(cur, p, &flow, counted, outer, v6, false);
	if (p->proto == IPPROTO_IPV6)
		return take_off(cur, p, &flow, counted, outer, v6, true);
	return XDP_PASS;
}

/* cur stands at the Ethernet header. */
static __always_inline int decap_frame(struct cursor *cur, struct packet *p)
{
	struct decap_stats *counted = counters();
	__be16 type;

	if (cur->pos + ETH_HLEN > cur->end || !counted)
		return XDP_PASS;
	type = parse_ethernet(cur, p);
	if (type == htons(ETH_P_IP)) {
		counted->total++;
		return decap_packet(cur, p, counted, false);
	}
	if (type == htons(ETH_P_IPV6)) {
		counted->total++;
		return decap_packet(cur, p, counted, true);
	}
	return XDP_PASS;
}

#if defined(BEHIND_TUNNEL)

/* The outer source, as the kernel keeps it with what it took off. */
static __always_inline bool is_from_listed(struct __sk_buff *skb,
					   bool *outer_v6)
{
	struct bpf_tunnel_key tunnel = {};
	struct flow_key outer __on_stack;

	if (!bpf_skb_get_tunnel_key(skb, &tunnel, sizeof(tunnel), 0)) {
		*outer_v6 = false;
		/* The kernel gives it in host order. */
		outer.src[0] = htonl(tunnel.remote_ipv4);
		return is_listed_source(&outer, false);
	}
	if (bpf_skb_get_tunnel_key(skb, &tunnel, sizeof(tunnel),
				   BPF_F_TUNINFO_IPV6))
		return false;
	*outer_v6 = true;
	__builtin_memcpy(outer.src, tunnel.remote_ipv6, 16);
	return is_listed_source(&outer, true);
}

/* What the devices strip must be for a VIP, as with the other programs. */
int decap_tunnel(struct __sk_buff *skb)
{
	struct decap_stats *counted = counters();
	const bool inner_v6 = skb->protocol == htons(ETH_P_IPV6);
	struct address destination __on_stack;
	void *header, *end;
	bool outer_v6;

	if (!counted || !make_linear(skb))
		return TC_ACT_SHOT;
	header = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	counted->total++;
	if (inner_v6) {
		struct ipv6hdr *ip = header;

		if ((void *)(ip + 1) > end)
			return TC_ACT_SHOT;
		set_address(&destination, word64_at(&ip->daddr),
			    word64_at((void *)&ip->daddr + 8));
	} else {
		struct iphdr *ip = header;

		if ((void *)(ip + 1) > end)
			return TC_ACT_SHOT;
		set_address(&destination, ip->daddr, 0);
	}
	if (is_ambiguous(destination.addr, inner_v6) ||
	    !is_served(&destination) || !is_from_listed(skb, &outer_v6))
		return TC_ACT_SHOT;
	if (inner_v6)
		count_server_id(counted, header, end, true);
	else
		count_server_id(counted, header, end, false);
	if (outer_v6)
		counted->v6++;
	else
		counted->v4++;
	return TC_ACT_UNSPEC;
}

#elif defined(BY_TC)

int decap_tc(struct __sk_buff *skb)
{
	struct cursor cur;
	struct packet p = { .ctx = skb, .frame = skb->len };

	if (!make_linear(skb))
		return TC_ACT_UNSPEC;
	cur.pos = (void *)(long)skb->data;
	cur.end = (void *)(long)skb->data_end;
	p.eth = cur.pos;
	return decap_frame(&cur, &p) == XDP_DROP ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

#else

int decap(struct xdp_md *ctx)
{
	struct cursor cur = {
		.pos = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
	};
	struct packet p = { .ctx = ctx, .eth = cur.pos };

	return decap_frame(&cur, &p);
}

#endif
