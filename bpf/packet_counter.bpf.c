// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The smallest program that proves that a host can run the others: counts
 * frames while it is switched on.
 */
#include <uapi/linux/bpf.h>

#include "compiler.h"

BPF_TABLE("array", u32, u32, ctl_array, 1);
BPF_TABLE("percpu_array", u32, u64, cntrs_array, 1);

int packet_counter(struct xdp_md *ctx)
{
	u32 zero = 0;
	u32 *enabled = ctl_array.lookup(&zero);
	u64 *frames;

	if (!enabled || !*enabled)
		return XDP_PASS;
	frames = cntrs_array.lookup(&zero);
	if (frames)
		*frames += 1;
	return XDP_PASS;
}
