// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * As replay.bpf.c, but each run has the packet of another flow: of as many as
 * `mask` has numbers, every one once before the first comes again, in an order
 * that no prefetcher foresees.
 */
#include <uapi/linux/bpf.h>

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

BPF_TABLE("array", u32, struct walk, walk, 1);
BPF_TABLE("prog", u32, u32, under_test, 1);

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

int flows(struct xdp_md *ctx)
{
	u32 zero = 0, number;
	struct walk *state = walk.lookup(&zero);
	int length, grown, i;
	word64 *words;
	void *end, *address, *port;

	if (!state)
		return XDP_ABORTED;
	length = ctx->data_end - ctx->data;
	/* Or the compiler adds to the pointer what is taken from it here. */
	asm volatile("" : "+r"(length));
	grown = length - (int)state->length;
	/* Also by nothing, so that every run has this call. */
	if (bpf_xdp_adjust_head(ctx, grown))
		return XDP_ABORTED;
	words = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if ((void *)(words + KEPT_WORDS) > end)
		return XDP_ABORTED;
#pragma unroll
	for (i = 0; i < KEPT_WORDS; i++)
		words[i] = state->words[i];
	number = scatter(state->runs, state->mask, state->shift & 31,
			 state->seed);
	address = (void *)words + (state->address_at & 63);
	port = (void *)words + (state->port_at & 63);
	if (address + 4 > end || port + 2 > end)
		return XDP_ABORTED;
	*(word32 *)address = htonl(state->address + number / CLIENT_PORTS);
	*(word16 *)port = htons(FIRST_PORT + number % CLIENT_PORTS);
	/* A locked instruction: see replay.bpf.c. */
	__sync_fetch_and_add(&state->runs, 1);
	under_test.call(ctx, 0);
	return XDP_ABORTED;
}
