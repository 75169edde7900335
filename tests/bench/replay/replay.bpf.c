// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Lets BPF_PROG_TEST_RUN's repeats see the same packet each time: puts back
 * what the program before changed, then runs the program under test on it.
 */
#include <uapi/linux/bpf.h>

#include "compiler.h"

/* Of the frame; no program of ours writes beyond. In eights. */
#define KEPT_WORDS 16
#define KEPT_BYTES (KEPT_WORDS * 8)

struct frame_start {
	u64 length;
	u64 runs;
	u64 words[KEPT_WORDS];
};

BPF_TABLE("array", u32, struct frame_start, frame_start, 1);
BPF_TABLE("prog", u32, u32, under_test, 1);

int replay(struct xdp_md *ctx)
{
	u32 zero = 0;
	struct frame_start *start = frame_start.lookup(&zero);
	int length, grown, i;
	word64 *words;

	if (!start)
		return XDP_ABORTED;
	length = ctx->data_end - ctx->data;
	/* Or the compiler adds to the pointer what is taken from it here. */
	asm volatile("" : "+r"(length));
	grown = length - (int)start->length;
	/* Also by nothing, so that every run has this call. */
	if (bpf_xdp_adjust_head(ctx, grown))
		return XDP_ABORTED;
	words = (void *)(long)ctx->data;
	if ((void *)(words + KEPT_WORDS) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
#pragma unroll
	for (i = 0; i < KEPT_WORDS; i++)
		words[i] = start->words[i];
	/*
	 * A locked instruction: the stores above are done. A read across two
	 * that are still on their way would wait, as no real packet's does.
	 */
	__sync_fetch_and_add(&start->runs, 1);
	under_test.call(ctx, 0);
	return XDP_ABORTED;
}
