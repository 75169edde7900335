// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connection ids as draft-ietf-quic-load-balancers-21 writes them, unencrypted:
 * three bits of config id, five that may say how long the rest is, the server
 * id, a nonce. How long the two are, the config id's configuration says.
 */
#ifndef KATRAN_QUIC_LB_H
#define KATRAN_QUIC_LB_H

#include "quic.h"
#include "vip.h"

#define QUIC_LB_CONFIG_SHIFT 5
#define QUIC_LB_LENGTH_MASK 0x1f
#define QUIC_LB_ID 1
/*
 * The longest id. No packet of QUIC that is not a client's first ends so soon:
 * 20 bytes at least of packet number and sealed data follow its id.
 */
#define QUIC_LB_CID_BYTES 20
#define BITS_PER_WORD 64

/* What a connection id says of its server. */
struct server {
	bool named;
	/* Its id in `reals`; 0: nobody is called so. */
	u32 real;
	/* Its first eight bytes. */
	u64 id;
};

/* Whether an id can be one of this configuration's. */
static __always_inline bool
has_quic_lb_form(const struct quic_cid *cid,
		 const struct quic_lb_config *config)
{
	u32 said = (cid->bytes[0] & QUIC_LB_LENGTH_MASK) + 1;

	if (!config->id_bytes || cid->length < config->cid_bytes)
		return false;
	if (!(config->flags & QUIC_LB_SAYS_LENGTH))
		return true;
	return said >= config->cid_bytes &&
	       (cid->length == QUIC_ANY_LENGTH || cid->length == said);
}

static __always_inline u32 real_or_none(const u32 *mapped)
{
	return mapped ? *mapped : 0;
}

/*
 * False: the VIP's ids are in Katran's layout. Without servers of its own a
 * configuration writes numbers of server_id_map, as long as a word at most.
 */
static __always_inline bool quic_lb_server(struct quic_cid *cid, void *end,
					   const struct vip *vip,
					   struct server *server, u32 *number)
{
#ifdef FEATURE_QUIC_LB
	struct quic_lb_vip *found = find_quic_lb_vip(vip->num);
	struct quic_lb_server key __on_stack;
	struct quic_lb_config *config;
	u8 *bytes = cid->bytes;
	u32 bits, shift, unused;
	u64 high, low;

	if (!found)
		return false;
	/*
	 * To the verifier one way from here on, whichever header it was: with
	 * a length and a pointer that tell nothing of that, and what it learns
	 * of the pointer's bounds does not part the rest of the program.
	 */
	shift = found->configs[0].pad;
	asm volatile("%0 &= 1" : "+r"(shift));
	bytes += shift;
	asm volatile("%0 &= 255" : "+r"(cid->length));
	if ((void *)(bytes + QUIC_LB_CID_BYTES) > end)
		return found->configs[0].flags & QUIC_LB_VIP;
	key.config = bytes[0] >> QUIC_LB_CONFIG_SHIFT;
	config = &found->configs[key.config];
	if (!(config->flags & QUIC_LB_VIP))
		return false;
	if (!has_quic_lb_form(cid, config))
		return true;

	bits = config->id_bytes * 8;
	high = word64_at(bytes + QUIC_LB_ID);
	low = word64_at(bytes + QUIC_LB_ID + 8);
	if (bits <= BITS_PER_WORD) {
		low = 0;
		unused = BITS_PER_WORD - bits;
	} else {
		low &= ~0ULL >> (2 * BITS_PER_WORD - bits);
		unused = 0;
	}
	asm volatile("%0 &= 63" : "+r"(unused));
	high &= ~0ULL >> unused;
	server->id = __builtin_bswap64(high) >> unused;
	if (config->flags & QUIC_LB_OWN_SERVERS) {
		key.vip_num = vip->num;
		key.id[0] = high;
		key.id[1] = low;
		server->real = real_or_none(find_quic_lb_server(&key));
		server->named = true;
		return true;
	}
	server->named = server->id != QUIC_NO_ID;
	if (!(server->id >> 32))
		*number = server->id;
	return true;
#else
	return false;
#endif
}

#endif
