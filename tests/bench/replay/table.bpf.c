// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A table of flows and nothing else, to tell what its form costs: looks the
 * packet's client up, and learns it where it is not there. Of TCP over IPv4.
 */
#include <uapi/linux/bpf.h>

#include "compiler.h"

/* Bytes in the frame: the client's address; then its port. */
#define CLIENT_AT 26
#define PORT_AT 34

struct key {
	u64 words[KEY_WORDS];
};

struct value {
	u64 words[VALUE_WORDS];
};

BPF_TABLE("lru_hash", struct key, struct value, flow_table, 1);

int table(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct value *found, learned = {};
	struct key key = {};

	if (data + PORT_AT + 4 > end)
		return XDP_ABORTED;
	key.words[0] = *(word32 *)(data + CLIENT_AT) |
		       (u64) * (word32 *)(data + PORT_AT) << 32;
	found = flow_table.lookup(&key);
	if (likely(found))
		return found->words[0] ? XDP_DROP : XDP_TX;
	flow_table.update(&key, &learned);
	return XDP_TX;
}
