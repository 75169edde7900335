// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Finding an exact VIP without a hash map: in an array that the control plane
 * makes of vip_map. A lookup in a hash map calls the kernel and costs some
 * 20 ns; this one is inlined.
 *
 * A VIP lies in its home slot, or, where several have the same home, where
 * that one's displacement leads it: hash and displace (Belazzougui, Botelho,
 * Dietzfelbinger: Hash, displace, and compress, 2009). So whether a VIP is
 * there or not takes two slots to tell, and mostly one. A home without a
 * displacement, as all are while VIPs change, sends to vip_map itself.
 */
#ifndef KATRAN_VIP_INDEX_H
#define KATRAN_VIP_INDEX_H

#include "packet.h"

/* port_proto of the entry that says: a VIP has this address. */
#define VIP_ANY_OF_ADDRESS 0xff000000

/* Multiplicative hashing: a factor for each word, all odd. */
#define VIP_FACTOR_LOW 0x9e3779b97f4a7c15ULL
#define VIP_FACTOR_HIGH 0xc2b2ae3d27d4eb4fULL
#define VIP_FACTOR_PORT 0xd6e8feb86659fd93ULL

/* A VIP's key in registers: of IPv4, `high` is known to be zero. */
struct vip_words {
	u64 low;
	u64 high;
	/* As in vip_definition, from the port on. */
	u32 port_proto;
};

static __always_inline struct vip_words
vip_words_of(const struct flow_key *flow, __be16 port, u8 proto, const bool v6)
{
	return (struct vip_words) {
		.low = flow->words[2],
		.high = v6 ? flow->words[3] : 0,
		.port_proto = (u32)port | (u32)proto << 16,
	};
}

/*
 * The slot of a VIP, or the one that another has where there is none. NULL: the
 * index does not tell, ask the hash map.
 */
static __always_inline struct vip_slot *ask_index(const struct vip_words *vip,
						  const bool v6)
{
	struct vip_slot *slot;
	u64 hash = vip->low * VIP_FACTOR_LOW;
	u32 displacement;

	if (v6)
		hash += vip->high * VIP_FACTOR_HIGH;
	hash += vip->port_proto * VIP_FACTOR_PORT;
	slot = vip_slot_at(hash);
	if (unlikely(!slot))
		return NULL;
	displacement = slot->displacement;
	if (likely(displacement == 1))
		return slot;
	if (unlikely(!displacement))
		return NULL;
	return vip_slot_at(hash * (2ULL * displacement - 1));
}

static __always_inline bool is_slot_of(const struct vip_slot *slot,
				       const struct vip_words *vip)
{
	return slot->low == vip->low && slot->high == vip->high &&
	       slot->port_proto == vip->port_proto;
}

static __always_inline struct vip_meta *
ask_vip_map(const struct vip_words *vip)
{
	struct vip_definition key __on_stack;

	set_address(&key, vip->low, vip->high);
	word32_at(&key.port) = vip->port_proto;
	return find_vip_in_map(&key);
}

/*
 * An exact VIP, by the flow's destination; *vip is what it is looked for by.
 * NULL: there is none.
 */
static __always_inline struct vip_meta *
find_vip_exact(const struct flow_key *flow, __be16 port, u8 proto,
	       struct vip_words *vip, const bool v6)
{
	struct vip_slot *slot;

	*vip = vip_words_of(flow, port, proto, v6);
	if (is_ambiguous(flow->dst, v6))
		return NULL;
	slot = ask_index(vip, v6);
	if (unlikely(!slot))
		return ask_vip_map(vip);
	return is_slot_of(slot, vip) ? &slot->meta : NULL;
}

/* Whether an exact VIP has this address. */
static __always_inline bool is_exact_vip_address(const __be32 *addr,
						 const bool v6)
{
	struct vip_words vip = {
		.low = word64_at(addr),
		.high = v6 ? word64_at(addr + 2) : 0,
		.port_proto = VIP_ANY_OF_ADDRESS,
	};
	struct address key __on_stack;
	struct vip_slot *slot;

	if (is_ambiguous(addr, v6))
		return false;
	slot = ask_index(&vip, v6);
	if (likely(slot))
		return is_slot_of(slot, &vip);
	set_address(&key, vip.low, vip.high);
	return find_vip_address(&key);
}

#endif
