// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The time of the tables and of the flood second: nanoseconds of the coarse
 * monotonic clock, which moves once per tick.
 *
 * Asking the kernel costs a call, for as long as a tick lasts always with the
 * same answer; the tick counter is a plain load, which the verifier inlines.
 * So the answer is kept with the tick that it belongs to. Whoever sees a new
 * tick first asks; CPUs that do so at once store the same. A reader between
 * the two stores gets a time that is one tick old.
 */
#ifndef KATRAN_CLOCK_H
#define KATRAN_CLOCK_H

#include "compiler.h"
#include "structs.h"

static __always_inline u64 coarse_ns(void)
{
	struct tick *last = last_tick();
	u64 jiffies = bpf_jiffies64();

	if (!last)
		return bpf_ktime_get_coarse_ns();
	if (unlikely(last->jiffies != jiffies)) {
		last->ns = bpf_ktime_get_coarse_ns();
		barrier();
		last->jiffies = jiffies;
	}
	return last->ns;
}

#endif
