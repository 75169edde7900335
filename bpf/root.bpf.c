// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Shared mode: several XDP programs on one interface. Runs the first of three
 * slots that has a program; that program ends the chain or calls the next
 * itself, as tail calls do not come back.
 */
#include <uapi/linux/bpf.h>

BPF_TABLE("prog", u32, u32, root_array, 3);

int root(struct xdp_md *ctx)
{
	root_array.call(ctx, 0);
	root_array.call(ctx, 1);
	root_array.call(ctx, 2);
	return XDP_PASS;
}
