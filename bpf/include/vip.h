// SPDX-License-Identifier: GPL-2.0-or-later
/* Which VIP a packet is for, and whether an address is any VIP's. */
#ifndef KATRAN_VIP_H
#define KATRAN_VIP_H

#include "packet.h"
#include "stats.h"
#include "vip_index.h"

struct vip {
	u32 flags;
	u32 num;
	/* Its key, as matched: with port 0 where that matched. */
	struct vip_words words;
	bool by_cidr;
};

static __always_inline bool is_in_cidr_vip(const __be32 *addr, const bool v6)
{
#ifdef FEATURE_CIDR_VIPS
	if (v6) {
		struct v6_lpm_key lpm = { .prefixlen = 128 };

		__builtin_memcpy(lpm.addr, addr, sizeof(lpm.addr));
		return find_vip_address_lpm6(&lpm);
	} else {
		struct v4_lpm_key lpm = { .prefixlen = 32, .addr = addr[0] };

		return find_vip_address_lpm4(&lpm);
	}
#else
	return false;
#endif
}

/* Whatever port and protocol; addresses inside a CIDR VIP included. */
static __always_inline bool is_vip_address(const __be32 *addr, const bool v6)
{
	return is_exact_vip_address(addr, v6) || is_in_cidr_vip(addr, v6);
}

/*
 * Each family has a trie of its own: an IPv4 address in 16 bytes would match
 * the IPv6 prefixes that begin like it.
 */
static __always_inline struct vip_meta *find_cidr_vip(const __be32 *addr,
						      __be16 port, u8 proto,
						      const bool v6)
{
#ifdef FEATURE_CIDR_VIPS
	if (v6) {
		struct vip_lpm_key key __on_stack;

		key.prefixlen = 32 + 128;
		word32_at(&key.port) = (u32)port | (u32)proto << 16;
		set_address(key.addr, word64_at(addr), word64_at(addr + 2));
		return find_vip_lpm(&key);
	} else {
		struct vip_lpm4_key key __on_stack;

		key.prefixlen = 32 + 32;
		word32_at(&key.port) = (u32)port | (u32)proto << 16;
		key.addr = addr[0];
		return find_vip_lpm4(&key);
	}
#else
	return NULL;
#endif
}

/*
 * Exact, then by prefix, each with the port before port 0. Unless the exact
 * one matched, the flow forgets its destination port, so that all ports of a
 * client reach one real.
 */
static __always_inline bool find_vip(struct packet *p,
				     const struct flow_key *flow,
				     struct vip *vip, const bool v6)
{
	__be16 port = flow_dport(p);
	struct vip_meta *meta;

	vip->by_cidr = false;
	meta = find_vip_exact(flow, port, p->proto, &vip->words, v6);
	if (likely(meta)) {
		vip->flags = meta->flags;
		vip->num = meta->vip_num;
		return true;
	}

	meta = find_cidr_vip(flow->dst, port, p->proto, v6);
	if (meta)
		vip->by_cidr = true;
	if (!meta) {
		meta = find_vip_exact(flow, 0, p->proto, &vip->words, v6);
	}
	if (!meta) {
		meta = find_cidr_vip(flow->dst, 0, p->proto, v6);
		vip->by_cidr = true;
	}
	if (!meta)
		return false;
	if (vip->by_cidr)
		count(COUNT_CIDR_VIP);
	vip->flags = meta->flags;
	vip->num = meta->vip_num;
	if (!(vip->flags & (VIP_HASH_DST_PORT_ONLY | VIP_HASH_SRC_DST_PORT)))
		p->ports = flow_sport(p);
	return true;
}

/*
 * The VIP's key; of a CIDR VIP, with its prefix's network address. `exact`:
 * room for that of another.
 */
static __always_inline struct vip_definition *
own_key(const struct vip *vip, struct vip_definition *exact)
{
#ifdef FEATURE_CIDR_VIPS
	if (vip->by_cidr)
		return find_cidr_vip_key(vip->num);
#endif
	set_address(exact, vip->words.low, vip->words.high);
	word32_at(&exact->port) = vip->words.port_proto;
	return exact;
}

#endif
