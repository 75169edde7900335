// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Health checks on the balancer (tc egress): what a checker sends to a VIP
 * with SO_MARK n goes in a tunnel to real n, as if the balancer had chosen it.
 */
#include <uapi/linux/bpf.h>

#include <linux/pkt_cls.h>

#include "compiler.h"
#include "settings.h"
#include "structs.h"

#define CTRL_IFINDEX 3
#define MAC_SOURCE 0
#define MAC_DESTINATION 1
#define SOURCE_IPV4 0
#define SOURCE_IPV6 1

/* So that the port never is one of the well-known ones. */
#define SOURCE_PORT_BIT (1 << 10)

struct hc_mac {
	u8 mac[6];
};
ASSERT_SIZE(struct hc_mac, 6);

struct hc_stats {
	u64 processed;
	u64 dropped;
	/* Without a mark, or with one that stands for no real. */
	u64 skipped;
	/* Of the dropped: longer than what the balancer takes from clients. */
	u64 too_big;
	/* In hc_key_map by destination; by source. */
	u64 dst_matched;
	u64 src_matched;
};
ASSERT_SIZE(struct hc_stats, 48);

BPF_TABLE("hash", u32, struct real_definition, hc_reals_map, 1);
BPF_TABLE("array", u32, u32, hc_ctrl_map, 1);
BPF_TABLE("array", u32, struct real_definition, hc_pckt_srcs_map, 1);
BPF_TABLE("array", u32, struct hc_mac, hc_pckt_macs, 1);
BPF_TABLE("percpu_array", u32, struct hc_stats, hc_stats_map, 1);
BPF_TABLE("hash", struct vip_definition, u32, hc_key_map, 1);
BPF_TABLE("percpu_array", u32, u64, per_hckey_stats, 1);

static __always_inline struct real_definition *find_hc_real(u32 mark)
{
	return hc_reals_map.lookup(&mark);
}

static __always_inline u32 *hc_control(u32 index)
{
	return hc_ctrl_map.lookup(&index);
}

static __always_inline struct real_definition *hc_source(u32 family)
{
	return hc_pckt_srcs_map.lookup(&family);
}

static __always_inline struct hc_mac *hc_mac(u32 which)
{
	return hc_pckt_macs.lookup(&which);
}

static __always_inline struct hc_stats *hc_counters(void)
{
	u32 zero = 0;

	return hc_stats_map.lookup(&zero);
}

static __always_inline bool count_hc_key(struct vip_definition *key)
{
	u32 *index = hc_key_map.lookup(key);
	u64 *packets;

	if (!index)
		return false;
	packets = per_hckey_stats.lookup(index);
	if (packets)
		*packets += 1;
	return true;
}

#include "outer.h"
#include "packet.h"

#if ENCAP_GUE
#define MIDDLE_BYTES sizeof(struct udphdr)
#define MIDDLE_FLAG BPF_F_ADJ_ROOM_ENCAP_L4_UDP
#else
#define MIDDLE_BYTES 0
#define MIDDLE_FLAG 0
#endif

/* Counts a probe under the VIP it is for, where somebody asked for that. */
static __always_inline void count_keys(struct __sk_buff *skb,
				       struct hc_stats *counted, const bool v6)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct vip_definition key __on_stack;
	u64 src_low, src_high = 0, dst_low, dst_high = 0;
	void *transport;
	__be32 ports;
	u8 proto;

	if (v6) {
		struct ipv6hdr *ip = data + ETH_HLEN;

		transport = ip + 1;
		if (transport + 4 > end)
			return;
		proto = ip->nexthdr;
		src_low = word64_at(&ip->saddr);
		src_high = word64_at((void *)&ip->saddr + 8);
		dst_low = word64_at(&ip->daddr);
		dst_high = word64_at((void *)&ip->daddr + 8);
	} else {
		struct iphdr *ip = data + ETH_HLEN;

		transport = ip + 1;
		if (transport + 4 > end || ip->ihl != 5)
			return;
		proto = ip->protocol;
		src_low = ip->saddr;
		dst_low = ip->daddr;
	}
	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return;
	ports = word32_at(transport);
	set_vip(&key, dst_low, dst_high, ports >> 16, proto);
	if (count_hc_key(&key)) {
		counted->dst_matched++;
		return;
	}
	set_vip(&key, src_low, src_high, (u16)ports, proto);
	if (count_hc_key(&key))
		counted->src_matched++;
}

/* Checksum 0: the probe's own checksum covers what matters. */
static __always_inline void write_middle(void *udp, u16 length)
{
	u16 source;

	if (!ENCAP_GUE)
		return;
	source = bpf_get_prandom_u32() | SOURCE_PORT_BIT;
	word32_at(udp) = htons(source) | (u32)htons(GUE_PORT) << 16;
	word32_at(udp + 4) = htons(length);
}

static __always_inline void *open_probe(struct __sk_buff *skb, u32 room,
					u64 flag, __be16 type)
{
	struct hc_mac *source = hc_mac(MAC_SOURCE);
	struct hc_mac *destination = hc_mac(MAC_DESTINATION);
	void *data, *end;

	if (!source || !destination ||
	    bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC,
				flag | MIDDLE_FLAG))
		return NULL;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + ETH_HLEN + room > end)
		return NULL;
	__builtin_memcpy(data, destination->mac, 6);
	__builtin_memcpy(data + 6, source->mac, 6);
	word16_at(data + 12) = type;
	return data + ETH_HLEN;
}

static __always_inline bool probe_ipv4(struct __sk_buff *skb, u32 length,
				       const struct real_definition *real)
{
	const u32 room = sizeof(struct iphdr) + MIDDLE_BYTES;
	struct real_definition *source = hc_source(SOURCE_IPV4);
	void *header;

	if (!source)
		return false;
	header = open_probe(skb, room, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4,
			    htons(ETH_P_IP));
	if (!header)
		return false;
	write_outer_ipv4(header, 0, length + room,
			 ENCAP_GUE ? IPPROTO_UDP : IPPROTO_IPIP,
			 source->dst[0], real->dst[0]);
	write_middle(header + sizeof(struct iphdr), length + MIDDLE_BYTES);
	return true;
}

static __always_inline bool probe_ipv6(struct __sk_buff *skb, u32 length,
				       const struct real_definition *real,
				       const bool v6)
{
	const u32 room = sizeof(struct ipv6hdr) + MIDDLE_BYTES;
	struct real_definition *source = hc_source(SOURCE_IPV6);
	u8 proto = v6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
	void *header;

	if (!source)
		return false;
	header = open_probe(skb, room, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6,
			    htons(ETH_P_IPV6));
	if (!header)
		return false;
	write_outer_ipv6(header, 0, length + MIDDLE_BYTES,
			 ENCAP_GUE ? IPPROTO_UDP : proto);
	__builtin_memcpy(header + 8, source->dst, 16);
	__builtin_memcpy(header + 24, real->dst, 16);
	write_middle(header + sizeof(struct ipv6hdr), length + MIDDLE_BYTES);
	return true;
}

/* IPv6 in IPv4 does not exist, as in the balancer. */
static __always_inline bool send_probe(struct __sk_buff *skb,
				       struct hc_stats *counted,
				       const struct real_definition *real,
				       const bool v6)
{
	u32 length = skb->len - ETH_HLEN;

	count_keys(skb, counted, v6);
	if (real->flags & REAL_IPV6)
		return probe_ipv6(skb, length, real, v6);
	return !v6 && probe_ipv4(skb, length, real);
}

int healthcheck(struct __sk_buff *skb)
{
	struct hc_stats *counted = hc_counters();
	struct real_definition *real = NULL;
	u32 *ifindex = hc_control(CTRL_IFINDEX);
	bool sent;

	if (!counted)
		return TC_ACT_UNSPEC;
	if (skb->mark)
		real = find_hc_real(skb->mark);
	if (!real || (skb->protocol != htons(ETH_P_IP) &&
		      skb->protocol != htons(ETH_P_IPV6))) {
		counted->skipped++;
		return TC_ACT_UNSPEC;
	}
	if (skb->len > MAX_FRAME) {
		counted->too_big++;
		counted->dropped++;
		return TC_ACT_SHOT;
	}
	if (skb->protocol == htons(ETH_P_IP))
		sent = send_probe(skb, counted, real, false);
	else
		sent = send_probe(skb, counted, real, true);
	if (!sent || !ifindex) {
		counted->dropped++;
		return TC_ACT_SHOT;
	}
	/* The packet may come by here again on its way out. */
	skb->mark = 0;
	counted->processed++;
	return bpf_redirect(*ifindex, 0);
}
