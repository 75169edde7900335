// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Encapsulation: what its two kinds, IPIP and GUE, need to know of the inner
 * packet, and room for the outer headers. Lengths come from the inner header,
 * never from the frame, which may have padding. See docs/datapath.md,
 * section 4.
 */
#ifndef KATRAN_ENCAP_H
#define KATRAN_ENCAP_H

#include "csum.h"
#include "packet.h"
#include "vlan.h"

/* The inner packet as the outer headers need it. */
struct inner {
	/* Whole length, host order. */
	u16 length;
	u8 tos;
	/* What the outer source or GUE port is made of, as loaded. */
	__be32 client;
	__be16 sport;
	/*
	 * For the checksum of GUE, IPv4: UDP, which may have no checksum, and
	 * what to add to the header's first 12 bytes so that transport bytes
	 * are left out of a checksum; see inner_sum().
	 */
	bool udp;
	u64 rest;
	/* Likewise IPv6: the next header. */
	u8 proto;
};

/*
 * Without the transport's share of the pseudo-header. ICMPv4 has none: there
 * the addresses stay, and nothing goes.
 */
static __always_inline u64 ipv4_rest(const struct packet *p)
{
	u64 sum;

	if (unlikely(p->from_icmp))
		return p->icmp_addresses;
	sum = csum_without((__be16)p->proto << 8);
	sum += csum_without(htons(p->bytes - sizeof(struct iphdr)));
	return sum;
}

static __always_inline struct inner inner_of(const struct packet *p,
					     __be32 client, const bool v6)
{
	struct inner inner = {
		.length = v6 ? p->bytes + sizeof(struct ipv6hdr) : p->bytes,
		.tos = COPY_TOS ? p->tos : 0,
		.client = client,
		.sport = flow_sport(p),
	};

	if (v6) {
		inner.proto = p->from_icmp ? IPPROTO_ICMPV6 : p->proto;
	} else {
		inner.udp = p->proto == IPPROTO_UDP && !p->from_icmp;
		inner.rest = ipv4_rest(p);
	}
	return inner;
}

/*
 * Prepends room for the outer headers and writes the outer Ethernet header,
 * VLAN tags kept. Returns where the outer IP header goes; `need` bytes from
 * there on are in bounds. NULL: no room.
 */
static __always_inline void *open_outer(struct packet *p, __be16 type,
					u32 room, u32 need)
{
	struct ctl_value *gateway = control(CTL_GATEWAY_MAC);
	u32 source_high;
	u16 source_low;
	void *new, *end, *old;
	u64 mac;

	if (!gateway || bpf_xdp_adjust_head(p->ctx, -(int)room))
		return NULL;
	new = (void *)(long)p->ctx->data;
	end = (void *)(long)p->ctx->data_end;
	old = new + room;
	if (new + ETH_HLEN + need > end)
		return NULL;
	if (!has_tag_room(old, end))
		return NULL;
	mac = gateway->value;
	source_high = word32_at(old);
	source_low = word16_at(old + 4);
	copy_tags(new, old);
	word32_at(new) = mac;
	word16_at(new + 4) = mac >> 32;
	word32_at(new + 6) = source_high;
	word16_at(new + 10) = source_low;
	if (!skip_tags(p, &new, need, end))
		return NULL;
	word16_at(new + 12) = type;
	return new + ETH_HLEN;
}

/*
 * Both kinds define encap_ipv4() and encap_ipv6(), after the real's family.
 * False: there was no room.
 */
#if ENCAP_GUE
#include "gue.h"
#else
#include "ipip.h"
#endif

#endif
