// SPDX-License-Identifier: GPL-2.0-or-later
/* The server id that a QUIC connection id carries (RFC 9000, section 17). */
#ifndef KATRAN_QUIC_H
#define KATRAN_QUIC_H

#include "packet.h"

#define QUIC_LONG_HEADER 0x80
#define QUIC_TYPE_MASK 0x30
#define QUIC_HANDSHAKE 0x20

/* The smallest connection id that a server of ours gives out. */
#define QUIC_CID_BYTES 8
#define QUIC_SHORT_CID 1
#define QUIC_LONG_CID_LENGTH 5
#define QUIC_LONG_CID 6

#define QUIC_NO_ID 0

/*
 * Ids that a client chose (in Initial and 0-RTT) say nothing of a server.
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
		if ((payload[0] & QUIC_TYPE_MASK) < QUIC_HANDSHAKE) {
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
