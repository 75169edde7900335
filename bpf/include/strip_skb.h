// SPDX-License-Identifier: GPL-2.0-or-later
/* The end of a tunnel: by XDP, and in a socket buffer at tc ingress. */
#ifndef KATRAN_STRIP_SKB_H
#define KATRAN_STRIP_SKB_H

#include "ecn.h"
#include "strip.h"

#ifdef BY_TC

/* Up to an inner TCP header of any length: what is looked at. */
#define LINEAR_BYTES                                                     \
	(ETH_HLEN + 2 * sizeof(struct ipv6hdr) + sizeof(struct udphdr) + 60)

/* Brings the headers to where the program can see them. */
static __always_inline bool make_linear(struct __sk_buff *skb)
{
	u32 wanted = skb->len;

	if (wanted > LINEAR_BYTES)
		wanted = LINEAR_BYTES;
	if ((long)skb->data + wanted <= (long)skb->data_end)
		return true;
	return !bpf_skb_pull_data(skb, wanted);
}

/*
 * A driver may have summed up the whole frame. That of an IPv4 header stays,
 * with its own checksum in it; IPv6 has none.
 */
static __always_inline bool carry_mark(struct packet *p, void *header,
				       const bool v6)
{
	__be32 old = word32_at(header);
	__be32 new;

	if (!carry_ecn(p->tos, header, v6))
		return false;
	new = word32_at(header);
	if (v6 && new != old)
		bpf_csum_update(p->ctx, bpf_csum_diff(&old, 4, &new, 4, 0));
	return true;
}

/*
 * The kernel of 6.1 cuts bytes out of a buffer without another EtherType; that
 * is changed by turning one family's header into the other's, which makes the
 * packet 20 bytes shorter or longer. Segments that GRO joined stay as long.
 */
static __always_inline bool strip(struct packet *p, u32 outer, const bool v6,
				  const bool inner_v6)
{
	__be16 type = inner_v6 ? htons(ETH_P_IPV6) : htons(ETH_P_IP);
	const int longer = sizeof(struct ipv6hdr) - sizeof(struct iphdr);
	struct __sk_buff *skb = p->ctx;
	int surplus = outer;

	if (v6 != inner_v6) {
		if (bpf_skb_change_proto(skb, type, 0))
			return false;
		surplus += inner_v6 ? longer : -longer;
	}
	if (bpf_skb_adjust_room(skb, -surplus, BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_FIXED_GSO))
		return false;
	return v6 == inner_v6 ||
	       !bpf_skb_store_bytes(skb, ETH_HLEN - 2, &type, 2, 0);
}

#else

#define carry_mark(p, header, v6) carry_ecn((p)->tos, header, v6)

static __always_inline bool strip(struct packet *p, u32 outer, const bool v6,
				  const bool inner_v6)
{
	return strip_outer(p, outer, inner_v6 ? htons(ETH_P_IPV6) :
						htons(ETH_P_IP));
}

#endif

#endif
