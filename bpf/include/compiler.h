// SPDX-License-Identifier: GPL-2.0-or-later
/* Words that every file uses: inlining, branch hints, byte order, aliasing. */
#ifndef KATRAN_COMPILER_H
#define KATRAN_COMPILER_H

#include <linux/types.h>

/*
 * linux/stddef.h would make this a mere hint, and a function that is not
 * inlined becomes a call between sections, which bcc cannot relocate.
 */
#undef __always_inline
#define __always_inline inline __attribute__((always_inline, unused))

#define NULL ((void *)0)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Hashes and checksums work on words as loaded. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "every balancer of a fleet must compute the same");

#define ntohs(x) ((u16)__builtin_bswap16(x))
#define htons(x) ((__be16)__builtin_bswap16(x))
#define ntohl(x) ((u32)__builtin_bswap32(x))
#define htonl(x) ((__be32)__builtin_bswap32(x))

/*
 * Addresses and keys are moved as whole words, whatever the struct calls their
 * bytes: without may_alias the compiler may reorder such accesses.
 */
typedef u16 __attribute__((may_alias)) word16;
typedef u32 __attribute__((may_alias)) word32;
typedef u64 __attribute__((may_alias)) word64;

/* Keeps the compiler from moving memory accesses across. */
#define barrier() asm volatile("" ::: "memory")

/*
 * The verifier knows the bounds of a pointer's copies, not of one that the
 * compiler computes anew: this makes it use the one that was checked.
 */
#define keep_pointer(p) asm volatile("" : "+r"(p))

/* A key on the stack that is written by 8-byte stores. */
#define __on_stack __attribute__((aligned(8)))

#define NSEC_PER_SEC 1000000000ULL

/* Negative verdicts never leave the program: XDP actions are 0 and more. */
#define CONTINUE (-1)
#define MALFORMED (-2)

#endif
