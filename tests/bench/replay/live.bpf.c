// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sends frames out of the interface that a live test run names: packets of many
 * flows, at a steady pace if one is set.
 */
#include <uapi/linux/bpf.h>

#include "compiler.h"
#include "walk.h"

/* What the kernel sends at once; the pace is kept between them. */
#define BATCH 64

/* Looks at the clock while it waits: some 100 us. */
#define LOOKS 2048

struct pace {
	/* 0: with the first frame. */
	u64 begin;
	/* Of a batch; 0: as fast as it goes. */
	u64 ns;
};

BPF_TABLE("array", u32, struct walk, walk, 1);
BPF_TABLE("array", u32, struct pace, pace, 1);

static __always_inline void wait_for(struct pace *pace, u64 batch)
{
	u64 due, now = bpf_ktime_get_ns();
	int i;

	if (!pace->begin)
		pace->begin = now;
	due = pace->begin + batch * pace->ns;
	for (i = 0; i < LOOKS && (s64)(due - now) > 0; i++)
		now = bpf_ktime_get_ns();
}

int live(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	word64 *words = (void *)(long)ctx->data;
	u32 zero = 0;
	struct walk *state = walk.lookup(&zero);
	struct pace *steps = pace.lookup(&zero);

	if (!state || !steps || (void *)(words + KEPT_WORDS) > end)
		return XDP_ABORTED;
	if (steps->ns && !(state->runs % BATCH))
		wait_for(steps, state->runs / BATCH);
	/* Frames come back as the receiver left them. */
	write_packet(words, state);
	if (!write_client((void *)words, end, state))
		return XDP_ABORTED;
	state->runs++;
	return XDP_TX;
}
