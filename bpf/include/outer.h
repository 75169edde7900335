// SPDX-License-Identifier: GPL-2.0-or-later
/* Outer IP headers: id 0, no fragment bits, no flow label. */
#ifndef KATRAN_OUTER_H
#define KATRAN_OUTER_H

#include "csum.h"
#include "packet.h"

#define OUTER_TTL 64

/* An IPv4 header without options, its checksum from what is written. */
static __always_inline void write_outer_ipv4(void *header, u8 tos, u16 length,
					     u8 proto, __be32 src, __be32 dst)
{
	__be32 first = 0x45 | (u32)tos << 8 | (u32)htons(length) << 16;
	__be32 third = OUTER_TTL | (u32)proto << 8;
	u64 sum = first;

	sum += third;
	sum += src;
	sum += dst;
	third |= (u32)(u16)~csum_fold(sum) << 16;

	word32_at(header) = first;
	word32_at(header + 4) = 0;
	word32_at(header + 8) = third;
	word32_at(header + 12) = src;
	word32_at(header + 16) = dst;
}

static __always_inline void write_outer_ipv6(void *header, u8 tos, u16 length,
					     u8 proto)
{
	word32_at(header) = htonl(0x60000000 | (u32)tos << 20);
	word32_at(header + 4) = htons(length) | (u32)proto << 16 |
				(u32)OUTER_TTL << 24;
}

#endif
