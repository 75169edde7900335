// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What lies in the maps. Layouts are a contract with every other balancer of
 * the fleet and with the control plane: docs/datapath.md, section 1. Network
 * order is __be16 and __be32; an IPv4 address fills the first 4 of its 16
 * bytes, the rest is zero.
 */
#ifndef KATRAN_STRUCTS_H
#define KATRAN_STRUCTS_H

#include <linux/types.h>

#define ASSERT_SIZE(type, size) \
	_Static_assert(sizeof(type) == (size), #type " is a contract")

/* Bits of vip_meta.flags. */
#define VIP_HASH_NO_SRC_PORT (1 << 0)
#define VIP_NO_LRU (1 << 1)
#define VIP_QUIC (1 << 2)
#define VIP_HASH_DST_PORT_ONLY (1 << 3)
#define VIP_SOURCE_ROUTING (1 << 4)
#define VIP_LOCAL (1 << 5)
#define VIP_GLOBAL_LRU (1 << 6)
#define VIP_HASH_SRC_DST_PORT (1 << 7)
#define VIP_UDP_STABLE_ROUTING (1 << 8)
#define VIP_UDP_FLOW_MIGRATION (1 << 9)
/* Our own, far from those of the contract: other balancers pass over it. */
#define VIP_SOURCE_FILTER (1 << 30)

/* What a prefix of src_filter_v4 or src_filter_v6 says of its clients. */
#define SOURCE_ALLOWED 1
#define SOURCE_DENIED 2

/* Bits of real_definition.flags. */
#define REAL_IPV6 (1 << 0)
#define REAL_LOCAL (1 << 1)

/* Bits of a decap_dst value. */
#define DECAP_EGRESS (1 << 1)

/* Indexes of ctl_array. */
#define CTL_GATEWAY_MAC 0
#define CTL_INTROSPECTION 5
/* The datapath's own: see capture.h. */
#define CTL_CAPTURE_UNTIL 13

struct address {
	__be32 addr[4];
};
ASSERT_SIZE(struct address, 16);

struct flow_key {
	union {
		struct {
			__be32 src[4];
			__be32 dst[4];
			__be16 port[2];
			u8 proto;
			u8 pad[3];
		};
		word64 words[5];
	};
};
ASSERT_SIZE(struct flow_key, 40);

struct vip_definition {
	__be32 vip[4];
	__be16 port;
	u8 proto;
	u8 pad;
};
ASSERT_SIZE(struct vip_definition, 20);

struct vip_meta {
	u32 flags;
	u32 vip_num;
};
ASSERT_SIZE(struct vip_meta, 8);

/*
 * A slot of the VIP index, see vip_index.h: an exact VIP, or none (port_proto
 * of ones, which no packet has).
 * `displacement` is not about the VIP here, but about those whose home this is:
 * 0: ask vip_map; 1: who is indexed is here; more: leads to where it is.
 */
struct vip_slot {
	/* A vip_definition, in words. */
	word64 low;
	word64 high;
	u32 port_proto;
	u32 displacement;
	struct vip_meta meta;
};
ASSERT_SIZE(struct vip_slot, 32);

/* The nanoseconds are kept for UDP only: a TCP entry never gets too old. */
struct real_pos_lru {
	u32 pos;
	u32 pad;
	u64 atime;
};
ASSERT_SIZE(struct real_pos_lru, 16);

struct real_definition {
	__be32 dst[4];
	u8 flags;
	u8 pad[3];
};
ASSERT_SIZE(struct real_definition, 20);

struct lb_stats {
	u64 v1;
	u64 v2;
};
ASSERT_SIZE(struct lb_stats, 16);

struct v4_lpm_key {
	u32 prefixlen;
	__be32 addr;
};
ASSERT_SIZE(struct v4_lpm_key, 8);

struct v6_lpm_key {
	u32 prefixlen;
	__be32 addr[4];
};
ASSERT_SIZE(struct v6_lpm_key, 20);

/* prefixlen covers port, proto and pad too: 32 + the length of the CIDR. */
struct vip_lpm_key {
	u32 prefixlen;
	__be16 port;
	u8 proto;
	u8 pad;
	__be32 addr[4];
};
ASSERT_SIZE(struct vip_lpm_key, 24);

struct vip_lpm4_key {
	u32 prefixlen;
	__be16 port;
	u8 proto;
	u8 pad;
	__be32 addr;
};
ASSERT_SIZE(struct vip_lpm4_key, 12);

/* prefixlen covers the VIP's number too: 32 + the length of the prefix. */
struct filter4_key {
	u32 prefixlen;
	u32 vip_num;
	__be32 addr;
};
ASSERT_SIZE(struct filter4_key, 12);

struct filter6_key {
	u32 prefixlen;
	u32 vip_num;
	__be32 addr[4];
};
ASSERT_SIZE(struct filter6_key, 24);

struct ctl_value {
	union {
		u64 value;
		u32 ifindex;
		u8 mac[6];
	};
};
ASSERT_SIZE(struct ctl_value, 8);

/* The coarse clock's answer in one tick: see clock.h. */
struct tick {
	u64 jiffies;
	u64 ns;
};
ASSERT_SIZE(struct tick, 16);

struct event_metadata {
	u32 event;
	u32 pkt_size;
	u32 data_len;
} __attribute__((packed));
ASSERT_SIZE(struct event_metadata, 12);

/* The packets that whoever captures wants: see capture.h. */
struct capture_filter {
	u32 vip_num;
	/* 0: any. */
	u32 real;
	__be32 client[4];
	__be32 mask[4];
	/* The client's; 0: any. */
	__be16 port;
	u16 pad;
	/* Bytes of a frame. */
	u32 snaplen;
	/* Packets at most, and packets so far. */
	u32 limit;
	u32 taken;
};
ASSERT_SIZE(struct capture_filter, 56);

/* In front of a captured frame. */
struct capture_metadata {
	struct event_metadata event;
	u8 how;
	u8 verdict;
	u8 from_icmp;
	u8 pad;
	u64 ns;
	u32 vip_num;
	u32 real;
};
ASSERT_SIZE(struct capture_metadata, 32);

struct flow_debug_info {
	__be32 l4_hop[4];
	__be32 this_hop[4];
};
ASSERT_SIZE(struct flow_debug_info, 32);

struct lb_quic_packets_stats {
	u64 ch_routed;
	u64 cid_initial;
	u64 cid_invalid_server_id;
	u64 cid_invalid_server_id_sample;
	u64 cid_routed;
	u64 cid_unknown_real_dropped;
	u64 cid_version[4];
	u64 dst_match_in_lru;
	u64 dst_mismatch_in_lru;
	u64 dst_not_found_in_lru;
};
ASSERT_SIZE(struct lb_quic_packets_stats, 104);

/*
 * What the connection ids of a VIP's servers look like under one config id of
 * QUIC-LB, and what that is for. id_bytes 0: nobody uses this config id.
 */
#define QUIC_LB_VIP (1 << 0)
#define QUIC_LB_OWN_SERVERS (1 << 1)
#define QUIC_LB_SAYS_LENGTH (1 << 2)
#define QUIC_LB_CONFIGS 8

struct quic_lb_config {
	u8 flags;
	u8 id_bytes;
	u8 cid_bytes;
	/* Zero, which the verifier does not know. */
	u8 pad;
};

/* By the first three bits of a connection id. */
struct quic_lb_vip {
	struct quic_lb_config configs[QUIC_LB_CONFIGS];
};
ASSERT_SIZE(struct quic_lb_vip, 32);

/* The id's unused bytes, the last ones, are zero. */
struct quic_lb_server {
	u32 vip_num;
	u32 config;
	word64 id[2];
};
ASSERT_SIZE(struct quic_lb_server, 24);

struct lb_tpr_packets_stats {
	u64 ch_routed;
	u64 dst_mismatch_in_lru;
	u64 sid_routed;
	u64 tcp_syn;
};
ASSERT_SIZE(struct lb_tpr_packets_stats, 32);

struct lb_stable_rt_packets_stats {
	u64 ch_routed;
	u64 cid_routed;
	u64 cid_invalid_server_id;
	u64 cid_unknown_real_dropped;
	u64 invalid_packet_type;
};
ASSERT_SIZE(struct lb_stable_rt_packets_stats, 40);

#endif
