// SPDX-License-Identifier: GPL-2.0-or-later
/* What the steps of docs/datapath.md hand on to each other. */
#ifndef KATRAN_PACKET_H
#define KATRAN_PACKET_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "compiler.h"
#include "settings.h"
#include "structs.h"

/*
 * ICMP and ICMPv6 alike (linux/icmp.h needs the C library's headers). The last
 * word is an MTU in "frag needed", where IPv4 uses its lower half, and in
 * "too big".
 */
struct icmp_header {
	u8 type;
	u8 code;
	__sum16 check;
	__be16 mtu_high;
	__be16 mtu_low;
};
ASSERT_SIZE(struct icmp_header, 8);

#define ICMP4_ECHO_REPLY 0
#define ICMP4_UNREACHABLE 3
#define ICMP4_ECHO_REQUEST 8
#define ICMP6_UNREACHABLE 1
#define ICMP6_TOO_BIG 2
#define ICMP6_ECHO_REQUEST 128
#define ICMP6_ECHO_REPLY 129

/* Codes of ICMP4_UNREACHABLE and of ICMP6_UNREACHABLE. */
#define ICMP4_HOST 1
#define ICMP4_PORT 3
#define ICMP4_FRAG_NEEDED 4
#define ICMP6_ADDRESS 3
#define ICMP6_PORT 4

/* The two bits of the TCP flags byte that matter here. */
#define TCP_SYN 0x02
#define TCP_RST 0x04

#define VLAN_TAG_BYTES 4

/* What a program is called with; and what of the frame is behind a cursor. */
#ifndef CONTEXT
#define CONTEXT struct xdp_md
#endif
#ifndef frame_left
#define frame_left(cur, p) ((u64)((cur)->end - (cur)->pos))
#endif

/* Advanced by each parse function after its bounds check. */
struct cursor {
	void *pos;
	void *end;
};

struct packet {
	CONTEXT *ctx;
	/* Start of the frame; its MACs are in bounds. */
	void *eth;
	/*
	 * Length of the frame on entry, and of its VLAN tags. The first is
	 * wanted at the end of every way: in a register all the way there it
	 * would push others out.
	 */
	volatile u32 frame;
	u32 tag_bytes;

#ifdef FEATURE_CHAIN
	/* Whether a real on this host takes it. */
	bool is_here;
#endif

	/* IPv4 tot_len or IPv6 payload_len, host order. */
	u32 bytes;
	u8 tos;

	/*
	 * Of the flow: for an ICMP error that is the quoted flow, turned
	 * round. Ports as loaded: source in the low half.
	 */
	u8 proto;
	__be32 ports;

	/* TCP_SYN and TCP_RST only; 0 for a flow recovered from ICMP. */
	u8 tcp_flags;
	bool from_icmp;

	/*
	 * An ICMP error whose destination is not yet known to be a VIP: what
	 * to count once it is. 0: nothing.
	 */
	u32 icmp_counter;
	bool icmp_small_mtu;
	u8 icmp_code;
	/* Sum of the packet's own IPv4 addresses, as loaded. */
	u64 icmp_addresses;

	/* Start of the transport header, and of what follows UDP's. */
	void *transport;
	void *payload;
};

/*
 * Whether the length in the IP header holds what was parsed, with `header`
 * bytes behind the IP header, and the frame holds that length: a smaller one
 * wraps here, and is too much as well. The rest of the frame is padding.
 */
static __always_inline bool is_length_right(const struct cursor *cur,
					    const struct packet *p, u32 header,
					    const bool v6)
{
	u64 parsed = header + (v6 ? 0 : sizeof(struct iphdr));

	return likely(p->bytes - parsed <= frame_left(cur, p));
}

/*
 * Whole words: one load and one store each, whatever the field's type. The
 * compiler sees through a cast that a packed field may be unaligned, and would
 * take it byte by byte; through a function it does not.
 */
static __always_inline word16 *as_word16(const void *p)
{
	return (word16 *)p;
}

static __always_inline word32 *as_word32(const void *p)
{
	return (word32 *)p;
}

static __always_inline word64 *as_word64(const void *p)
{
	return (word64 *)p;
}

#define word16_at(p) (*as_word16(p))
#define word32_at(p) (*as_word32(p))
#define word64_at(p) (*as_word64(p))

static __always_inline void set_address(void *to, u64 low, u64 high)
{
	word64 *words = to;

	words[0] = low;
	words[1] = high;
}

/*
 * An IPv6 address that no exact key stands for: with twelve zero bytes at its
 * end, its 16 bytes are an IPv4 address's.
 */
static __always_inline bool is_ambiguous(const __be32 *addr, const bool v6)
{
	return v6 && unlikely(!(addr[1] | word64_at(addr + 2)));
}

/* A map key of 20 bytes: a vip_definition in two and a half stores. */
static __always_inline void set_vip(struct vip_definition *vip, u64 low,
				    u64 high, __be16 port, u8 proto)
{
	set_address(vip, low, high);
	word32_at(&vip->port) = (u32)port | (u32)proto << 16;
}

static __always_inline __be16 flow_sport(const struct packet *p)
{
	return (__be16)p->ports;
}

static __always_inline __be16 flow_dport(const struct packet *p)
{
	return (__be16)(p->ports >> 16);
}

#endif
