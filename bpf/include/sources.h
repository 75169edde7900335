// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * From where tunnels are taken. Who may send any inner packet in a tunnel can
 * give it any source, past every filter on the way, so strangers may not.
 */
#ifndef KATRAN_SOURCES_H
#define KATRAN_SOURCES_H

static __always_inline bool is_listed_source(const struct flow_key *outer,
					     const bool v6)
{
	if (v6) {
		struct v6_lpm_key key __on_stack;

		key.prefixlen = 128;
		__builtin_memcpy(key.addr, outer->src, 16);
		return find_source6(&key);
	} else {
		struct v4_lpm_key key __on_stack;

		key.prefixlen = 32;
		key.addr = outer->src[0];
		return find_source4(&key);
	}
}

#endif
