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

/* A connection id that a server gave out; its first 8 bytes are in bounds. */
struct quic_cid {
	u8 *bytes;
	/* As a long header says; a short one does not: any. */
	u32 length;
};

#define QUIC_ANY_LENGTH 0xff

/* False: there is none. Ids that a client chose say nothing of a server. */
static __always_inline bool find_quic_cid(const struct packet *p, void *end,
					  struct lb_quic_packets_stats *quic,
					  struct quic_cid *cid, bool *initial)
{
	u8 *payload = p->payload;

	if ((void *)(payload + QUIC_SHORT_CID + QUIC_CID_BYTES) > end)
		return false;
	if (payload[0] < QUIC_LONG_HEADER) {
		cid->bytes = payload + QUIC_SHORT_CID;
		cid->length = QUIC_ANY_LENGTH;
		return true;
	}
	if ((void *)(payload + QUIC_LONG_CID + QUIC_CID_BYTES) > end)
		return false;
	if (chosen_by_client(payload)) {
		quic->cid_initial++;
		*initial = true;
		return false;
	}
	cid->bytes = payload + QUIC_LONG_CID;
	cid->length = payload[QUIC_LONG_CID_LENGTH];
	return true;
}

/*
 * Layouts by the id's first two bits: 1 has 16 bits of server id after them,
 * 2 has 24 and 3 has 32 after the first byte.
 */
static __always_inline u32 quic_server_id(const struct quic_cid *cid,
					  struct lb_quic_packets_stats *quic)
{
	const u8 *bytes = cid->bytes;
	u32 version = bytes[0] >> 6;
	u32 id;

	if (cid->length < QUIC_CID_BYTES)
		return QUIC_NO_ID;
	if (version == 1)
		id = (u32)(bytes[0] & 0x3f) << 10 | (u32)bytes[1] << 2 |
		     bytes[2] >> 6;
	else if (version == 2)
		id = (u32)bytes[1] << 16 | (u32)bytes[2] << 8 | bytes[3];
	else if (version == 3)
		id = ntohl(word32_at(bytes + 1));
	else
		return QUIC_NO_ID;
	if (id == 0 || id >> 31)
		return QUIC_NO_ID;
	quic->cid_version[version & 3]++;
	return id;
}

#endif
