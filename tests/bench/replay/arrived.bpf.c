// SPDX-License-Identifier: GPL-2.0-or-later
/* Counts the frames that come, by those as long as they have to be. */
#include <uapi/linux/bpf.h>

#include "compiler.h"

/* 0: right ones; 1: others. */
BPF_TABLE("percpu_array", u32, u64, counted, 2);
BPF_TABLE("array", u32, u32, expected, 1);

int arrived(struct xdp_md *ctx)
{
	u32 zero = 0, kind, length = ctx->data_end - ctx->data;
	u32 *right = expected.lookup(&zero);
	u64 *count;

	kind = !right || *right != length;
	count = counted.lookup(&kind);
	if (count)
		(*count)++;
	return XDP_DROP;
}
