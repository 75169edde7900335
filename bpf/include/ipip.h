// SPDX-License-Identifier: GPL-2.0-or-later
/* Encapsulation in IPIP (RFC 2003, RFC 2473). */
#ifndef KATRAN_IPIP_H
#define KATRAN_IPIP_H

#include "outer.h"

static __always_inline bool encap_ipv4(struct packet *p,
				       const struct inner *inner,
				       const struct real_definition *real)
{
	const u32 room = sizeof(struct iphdr);
	__be32 src = inner->client ^ (__be32)htons(inner->sport) << 16;
	__be32 dst = real->dst[0];
	void *header;

	/* Spreads the flows of one pair of hosts over a network's paths. */
	src = (src & 0xffff0000) | htons(SOURCE_PREFIX_IPV4);
	header = open_outer(p, htons(ETH_P_IP), room, room);
	if (!header)
		return false;
	write_outer_ipv4(header, inner->tos, inner->length + room,
			 IPPROTO_IPIP, src, dst);
	return true;
}

static __always_inline bool encap_ipv6(struct packet *p,
				       const struct inner *inner,
				       struct real_definition *real,
				       const bool inner_v6)
{
	const u32 room = sizeof(struct ipv6hdr);
	void *header;

	header = open_outer(p, htons(ETH_P_IPV6), room, room);
	if (!header)
		return false;
	write_outer_ipv6(header, inner->tos, inner->length,
			 inner_v6 ? IPPROTO_IPV6 : IPPROTO_IPIP);
	word32_at(header + 8) = htonl(SOURCE_PREFIX_IPV6_0);
	word32_at(header + 12) = htonl(SOURCE_PREFIX_IPV6_1);
	word32_at(header + 16) = htonl(SOURCE_PREFIX_IPV6_2);
	word32_at(header + 20) = inner->client ^ inner->sport;
	word32_at(header + 24) = real->dst[0];
	word32_at(header + 28) = real->dst[1];
	word32_at(header + 32) = real->dst[2];
	word32_at(header + 36) = real->dst[3];
	return true;
}

#endif
