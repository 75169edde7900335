// SPDX-License-Identifier: GPL-2.0-or-later
/* Takes the outer headers off a tunnelled packet. */
#ifndef KATRAN_STRIP_H
#define KATRAN_STRIP_H

#include "packet.h"
#include "vlan.h"

/*
 * Whether the inner header, of so many bytes, is in the tunnel by its outer
 * length, and not in the padding behind it.
 */
static __always_inline bool holds_inner(const struct packet *p, u32 outer,
					u32 inner_bytes, const bool v6)
{
	return p->bytes + (v6 ? sizeof(struct ipv6hdr) : 0) >=
	       outer + inner_bytes;
}

#ifndef BY_TC

/* Cuts `outer` bytes out between the Ethernet header and the inner packet. */
static __always_inline bool strip_outer(struct packet *p, u32 outer,
					__be16 type)
{
	void *old = (void *)(long)p->ctx->data;
	void *end = (void *)(long)p->ctx->data_end;
	void *new = old + outer;
	u64 macs_low;
	u32 macs_high;
	u64 tags;

	if (new + ETH_HLEN + 2 * VLAN_TAG_BYTES > end)
		return false;
	macs_low = word64_at(old);
	macs_high = word32_at(old + 8);
	tags = word64_at(old + 12);
	word64_at(new) = macs_low;
	word32_at(new + 8) = macs_high;
	/* Tags that are not there would overwrite the inner header. */
	if (p->tag_bytes >= VLAN_TAG_BYTES)
		word32_at(new + 12) = tags;
	if (p->tag_bytes >= 2 * VLAN_TAG_BYTES)
		word32_at(new + 16) = tags >> 32;
	if (!skip_tags(p, &new, 0, end))
		return false;
	word16_at(new + 12) = type;
	return !bpf_xdp_adjust_head(p->ctx, outer);
}

#endif

#endif
