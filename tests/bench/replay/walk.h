// SPDX-License-Identifier: GPL-2.0-or-later
/* The packets of many flows, made from one: each has a client of its own. */
#ifndef REPLAY_WALK_H
#define REPLAY_WALK_H

#include "compiler.h"

/* Of the frame; no program of ours writes beyond. In eights. */
#define KEPT_WORDS 16

struct walk {
	u64 length;
	u64 runs;
	/* A power of two less one. */
	u32 mask;
	/* Each has an order of its own. */
	u32 seed;
	/* Half of the mask's bits, at least 1. */
	u32 shift;
	/* A client has CLIENT_PORTS ports; host order, as is the address. */
	u32 address;
	/* Where in the frame the address' last four bytes and the port are. */
	u16 address_at;
	u16 port_at;
	u32 unused;
	u64 words[KEPT_WORDS];
};

/* From FIRST_PORT on. */
#define CLIENT_PORTS 16
#define FIRST_PORT 40000

/* Each step can be undone, so no two numbers below the mask become one. */
static __always_inline u32 scatter(u32 number, u32 mask, u32 shift, u32 seed)
{
	number = number * (seed | 1) & mask;
	number ^= number >> shift;
	number = number * 0x85ebca6b & mask;
	number ^= number >> shift;
	number = number * (seed >> 8 | 1) & mask;
	return number ^ number >> shift;
}

static __always_inline void write_packet(word64 *words,
					 const struct walk *state)
{
	int i;

#pragma unroll
	for (i = 0; i < KEPT_WORDS; i++)
		words[i] = state->words[i];
}

/* The client of run `runs`. False: it is not in the frame. */
static __always_inline bool write_client(void *frame, void *end,
					 const struct walk *state)
{
	u32 number = scatter(state->runs, state->mask, state->shift & 31,
			     state->seed);
	void *address = frame + (state->address_at & 63);
	void *port = frame + (state->port_at & 63);

	if (address + 4 > end || port + 2 > end)
		return false;
	*(word32 *)address = htonl(state->address + number / CLIENT_PORTS);
	*(word16 *)port = htons(FIRST_PORT + number % CLIENT_PORTS);
#ifdef VALID_IPV4
	/* The identification takes back what the client adds to the sum. */
	*(word16 *)(frame + 18) = ~*(word16 *)(frame + 28);
#endif
	return true;
}

#endif
