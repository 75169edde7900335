// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The flow hash: Bob Jenkins's lookup3 (public domain), as the kernel's jhash
 * seeds and folds it, on words as loaded. Every balancer of a fleet must
 * compute the same (docs/datapath.md, section 2): destination and protocol
 * stay out of it.
 */
#ifndef KATRAN_HASH_H
#define KATRAN_HASH_H

#include "compiler.h"
#include "settings.h"

#define JHASH_SEED 0xdeadbeefU
#define RING_SEED ((u32)MAX_VIPS * RING_SIZE)

static __always_inline u32 rotate(u32 word, u32 bits)
{
	return word << bits | word >> (32 - bits);
}

static __always_inline u32 jhash_final(u32 a, u32 b, u32 c)
{
	c ^= b;
	c -= rotate(b, 14);
	a ^= c;
	a -= rotate(c, 11);
	b ^= a;
	b -= rotate(a, 25);
	c ^= b;
	c -= rotate(b, 16);
	a ^= c;
	a -= rotate(c, 4);
	b ^= a;
	b -= rotate(a, 14);
	c ^= b;
	c -= rotate(b, 24);
	return c;
}

static __always_inline u32 jhash_two_words(u32 first, u32 second, u32 seed)
{
	u32 start = JHASH_SEED + (2 << 2) + seed;

	return jhash_final(first + start, second + start, start);
}

/* Four words are one full block of three and a tail of one. */
static __always_inline u32 jhash_four_words(const u32 *words, u32 seed)
{
	u32 a, b, c;

	a = b = c = JHASH_SEED + 16 + seed;
	a += words[0];
	b += words[1];
	c += words[2];

	a -= c;
	a ^= rotate(c, 4);
	c += b;
	b -= a;
	b ^= rotate(a, 6);
	a += c;
	c -= b;
	c ^= rotate(b, 8);
	b += a;
	a -= c;
	a ^= rotate(c, 16);
	c += b;
	b -= a;
	b ^= rotate(a, 19);
	a += c;
	c -= b;
	c ^= rotate(b, 4);
	b += a;

	return jhash_final(a + words[3], b, c);
}

/*
 * hash % RING_SIZE without a division, which costs more than the hash: the
 * quotient by a rounded-down reciprocal is at most one too small.
 */
static __always_inline u32 ring_slot(u32 hash)
{
	const u64 reciprocal = (1ULL << 32) / RING_SIZE;
	u32 quotient = ((u64)hash * reciprocal) >> 32;
	u32 rest = hash - quotient * RING_SIZE;

	return rest >= RING_SIZE ? rest - RING_SIZE : rest;
}

#endif
