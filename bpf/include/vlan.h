// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The Ethernet header and its VLAN tags, of which the feature steps over up to
 * two. Without it, a tagged frame is none of ours, and all of this is nothing.
 */
#ifndef KATRAN_VLAN_H
#define KATRAN_VLAN_H

#include "packet.h"

#ifdef FEATURE_VLAN

/*
 * 1 if the EtherType is 802.1Q's or 802.1ad's, without a branch. The verifier
 * would otherwise walk the whole program once per number of tags; an unknown
 * number is one walk. The asm keeps the compiler from making it a branch.
 */
static __always_inline u64 is_vlan_tag(__be16 type)
{
	u64 q = type ^ htons(ETH_P_8021Q);
	u64 ad = type ^ htons(ETH_P_8021AD);

	asm volatile("" : "+r"(q), "+r"(ad));
	return (q - 1) >> 63 | (ad - 1) >> 63;
}

/*
 * Steps over up to two tags. A frame that could not hold two tags and an
 * EtherType cannot hold an IP header either: type 0 means "pass it".
 */
static __always_inline __be16 parse_ethernet(struct cursor *cur,
					     struct packet *p)
{
	void *eth = cur->pos;
	u64 tags;

	if (eth + ETH_HLEN + 2 * VLAN_TAG_BYTES > cur->end)
		return 0;
	tags = is_vlan_tag(word16_at(eth + 12));
	tags += tags & is_vlan_tag(word16_at(eth + 16));
	p->tag_bytes = tags * VLAN_TAG_BYTES;
	cur->pos = eth + p->tag_bytes + ETH_HLEN;
	/* Never so, but the verifier forgets the first check here. */
	if (cur->pos > cur->end)
		return 0;
	return word16_at(cur->pos - 2);
}

#else

static __always_inline __be16 parse_ethernet(struct cursor *cur,
					     struct packet *p)
{
	struct ethhdr *eth = cur->pos;

	p->tag_bytes = 0;
	cur->pos = eth + 1;
	return word16_at(&eth->h_proto);
}

#endif

/* Whether two tags would be in bounds: the verifier wants to know. */
static __always_inline bool has_tag_room(void *eth, void *end)
{
#ifdef FEATURE_VLAN
	return eth + ETH_HLEN + 2 * VLAN_TAG_BYTES <= end;
#else
	return true;
#endif
}

/* From one Ethernet header with room for two tags to another. */
static __always_inline void copy_tags(void *to, void *from)
{
#ifdef FEATURE_VLAN
	word32_at(to + 12) = word32_at(from + 12);
	word32_at(to + 16) = word32_at(from + 16);
#endif
}

/*
 * Moves *eth by the length of the tags, so that the EtherType is where it is
 * without any. False: the header and `need` bytes after it are out of bounds.
 */
static __always_inline bool skip_tags(const struct packet *p, void **eth,
				      u32 need, void *end)
{
#ifdef FEATURE_VLAN
	*eth += p->tag_bytes;
	keep_pointer(*eth);
	return *eth + ETH_HLEN + need <= end;
#else
	return true;
#endif
}

#endif
