// SPDX-License-Identifier: GPL-2.0-or-later
/* Shows the control plane the start of a frame that something happened to. */
#ifndef KATRAN_INTROSPECTION_H
#define KATRAN_INTROSPECTION_H

#include "packet.h"

enum event {
	EVENT_TCP_NONSYN_MISS = 0,
	EVENT_TOO_BIG = 1,
	EVENT_SERVER_ID_NO_REAL = 2,
	/* Of a capture: before the choice's consequence, and after. */
	EVENT_FRAME_IN = 3,
	EVENT_FRAME_OUT = 4,
};

#define EVENT_DATA_BYTES 128

static __always_inline void report(struct packet *p, u32 event)
{
#ifdef FEATURE_INTROSPECTION
	struct ctl_value *enabled = control(CTL_INTROSPECTION);
	struct event_metadata meta;

	if (!enabled || !enabled->value)
		return;
	meta.event = event;
	meta.pkt_size = p->frame;
	meta.data_len = p->frame < EVENT_DATA_BYTES ? p->frame :
						      EVENT_DATA_BYTES;
	emit_event(p->ctx, meta.data_len, &meta, sizeof(meta));
#endif
}

#endif
