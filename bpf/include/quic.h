// SPDX-License-Identifier: GPL-2.0-or-later
/* The server id that a QUIC connection id carries (RFC 9000, section 17). */
#ifndef KATRAN_QUIC_H
#define KATRAN_QUIC_H

#include "packet.h"

#define QUIC_LONG_HEADER 0x80
#define QUIC_TYPE_MASK 0x30
#define QUIC_HANDSHAKE 0x20
#define QUIC_TYPE_STEP 0x10

#define QUIC_VERSION_1 0x00000001
#define QUIC_VERSION_2 0x6b3343cf
/* The drafts of version 1 end in their number, mvfst's in one digit. */
#define QUIC_DRAFTS 0xff000000
#define QUIC_DRAFTS_BITS 8
#define QUIC_MVFST 0xfaceb000
#define QUIC_MVFST_BITS 4

/* The smallest connection id that a server of ours gives out. */
#define QUIC_CID_BYTES 8
#define QUIC_SHORT_CID 1
#define QUIC_LONG_VERSION 1
#define QUIC_LONG_CID_LENGTH 5
#define QUIC_LONG_CID 6

#define QUIC_NO_ID 0

/*
 * Whether the client chose the connection id of a long header: in Initial and
 * 0-RTT. Types are numbered by the version: in 2, whose first is Retry, one
 * higher than in 1 (RFC 9369, section 3.2). What another version means by its
 * bits, or by such an id, nobody here knows: negotiation and greased versions
 * count as Initial.
 */
static __always_inline bool chosen_by_client(const u8 *payload)
{
	u32 version = ntohl(word32_at(payload + QUIC_LONG_VERSION));
	u8 type = payload[0];

	if (version == QUIC_VERSION_2)
		type -= QUIC_TYPE_STEP;
	else if (version != QUIC_VERSION_1 &&
		 version >> QUIC_DRAFTS_BITS !=
			 QUIC_DRAFTS >> QUIC_DRAFTS_BITS &&
		 version >> QUIC_MVFST_BITS != QUIC_MVFST >> QUIC_MVFST_BITS)
		return true;
	return (type & QUIC_TYPE_MASK) < QUIC_HANDSHAKE;
}

/*
 * Ids that a client chose say nothing of a server.
 * Layouts by the id's first two bits: 1 has 16 bits of server id after them,
 * 2 has 24 and 3 has 32 after the first byte.
 */
static __always_inline u32 quic_server_id(const struct packet *p, void *end,
					  struct lb_quic_packets_stats *quic,
					  bool *initial)
{
	u8 *payload = p->payload;
	u32 version, id;
	u8 *cid;

	if ((void *)(payload + QUIC_SHORT_CID + QUIC_CID_BYTES) > end)
		return QUIC_NO_ID;
	if (payload[0] < QUIC_LONG_HEADER) {
		cid = payload + QUIC_SHORT_CID;
	} else {
		if ((void *)(payload + QUIC_LONG_CID + QUIC_CID_BYTES) > end)
			return QUIC_NO_ID;
		if (chosen_by_client(payload)) {
			quic->cid_initial++;
			*initial = true;
			return QUIC_NO_ID;
		}
		if (payload[QUIC_LONG_CID_LENGTH] < QUIC_CID_BYTES)
			return QUIC_NO_ID;
		cid = payload + QUIC_LONG_CID;
	}

	version = cid[0] >> 6;
	if (version == 1)
		id = (u32)(cid[0] & 0x3f) << 10 | (u32)cid[1] << 2 |
		     cid[2] >> 6;
	else if (version == 2)
		id = (u32)cid[1] << 16 | (u32)cid[2] << 8 | cid[3];
	else if (version == 3)
		id = ntohl(word32_at(cid + 1));
	else
		return QUIC_NO_ID;
	if (id == 0 || id >> 31)
		return QUIC_NO_ID;
	quic->cid_version[version & 3]++;
	return id;
}

#endif
