// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The balancer's maps: names, types, keys and values. Compiling makes token
 * maps of one entry; the control plane creates the real ones with the sizes,
 * flags and NUMA nodes it wants, and binds the bytecode to them by name.
 */
#ifndef KATRAN_MAPS_H
#define KATRAN_MAPS_H

#include "settings.h"
#include "structs.h"

BPF_TABLE("hash", struct vip_definition, struct vip_meta, vip_map, 1);
BPF_TABLE("hash", struct address, u32, vip_addresses, 1);

/* Made of the two: see vip_index.h. */
BPF_TABLE("array", u32, struct vip_slot, vip_index, VIP_SLOTS);

#ifdef FEATURE_CIDR_VIPS
BPF_F_TABLE("lpm_trie", struct vip_lpm_key, struct vip_meta, vip_lpm_map, 1,
	    BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct vip_lpm4_key, struct vip_meta, vip_lpm4_map, 1,
	    BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct v4_lpm_key, u32, vip_address_lpm4, 1,
	    BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct v6_lpm_key, u32, vip_address_lpm6, 1,
	    BPF_F_NO_PREALLOC);
/* VIP number to the key of a CIDR VIP, with its network address. */
BPF_TABLE("array", u32, struct vip_definition, cidr_vip_keys, 1);
#endif

BPF_TABLE("lru_hash", struct flow_key, struct real_pos_lru, flow_table, 1);
BPF_TABLE("array_of_maps$flow_table", u32, u32, lru_mapping, 1);
BPF_TABLE("array_of_maps$flow_table", u32, u32, lru_outgrown, 1);
BPF_TABLE("lru_hash", struct flow_key, struct real_pos_lru, fallback_cache, 1);

/* VIP numbers of hash_dst_port_only VIPs that learned flows before. */
BPF_TABLE("array", u32, u32, vip_learned, 1);

BPF_TABLE("array", u32, u32, ch_rings, 1);
BPF_TABLE("array", u32, struct real_definition, reals, 1);
BPF_TABLE("array", u32, struct ctl_value, ctl_array, 1);
BPF_TABLE("array", u32, struct tick, clock_tick, 1);

#ifdef FEATURE_SERVER_ID_HASH
BPF_TABLE("hash", u32, u32, server_id_map, 1);
#else
BPF_TABLE("array", u32, u32, server_id_map, 1);
#endif

#ifdef FEATURE_QUIC_LB
/* By VIP number; to real ids. */
BPF_TABLE("array", u32, struct quic_lb_vip, quic_lb_vips, 1);
BPF_F_TABLE("hash", struct quic_lb_server, u32, quic_lb_servers, 1,
	    BPF_F_NO_PREALLOC);
#endif

BPF_TABLE("percpu_array", u32, struct lb_stats, stats, 1);
BPF_TABLE("percpu_array", u32, struct lb_stats, reals_stats, 1);
BPF_TABLE("percpu_array", u32, struct lb_stats, server_id_stats, 1);
BPF_TABLE("percpu_array", u32, struct lb_quic_packets_stats, quic_stats_map,
	  1);
BPF_TABLE("array", u32, struct vip_definition, vip_miss_stats, 1);
BPF_TABLE("percpu_array", u32, u32, lru_miss_stats, 1);

#ifdef FEATURE_TCP_SERVER_ID
BPF_TABLE("percpu_array", u32, struct lb_tpr_packets_stats, tpr_stats_map, 1);
#endif

#ifdef FEATURE_UDP_STABLE_ROUTING
BPF_TABLE("percpu_array", u32, struct lb_stable_rt_packets_stats,
	  stable_rt_stats, 1);
#endif

#ifdef FEATURE_SOURCE_ROUTING
BPF_F_TABLE("lpm_trie", struct v4_lpm_key, u32, lpm_src_v4, 1,
	    BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct v6_lpm_key, u32, lpm_src_v6, 1,
	    BPF_F_NO_PREALLOC);
#endif

#ifdef FEATURE_SOURCE_FILTER
BPF_F_TABLE("lpm_trie", struct filter4_key, u32, src_filter_v4, 1,
	    BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct filter6_key, u32, src_filter_v6, 1,
	    BPF_F_NO_PREALLOC);
BPF_TABLE("percpu_array", u32, struct lb_stats, src_denied, 1);
#endif

#ifdef FEATURE_GLOBAL_LRU
BPF_TABLE("lru_hash", struct flow_key, u32, global_flow_table, 1);
BPF_TABLE("array_of_maps$global_flow_table", u32, u32, global_lru_maps, 1);
BPF_TABLE("lru_hash", struct flow_key, u32, fallback_glru, 1);
#endif

#ifdef FEATURE_UDP_FLOW_MIGRATION
BPF_TABLE("hash", u32, u8, down_set, 1);
BPF_TABLE("hash_of_maps$down_set", struct vip_definition, u32,
	  vip_to_down_reals_map, 1);
#endif

#ifdef FEATURE_INTROSPECTION
BPF_PERF_OUTPUT(event_pipe);
BPF_TABLE("array", u32, struct capture_filter, capture_filter, 1);
#endif

#ifdef KNOWS_OWN_ADDRESSES
BPF_TABLE("array", u32, struct real_definition, pckt_srcs, 1);
#endif

#ifdef FEATURE_INLINE_DECAP
BPF_TABLE("hash", struct address, u32, decap_dst, 1);
#if !DECAP_ANY
BPF_F_TABLE("lpm_trie", struct v4_lpm_key, u32, tunnel_src_v4, 1,
	    BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct v6_lpm_key, u32, tunnel_src_v6, 1,
	    BPF_F_NO_PREALLOC);
#endif
BPF_TABLE("percpu_array", u32, struct lb_stats, decap_vip_stats, 1);
BPF_TABLE("prog", u32, u32, subprograms, 1);

#ifdef FEATURE_FLOW_DEBUG
BPF_TABLE("lru_hash", struct flow_key, struct flow_debug_info,
	  flow_debug_table, 1);
BPF_TABLE("array_of_maps$flow_debug_table", u32, u32, flow_debug_maps, 1);
#endif
#endif

#ifdef FEATURE_CHAIN
/* What is in the slots behind this one of a root program's array. */
BPF_TABLE("prog", u32, u32, next_programs, 3);
#endif

#endif
