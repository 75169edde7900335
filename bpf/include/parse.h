// SPDX-License-Identifier: GPL-2.0-or-later
/* From the IP header of a frame to the flow: IP, TCP and UDP. */
#ifndef KATRAN_PARSE_H
#define KATRAN_PARSE_H

#include "packet.h"
#include "vlan.h"

#define IPV4_FRAGMENT htons(0x3fff)

/*
 * A header that is cut short before the destination is for nobody that we
 * know; what is malformed behind it may be for a VIP.
 *
 * So is a length that the frame does not hold: it would go into counters and
 * outer headers. It is looked at once per packet, behind the last header.
 */
static __always_inline int parse_ipv4(struct cursor *cur, struct packet *p,
				      struct flow_key *flow)
{
	struct iphdr *ip = cur->pos;

	if ((void *)(ip + 1) > cur->end)
		return XDP_PASS;
	set_address(flow->src, ip->saddr, 0);
	set_address(flow->dst, ip->daddr, 0);
	p->bytes = ntohs(ip->tot_len);
	p->tos = ip->tos;
	p->proto = ip->protocol;
	if (unlikely(ip->ihl != 5 || ip->frag_off & IPV4_FRAGMENT))
		return MALFORMED;
	cur->pos = ip + 1;
	return CONTINUE;
}

static __always_inline int parse_ipv6(struct cursor *cur, struct packet *p,
				      struct flow_key *flow)
{
	struct ipv6hdr *ip = cur->pos;

	if ((void *)(ip + 1) > cur->end)
		return XDP_PASS;
	set_address(flow->src, word64_at(&ip->saddr),
		    word64_at((void *)&ip->saddr + 8));
	set_address(flow->dst, word64_at(&ip->daddr),
		    word64_at((void *)&ip->daddr + 8));
	p->bytes = ntohs(ip->payload_len);
	p->tos = (u8)(ntohs(word16_at(ip)) >> 4);
	p->proto = ip->nexthdr;
	if (unlikely(ip->nexthdr == IPPROTO_FRAGMENT))
		return MALFORMED;
	cur->pos = ip + 1;
	return CONTINUE;
}

static __always_inline int parse_ip(struct cursor *cur, struct packet *p,
				    struct flow_key *flow, const bool v6)
{
	return v6 ? parse_ipv6(cur, p, flow) : parse_ipv4(cur, p, flow);
}

static __always_inline int parse_tcp(struct cursor *cur, struct packet *p,
				     const bool v6)
{
	struct tcphdr *tcp = cur->pos;

	if ((void *)(tcp + 1) > cur->end)
		return MALFORMED;
	p->ports = word32_at(tcp);
	p->tcp_flags = *((u8 *)tcp + 13) & (TCP_SYN | TCP_RST);
	p->transport = tcp;
	cur->pos = tcp + 1;
	return is_length_right(cur, p, sizeof(*tcp), v6) ? CONTINUE : MALFORMED;
}

static __always_inline int parse_udp(struct cursor *cur, struct packet *p,
				     const bool v6)
{
	struct udphdr *udp = cur->pos;

	if ((void *)(udp + 1) > cur->end)
		return MALFORMED;
	p->ports = word32_at(udp);
	p->transport = udp;
	cur->pos = udp + 1;
	p->payload = cur->pos;
	return is_length_right(cur, p, sizeof(*udp), v6) ? CONTINUE : MALFORMED;
}

#endif
