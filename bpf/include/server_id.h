// SPDX-License-Identifier: GPL-2.0-or-later
/* Server ids in a TCP option and in the payload of stable-routed UDP. */
#ifndef KATRAN_SERVER_ID_H
#define KATRAN_SERVER_ID_H

#include "packet.h"

#define NO_SERVER_ID 0

#define TCP_OPTION_EOL 0
#define TCP_OPTION_NOP 1
/* The echo of the id that a server put on its SYN-ACK. */
#define TCP_OPTION_SERVER_ID 0xb7
#define TCP_OPTION_SERVER_ID_BYTES 6
#define TCP_OPTION_STEPS 15

/* Whether a packet may name its server in a TCP option. */
static __always_inline bool may_have_option(const struct packet *p)
{
#ifdef FEATURE_TCP_SERVER_ID
	return p->proto == IPPROTO_TCP;
#else
	return false;
#endif
}

/*
 * Of a TCP header whose 20 bytes are in bounds. The id is a u32 as the host
 * loads it. An option may reach beyond the frame though not beyond what the
 * header announces: every read has its own check.
 */
static __always_inline u32 tcp_server_id(void *tcp, void *end)
{
	u8 *options = tcp + sizeof(struct tcphdr);
	u32 length = (((u8 *)tcp)[12] >> 4) * 4;
	u32 offset = 0;
	int step;

	if (length < sizeof(struct tcphdr) + TCP_OPTION_SERVER_ID_BYTES)
		return NO_SERVER_ID;
	length -= sizeof(struct tcphdr);

#pragma clang loop unroll(disable)
	for (step = 0; step < TCP_OPTION_STEPS; step++) {
		u32 size = 1;
		u8 *option;

		/*
		 * Under 40 by the check at the end of each step: the mask
		 * lets the verifier see all ways here as one state.
		 */
		asm volatile("%0 &= 63" : "+r"(offset));
		option = options + offset;
		if ((void *)(option + 1) > end || option[0] == TCP_OPTION_EOL)
			return NO_SERVER_ID;
		if (option[0] != TCP_OPTION_NOP) {
			if ((void *)(option + 2) > end || offset + 2 > length)
				return NO_SERVER_ID;
			size = option[1];
			if (offset + size > length)
				return NO_SERVER_ID;
			if (option[0] == TCP_OPTION_SERVER_ID) {
				if (size != TCP_OPTION_SERVER_ID_BYTES ||
				    (void *)(option + 6) > end)
					return NO_SERVER_ID;
				return word32_at(option + 2);
			}
			if (size == 0)
				return NO_SERVER_ID;
		}
		offset += size;
		if (offset + 2 > length)
			return NO_SERVER_ID;
	}
	return NO_SERVER_ID;
}

#define STABLE_ROUTING_TYPE 0x52
#define STABLE_ROUTING_BYTES 8

/* False: not a packet of the stable-routing protocol. */
static __always_inline bool stable_server_id(const struct packet *p, void *end,
					     u32 *id)
{
	u8 *payload = p->payload;

	if ((void *)(payload + STABLE_ROUTING_BYTES) > end ||
	    payload[0] != STABLE_ROUTING_TYPE)
		return false;
	*id = ntohl(word32_at(payload)) & 0xffffff;
	return true;
}

#endif
