// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Copies of one VIP's packets, as they came and as they left, for whoever
 * captures. Whoever does must say again and again that he is still there: the
 * time in ctl_array until which packets are copied is a few seconds away at
 * most, and once it has passed the first packet to any VIP takes it away. So
 * a listener that was killed costs nothing for longer than that.
 */
#ifndef KATRAN_CAPTURE_H
#define KATRAN_CAPTURE_H

#include "choice.h"
#include "introspection.h"
#include "vip.h"

#ifdef FEATURE_INTROSPECTION
static __always_inline bool is_client(const struct capture_filter *want,
				      const struct packet *p,
				      const struct flow_key *flow)
{
	u32 other = 0;
	int i;

#pragma unroll
	for (i = 0; i < 4; i++)
		other |= (flow->src[i] ^ want->client[i]) & want->mask[i];
	return !other && (!want->port || want->port == flow_sport(p));
}

static __always_inline void copy_frame(const struct packet *p, u32 event,
				       const struct vip *vip,
				       const struct choice *choice, u8 verdict,
				       u32 snaplen)
{
	u64 length = (u64)p->ctx->data_end - p->ctx->data;
	struct capture_metadata meta = {
		.event.event = event,
		.event.pkt_size = length,
		.how = choice->how,
		.verdict = verdict,
		.from_icmp = p->from_icmp,
		.ns = bpf_ktime_get_ns(),
		.vip_num = vip->num,
		.real = choice->real ? choice->id : 0,
	};

	if (length > snaplen)
		length = snaplen;
	meta.event.data_len = length;
	emit_event(p->ctx, length, &meta, sizeof(meta));
}
#endif

/* Whether somebody wants packets of any VIP. */
static __always_inline bool somebody_captures(void)
{
#ifdef FEATURE_INTROSPECTION
	struct ctl_value *until = control(CTL_CAPTURE_UNTIL);

	return until && until->value;
#else
	return false;
#endif
}

/* Whether somebody wants packets of this VIP and client. */
static __always_inline bool is_captured(const struct packet *p,
					const struct flow_key *flow,
					const struct vip *vip)
{
#ifdef FEATURE_INTROSPECTION
	struct ctl_value *until = control(CTL_CAPTURE_UNTIL);
	struct capture_filter *want;

	if (!until || likely(!until->value))
		return false;
	if (bpf_ktime_get_ns() > until->value) {
		until->value = 0;
		return false;
	}
	want = find_capture_filter();
	if (!want || want->vip_num != vip->num)
		return false;
	return is_client(want, p, flow);
#else
	return false;
#endif
}

/* The frame as it came, unless there are enough or another real is wanted. */
static __always_inline void capture_in(const struct packet *p,
				       const struct vip *vip,
				       struct choice *choice)
{
#ifdef FEATURE_INTROSPECTION
	struct capture_filter *want;

	if (!choice->captured)
		return;
	want = find_capture_filter();
	if (!want || want->taken >= want->limit)
		return;
	if (want->real && (!choice->real || want->real != choice->id))
		return;
	/* CPUs that do so at once take a few too many. */
	__sync_fetch_and_add(&want->taken, 1);
	choice->snaplen = want->snaplen;
	copy_frame(p, EVENT_FRAME_IN, vip, choice, 0, choice->snaplen);
#endif
}

/* What became of it, and the frame as it leaves. */
static __always_inline void capture_out(const struct packet *p,
					const struct vip *vip,
					const struct choice *choice,
					int verdict)
{
#ifdef FEATURE_INTROSPECTION
	if (choice->captured && choice->snaplen)
		copy_frame(p, EVENT_FRAME_OUT, vip, choice, verdict,
			   choice->snaplen);
#endif
}

/* A packet of a VIP that is dropped before a real is looked for. */
static __always_inline int drop_unserved(const struct packet *p,
					 const struct flow_key *flow,
					 const struct vip *vip)
{
	if (is_captured(p, flow, vip)) {
		struct choice choice = { .captured = true };

		capture_in(p, vip, &choice);
		capture_out(p, vip, &choice, XDP_DROP);
	}
	return XDP_DROP;
}

#endif
