// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The outer headers: IPIP (RFC 2003, RFC 2473) or GUE variant 1 (an IP header
 * right behind UDP). Lengths come from the inner header, never from the frame,
 * which may have padding.
 */
#ifndef KATRAN_ENCAP_H
#define KATRAN_ENCAP_H

#include "csum.h"
#include "outer.h"
#include "packet.h"

/* The inner packet as the outer headers need it. */
struct inner {
	/* Whole length, host order. */
	u16 length;
	u8 tos;
	/* What the outer source or GUE port is made of, as loaded. */
	__be32 client;
	__be16 sport;
	/*
	 * IPv4 in GUE: UDP, which may have no checksum, and what to add to
	 * the header's first 12 bytes so that transport bytes are left out
	 * of a checksum; see inner_sum().
	 */
	bool udp;
	u64 rest;
	/* IPv6's next header. */
	u8 proto;
};

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
#ifdef FEATURE_VLAN
	if (old + ETH_HLEN + 2 * VLAN_TAG_BYTES > end)
		return NULL;
#endif
	mac = gateway->value;
	source_high = word32_at(old);
	source_low = word16_at(old + 4);
#ifdef FEATURE_VLAN
	word32_at(new + 12) = word32_at(old + 12);
	word32_at(new + 16) = word32_at(old + 16);
#endif
	word32_at(new) = mac;
	word16_at(new + 4) = mac >> 32;
	word32_at(new + 6) = source_high;
	word16_at(new + 10) = source_low;
#ifdef FEATURE_VLAN
	new += p->tag_bytes;
	keep_pointer(new);
	if (new + ETH_HLEN + need > end)
		return NULL;
#endif
	word16_at(new + 12) = type;
	return new + ETH_HLEN;
}

#if ENCAP_GUE

static __always_inline __be16 gue_source_port4(const struct inner *inner)
{
	return htons(inner->sport) ^ (__be16)(inner->client >> 16);
}

static __always_inline __be16 gue_source_port6(const struct inner *inner,
					       const bool inner_v6)
{
	__be16 half = inner_v6 ? inner->client : inner->client >> 16;

	return inner->sport ^ half;
}

/*
 * The inner packet's part of the outer checksum is its IP header without the
 * pseudo-header, with which its transport bytes sum to nothing. The addresses
 * are in both and cancel. ICMPv4 has no pseudo-header: there the addresses
 * stay, and nothing goes.
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

static __always_inline u64 inner_sum(void *header, const struct inner *inner,
				     const bool inner_v6)
{
	u64 sum = (u64)word32_at(header) + word32_at(header + 4);

	if (inner_v6) {
		sum += csum_without(word16_at(header + 4));
		sum += csum_without((__be16)inner->proto << 8);
	} else {
		sum += word32_at(header + 8);
		sum += inner->rest;
	}
	return sum;
}

/*
 * The outer UDP checksum without reading the payload: inner transport bytes
 * and inner pseudo-header sum to 0xffff, if the inner checksum is right.
 */
static __always_inline void write_outer_udp(void *udp, __be16 source,
					    u16 length, u64 pseudo,
					    void *header,
					    const struct inner *inner,
					    const bool inner_v6)
{
	__be32 ports = source | (__be32)htons(GUE_PORT) << 16;
	u64 sum = 0xffff + inner_sum(header, inner, inner_v6);
	__sum16 check;

	sum += pseudo;
	sum += ports;
	sum += htons(length);
	sum += htons(length);
	sum += IPPROTO_UDP << 8;
	check = ~csum_fold(sum);
	if (unlikely(!check))
		check = 0xffff;
	/* Without an inner checksum there is nothing to build on. */
	if (!inner_v6 && inner->udp &&
	    unlikely(!word16_at(header + sizeof(struct iphdr) + 6)))
		check = 0;
	word32_at(udp) = ports;
	word32_at(udp + 4) = htons(length) | (u32)check << 16;
}

#define UDP_BYTES sizeof(struct udphdr)
/* The inner header and the transport checksum behind it. */
#define INNER_IPV4_BYTES (sizeof(struct iphdr) + 8)
#define INNER_IPV6_BYTES sizeof(struct ipv6hdr)

static __always_inline bool encap_ipv4(struct packet *p,
				       const struct inner *inner,
				       const struct real_definition *real)
{
	const u32 room = sizeof(struct iphdr) + UDP_BYTES;
	u16 length = inner->length + UDP_BYTES;
	struct real_definition *own = own_address(0);
	__be32 src, dst = real->dst[0];
	void *header;

	if (!own)
		return false;
	src = own->dst[0];
	header = open_outer(p, htons(ETH_P_IP), room, room + INNER_IPV4_BYTES);
	if (!header)
		return false;
	write_outer_ipv4(header, inner->tos, length + sizeof(struct iphdr),
			 IPPROTO_UDP, src, dst);
	write_outer_udp(header + sizeof(struct iphdr), gue_source_port4(inner),
			length, (u64)src + dst, header + room, inner, false);
	return true;
}

static __always_inline bool encap_ipv6(struct packet *p,
				       const struct inner *inner,
				       struct real_definition *real,
				       const bool inner_v6)
{
	const u32 room = sizeof(struct ipv6hdr) + UDP_BYTES;
	u16 length = inner->length + UDP_BYTES;
	struct real_definition *own = own_address(1);
	u64 pseudo = 0;
	void *header;
	int i;

	if (!own)
		return false;
	header = open_outer(p, htons(ETH_P_IPV6), room,
			    room + (inner_v6 ? INNER_IPV6_BYTES :
					       INNER_IPV4_BYTES));
	if (!header)
		return false;
	write_outer_ipv6(header, inner->tos, length, IPPROTO_UDP);
#pragma unroll
	for (i = 0; i < 4; i++) {
		__be32 src = own->dst[i], dst = real->dst[i];

		word32_at(header + 8 + 4 * i) = src;
		word32_at(header + 24 + 4 * i) = dst;
		pseudo += src;
		pseudo += dst;
	}
	write_outer_udp(header + sizeof(struct ipv6hdr),
			gue_source_port6(inner, inner_v6), length, pseudo,
			header + room, inner, inner_v6);
	return true;
}

#else

static __always_inline bool encap_ipv4(struct packet *p,
				       const struct inner *inner,
				       const struct real_definition *real)
{
	const u32 room = sizeof(struct iphdr);
	__be32 src = inner->client ^ (__be32)htons(inner->sport) << 16;
	__be32 dst = real->dst[0];
	void *header;

	/* Spreads the flows of one pair of hosts over a network's paths. */
	src = (src & 0xffff0000) | htons(SOURCE_PREFIX_IPV4);
	header = open_outer(p, htons(ETH_P_IP), room, room);
	if (!header)
		return false;
	write_outer_ipv4(header, inner->tos, inner->length + room,
			 IPPROTO_IPIP, src, dst);
	return true;
}

static __always_inline bool encap_ipv6(struct packet *p,
				       const struct inner *inner,
				       struct real_definition *real,
				       const bool inner_v6)
{
	const u32 room = sizeof(struct ipv6hdr);
	void *header;

	header = open_outer(p, htons(ETH_P_IPV6), room, room);
	if (!header)
		return false;
	write_outer_ipv6(header, inner->tos, inner->length,
			 inner_v6 ? IPPROTO_IPV6 : IPPROTO_IPIP);
	word32_at(header + 8) = htonl(SOURCE_PREFIX_IPV6_0);
	word32_at(header + 12) = htonl(SOURCE_PREFIX_IPV6_1);
	word32_at(header + 16) = htonl(SOURCE_PREFIX_IPV6_2);
	word32_at(header + 20) = inner->client ^ inner->sport;
	word32_at(header + 24) = real->dst[0];
	word32_at(header + 28) = real->dst[1];
	word32_at(header + 32) = real->dst[2];
	word32_at(header + 36) = real->dst[3];
	return true;
}

#endif

#endif
