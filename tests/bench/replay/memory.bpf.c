// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One read of a place of its own for each client: what memory costs where
 * neither a cache nor the translation of addresses has it.
 */
#include <uapi/linux/bpf.h>

#include "compiler.h"

#define CLIENT_AT 26
#define PORT_AT 34

/* Two cache lines, which processors fetch in pairs. */
struct place {
	u64 words[16];
};

BPF_TABLE("array", u32, struct place, places, 1);

int memory(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct place *place;
	u32 number;

	if (data + PORT_AT + 4 > end)
		return XDP_ABORTED;
	number = ntohl(*(word32 *)(data + CLIENT_AT)) << 4;
	number |= ntohs(*(word16 *)(data + PORT_AT)) & 15;
	/* Of as many as there are. */
	number &= PLACES - 1;
	place = places.lookup(&number);
	return place && !place->words[0] ? XDP_TX : XDP_DROP;
}
