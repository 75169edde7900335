// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Congestion marks where a tunnel ends (RFC 6040, section 4.2): what routers
 * on the way wrote into the outer header must reach the receiver, which
 * looks at the inner one.
 */
#ifndef KATRAN_ECN_H
#define KATRAN_ECN_H

#include "csum.h"
#include "packet.h"

#define ECN_MASK 3
#define ECN_NOT_CAPABLE 0
#define ECN_CAPABLE_1 1
#define ECN_CAPABLE_0 2
#define ECN_CONGESTED 3

/* Of IPv6, the second byte's upper half: DSCP begins in the first byte. */
#define ECN_IPV6_SHIFT 4

/* The mark that the packet goes on with. */
static __always_inline u8 merge_ecn(u8 outer, u8 inner)
{
	if (outer == ECN_CONGESTED ||
	    (outer == ECN_CAPABLE_1 && inner == ECN_CAPABLE_0))
		return outer;
	return inner;
}

/*
 * Marks the inner packet, whose IP header is in bounds, as the outer ToS or
 * traffic class says. False: it met congestion, and its sender does not know
 * marks; only its loss can tell.
 */
static __always_inline bool carry_ecn(u8 outer_tos, void *header,
				      const bool v6)
{
	u8 *bytes = header;
	const u8 shift = v6 ? ECN_IPV6_SHIFT : 0;
	u8 outer = outer_tos & ECN_MASK;
	u8 inner = bytes[1] >> shift & ECN_MASK;
	u8 merged = merge_ecn(outer, inner);
	__be16 old;

	if (likely(merged == inner))
		return true;
	if (inner == ECN_NOT_CAPABLE)
		return false;
	old = word16_at(header);
	bytes[1] = (bytes[1] & ~(ECN_MASK << shift)) | merged << shift;
	if (!v6) {
		struct iphdr *ip = header;

		ip->check = csum_replace(ip->check, old, word16_at(header));
	}
	return true;
}

#endif
