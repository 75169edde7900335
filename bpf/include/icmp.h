// SPDX-License-Identifier: GPL-2.0-or-later
/* ICMP and ICMPv6: echo, errors about a flow, and "packet too big". */
#ifndef KATRAN_ICMP_H
#define KATRAN_ICMP_H

#include "csum.h"
#include "packet.h"
#include "stats.h"
#include "vip.h"

#define REPLY_TTL 64
#define SMALL_MTU 1280

/* Enough of the quoted transport header for its ports. */
#define QUOTED_BYTES 8

static __always_inline void swap_macs(void *eth)
{
	u32 first = word32_at(eth);
	u16 last = word16_at(eth + 4);

	word32_at(eth) = word32_at(eth + 6);
	word16_at(eth + 4) = word16_at(eth + 10);
	word32_at(eth + 6) = first;
	word16_at(eth + 10) = last;
}

/* cur stands behind the ICMP header, whose bounds are checked. */
static __always_inline int echo_ipv4(struct packet *p, struct icmp_header *icmp)
{
	struct iphdr *ip = (void *)icmp - sizeof(*ip);
	__be32 addr = ip->saddr;

	ip->saddr = ip->daddr;
	ip->daddr = addr;
	ip->ttl = REPLY_TTL;
	ip->check = 0;
	ip->check = ipv4_checksum(ip);
	icmp->type = ICMP4_ECHO_REPLY;
	/*
	 * The type's 8 that goes is added here; the carry must come round.
	 * Unlike RFC 1624's equation 3, this turns no checksum into 0, which
	 * would be wrong for a message of zeros.
	 */
	icmp->check = csum_fold((u64)icmp->check + ICMP4_ECHO_REQUEST);
	swap_macs(p->eth);
	return XDP_TX;
}

static __always_inline int echo_ipv6(struct packet *p, struct icmp_header *icmp)
{
	struct ipv6hdr *ip = (void *)icmp - sizeof(*ip);
	u64 low = word64_at(&ip->saddr);
	u64 high = word64_at((void *)&ip->saddr + 8);

	set_address(&ip->saddr, word64_at(&ip->daddr),
		    word64_at((void *)&ip->daddr + 8));
	set_address(&ip->daddr, low, high);
	ip->hop_limit = REPLY_TTL;
	icmp->type = ICMP6_ECHO_REPLY;
	icmp->check = csum_replace(icmp->check, ICMP6_ECHO_REQUEST,
				   ICMP6_ECHO_REPLY);
	swap_macs(p->eth);
	return XDP_TX;
}

static __always_inline void count_icmp_error(struct packet *p)
{
	if (p->icmp_counter)
		count_pair(p->icmp_counter, 1, p->icmp_small_mtu);
	p->icmp_counter = 0;
}

/*
 * Codes by which a QUIC server does not end a connection: host and port
 * unreachable, address and port unreachable.
 */
static __always_inline bool ignored_by_quic(const struct packet *p,
					    const bool v6)
{
	if (v6)
		return p->icmp_code == ICMP6_ADDRESS ||
		       p->icmp_code == ICMP6_PORT;
	return p->icmp_code == ICMP4_HOST ||
	       p->icmp_code == ICMP4_PORT;
}

/*
 * Turns the quoted flow round: what the VIP sent is quoted, what the client
 * sends is looked for. Usually the error went to the address that is quoted as
 * source: then finding the flow's VIP proves the destination to be one, and
 * only otherwise does the destination cost a lookup here.
 */
static __always_inline int quoted_flow(struct cursor *cur, struct packet *p,
				       struct flow_key *flow, const bool v6)
{
	void *quoted = cur->pos, *transport;
	__be32 outer_dst[4];
	bool plain = false, whole = false;
	__be32 ports;

	__builtin_memcpy(outer_dst, flow->dst, sizeof(outer_dst));
	if (v6) {
		struct ipv6hdr *ip = quoted;

		transport = ip + 1;
		if (transport + QUOTED_BYTES <= cur->end) {
			whole = true;
			p->proto = ip->nexthdr;
			plain = word64_at(&ip->saddr) == flow->words[2] &&
				word64_at((void *)&ip->saddr + 8) ==
					flow->words[3];
			set_address(flow->src, word64_at(&ip->daddr),
				    word64_at((void *)&ip->daddr + 8));
			set_address(flow->dst, word64_at(&ip->saddr),
				    word64_at((void *)&ip->saddr + 8));
		}
	} else {
		struct iphdr *ip = quoted;

		transport = ip + 1;
		if (transport + QUOTED_BYTES <= cur->end && ip->ihl == 5) {
			whole = true;
			p->proto = ip->protocol;
			plain = ip->saddr == flow->dst[0];
			set_address(flow->src, ip->daddr, 0);
			set_address(flow->dst, ip->saddr, 0);
		}
	}

	if (unlikely(!plain)) {
		if (!is_vip_address(outer_dst, v6))
			return XDP_PASS;
		count_icmp_error(p);
		if (!whole)
			return XDP_DROP;
	}
	if (transport + QUOTED_BYTES > cur->end)
		return XDP_DROP;
	ports = word32_at(transport);
	p->ports = ports >> 16 | ports << 16;
	p->from_icmp = true;
	p->payload = transport + QUOTED_BYTES;
	return CONTINUE;
}

static __always_inline int parse_icmp_ipv4(struct cursor *cur,
					   struct packet *p,
					   struct flow_key *flow)
{
	struct icmp_header *icmp = cur->pos;

	if ((void *)(icmp + 1) > cur->end)
		return MALFORMED;
	cur->pos = icmp + 1;
	if (!is_length_right(cur, p, sizeof(*icmp), false))
		return MALFORMED;
	if (icmp->type == ICMP4_ECHO_REQUEST)
		return is_vip_address(flow->dst, false) ? echo_ipv4(p, icmp) :
							  XDP_PASS;
	if (icmp->type != ICMP4_UNREACHABLE)
		return XDP_PASS;
	p->icmp_addresses = (u64)flow->src[0] + flow->dst[0];
	p->icmp_code = icmp->code;
	if (icmp->code == ICMP4_FRAG_NEEDED) {
		p->icmp_counter = COUNT_ICMP4_FRAG_NEEDED;
		p->icmp_small_mtu = ntohs(icmp->mtu_low) < SMALL_MTU;
	}
	return quoted_flow(cur, p, flow, false);
}

static __always_inline int parse_icmp_ipv6(struct cursor *cur,
					   struct packet *p,
					   struct flow_key *flow)
{
	struct icmp_header *icmp = cur->pos;

	if ((void *)(icmp + 1) > cur->end)
		return MALFORMED;
	cur->pos = icmp + 1;
	if (!is_length_right(cur, p, sizeof(*icmp), true))
		return MALFORMED;
	if (icmp->type == ICMP6_ECHO_REQUEST)
		return is_vip_address(flow->dst, true) ? echo_ipv6(p, icmp) :
							 XDP_PASS;
	if (icmp->type != ICMP6_UNREACHABLE && icmp->type != ICMP6_TOO_BIG)
		return XDP_PASS;
	p->icmp_code = icmp->code;
	if (icmp->type == ICMP6_TOO_BIG) {
		p->icmp_counter = COUNT_ICMP6_TOO_BIG;
		p->icmp_small_mtu =
			ntohl(word32_at(&icmp->mtu_high)) < SMALL_MTU;
	}
	return quoted_flow(cur, p, flow, true);
}

#ifdef FEATURE_ICMP_TOO_BIG

/* Of the offending frame: its IP header and the start of what follows. */
#define TOO_BIG_QUOTE_IPV4 84
#define TOO_BIG_QUOTE_IPV6 248
#define TOO_BIG_MTU (MAX_FRAME - ETH_HLEN)

/*
 * Makes room for IP and ICMP in front of the quoted packet, the Ethernet
 * header and its tags kept, MACs swapped; returns the place of the new IP
 * header or NULL.
 */
static __always_inline void *open_too_big(struct packet *p, int quote,
					  int headers)
{
	u32 l2 = ETH_HLEN + p->tag_bytes;
	void *old, *new, *end;

	if (bpf_xdp_adjust_tail(p->ctx, (int)(l2 + quote) - (int)p->frame) ||
	    bpf_xdp_adjust_head(p->ctx, -headers))
		return NULL;
	new = (void *)(long)p->ctx->data;
	end = (void *)(long)p->ctx->data_end;
	old = new + headers;
	if (old + ETH_HLEN + 2 * VLAN_TAG_BYTES > end)
		return NULL;
	word32_at(new) = word32_at(old + 6);
	word16_at(new + 4) = word16_at(old + 10);
	word32_at(new + 6) = word32_at(old);
	word16_at(new + 10) = word16_at(old + 4);
	word32_at(new + 12) = word32_at(old + 12);
	word32_at(new + 16) = word32_at(old + 16);
	word16_at(new + 20) = word16_at(old + 20);
	new += l2;
	keep_pointer(new);
	if (new + headers + quote > end)
		return NULL;
	return new;
}

static __always_inline int send_too_big_ipv4(struct packet *p)
{
	const int headers = sizeof(struct iphdr) + sizeof(struct icmp_header);
	struct iphdr *ip, *quoted;
	struct icmp_header *icmp;
	u64 sum;

	ip = open_too_big(p, TOO_BIG_QUOTE_IPV4, headers);
	if (!ip)
		return XDP_DROP;
	icmp = (void *)(ip + 1);
	quoted = (void *)ip + headers;

	word32_at(ip) = 0x45 | (u32)htons(headers + TOO_BIG_QUOTE_IPV4) << 16;
	word32_at(&ip->id) = 0;
	word32_at(&ip->ttl) = REPLY_TTL | IPPROTO_ICMP << 8;
	ip->saddr = quoted->daddr;
	ip->daddr = quoted->saddr;
	ip->check = ipv4_checksum(ip);

	word64_at(icmp) = 0;
	icmp->type = ICMP4_UNREACHABLE;
	icmp->code = ICMP4_FRAG_NEEDED;
	icmp->mtu_low = htons(TOO_BIG_MTU);
	sum = (u32)bpf_csum_diff(NULL, 0, (void *)icmp,
				 sizeof(*icmp) + TOO_BIG_QUOTE_IPV4, 0);
	icmp->check = ~csum_fold(sum);
	return XDP_TX;
}

static __always_inline int send_too_big_ipv6(struct packet *p)
{
	const int headers = sizeof(struct ipv6hdr) + sizeof(struct icmp_header);
	const int message = sizeof(struct icmp_header) + TOO_BIG_QUOTE_IPV6;
	struct ipv6hdr *ip, *quoted;
	struct icmp_header *icmp;
	u64 sum;

	ip = open_too_big(p, TOO_BIG_QUOTE_IPV6, headers);
	if (!ip)
		return XDP_DROP;
	icmp = (void *)(ip + 1);
	quoted = (void *)ip + headers;

	word32_at(ip) = htonl(0x60000000);
	word32_at(&ip->payload_len) =
		htons(message) | IPPROTO_ICMPV6 << 16 | REPLY_TTL << 24;
	set_address(&ip->saddr, word64_at(&quoted->daddr),
		    word64_at((void *)&quoted->daddr + 8));
	set_address(&ip->daddr, word64_at(&quoted->saddr),
		    word64_at((void *)&quoted->saddr + 8));

	word64_at(icmp) = 0;
	icmp->type = ICMP6_TOO_BIG;
	word32_at(&icmp->mtu_high) = htonl(TOO_BIG_MTU);
	sum = (u32)bpf_csum_diff(NULL, 0, (void *)icmp, message, 0);
	/* The pseudo-header: both addresses, the length, the next header. */
	sum += (u32)bpf_csum_diff(NULL, 0, (void *)&ip->saddr, 32, 0);
	sum += htons(message) + htons(IPPROTO_ICMPV6);
	icmp->check = ~csum_fold(sum);
	return XDP_TX;
}

#endif

/* To a sender whose frame the tunnel cannot carry. */
static __always_inline int answer_too_big(struct packet *p, const bool v6)
{
#ifdef FEATURE_ICMP_TOO_BIG
	count_family(COUNT_TOO_BIG_SENT, v6);
	return v6 ? send_too_big_ipv6(p) : send_too_big_ipv4(p);
#else
	return XDP_DROP;
#endif
}

#endif
