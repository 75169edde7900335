// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Internet checksums as plain additions of words as loaded: the sum of 16-bit
 * words is the folded sum of 32-bit words, in either byte order.
 */
#ifndef KATRAN_CSUM_H
#define KATRAN_CSUM_H

#include "compiler.h"

/*
 * The 16-bit one's complement sum of a sum of up to 2^32 32-bit words. A word
 * plus itself with its halves swapped has in its upper half the sum of both,
 * the end-around carry included: the lower halves' carry is the same one.
 */
static __always_inline u16 csum_fold(u64 sum)
{
	sum += sum << 32 | sum >> 32;
	sum >>= 32;
	sum += sum << 16 | sum >> 16;
	return (u16)(sum >> 16);
}

/* Subtracting a 16-bit word is adding its complement. */
static __always_inline u64 csum_without(__be16 word)
{
	return (u16)~word;
}

/*
 * RFC 1624, equation 3: the checksum after one word changed. The end-around
 * carry must be added, or one value in 65536 comes out wrong.
 */
static __always_inline __sum16 csum_replace(__sum16 check, __be16 old,
					    __be16 new)
{
	return ~csum_fold((u64)(u16)~check + (u16)~old + new);
}

/* Of an IPv4 header of 20 bytes; its check field must be 0. */
static __always_inline __sum16 ipv4_checksum(const void *header)
{
	const word32 *words = header;
	u64 sum = words[0];

	sum += words[1];
	sum += words[2];
	sum += words[3];
	sum += words[4];
	return ~csum_fold(sum);
}

#endif
