// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * As replay.bpf.c, but each run has the packet of another flow: of as many as
 * `mask` has numbers, every one once before the first comes again, in an order
 * that no prefetcher foresees.
 */
#include <uapi/linux/bpf.h>

#include "compiler.h"
#include "walk.h"

BPF_TABLE("array", u32, struct walk, walk, 1);
BPF_TABLE("prog", u32, u32, under_test, 1);

int flows(struct xdp_md *ctx)
{
	u32 zero = 0;
	struct walk *state = walk.lookup(&zero);
	int length, grown;
	word64 *words;
	void *end;

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
	write_packet(words, state);
	if (!write_client((void *)words, end, state))
		return XDP_ABORTED;
	/* A locked instruction: see replay.bpf.c. */
	__sync_fetch_and_add(&state->runs, 1);
	under_test.call(ctx, 0);
	return XDP_ABORTED;
}
