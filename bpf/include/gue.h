// SPDX-License-Identifier: GPL-2.0-or-later
/* Encapsulation in GUE, variant 1: the inner IP header right behind UDP. */
#ifndef KATRAN_GUE_H
#define KATRAN_GUE_H

#include "outer.h"

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
 * are in both and cancel.
 */
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

#endif
