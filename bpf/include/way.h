// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What program decap sees of a packet, by where it runs: a frame in one piece
 * by XDP, a socket buffer by tc, whose end may lie outside of what it sees.
 */
#ifndef KATRAN_WAY_H
#define KATRAN_WAY_H

#ifdef BEHIND_TUNNEL
#define BY_TC
#endif

#ifdef BY_TC

#define CONTEXT struct __sk_buff
#define interface_of(ctx) ((ctx)->ifindex)
/* GRO may have joined segments: frame is the length of them all. */
#define frame_left(cur, p) ((u64)(p)->frame - (u64)((cur)->pos - (p)->eth))

#else

#define interface_of(ctx) ((ctx)->ingress_ifindex)

#endif

#endif
