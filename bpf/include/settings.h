// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every setting is an integer macro that the control plane passes to the
 * compiler; here are the defaults. A feature is on if FEATURE_<NAME> is
 * defined, and costs no instruction otherwise.
 */
#ifndef KATRAN_SETTINGS_H
#define KATRAN_SETTINGS_H

#ifndef MAX_VIPS
#define MAX_VIPS 512
#endif

/* Slots of the VIP index: a power of 2. */
#ifndef VIP_SLOTS
#define VIP_SLOTS 4096
#endif

/* Prime. It seeds the flow hash too: see hash.h. */
#ifndef RING_SIZE
#define RING_SIZE 65537
#endif

/* Bytes with the Ethernet header, without VLAN tags. */
#ifndef MAX_FRAME
#define MAX_FRAME 1514
#endif

/* Per CPU and second: above this, new flows are not remembered. */
#ifndef MAX_NEW_FLOWS
#define MAX_NEW_FLOWS 125000
#endif

/* Seconds. */
#ifndef UDP_TIMEOUT
#define UDP_TIMEOUT 30
#endif

/* 0: IPIP, 1: GUE. */
#ifndef ENCAP_GUE
#define ENCAP_GUE 0
#endif

#ifndef GUE_PORT
#define GUE_PORT 6080
#endif

/* Copy ToS or traffic class to the outer header. */
#ifndef COPY_TOS
#define COPY_TOS 1
#endif

/* inline_decap: decapsulate and pass what is addressed to any host. */
#ifndef DECAP_ANY
#define DECAP_ANY 0
#endif

/* IPIP outer sources, in host order: the upper half of an IPv4 address ... */
#ifndef SOURCE_PREFIX_IPV4
#define SOURCE_PREFIX_IPV4 0xac10
#endif

/* ... and the first three words of an IPv6 address. */
#ifndef SOURCE_PREFIX_IPV6_0
#define SOURCE_PREFIX_IPV6_0 0x01000000
#endif
#ifndef SOURCE_PREFIX_IPV6_1
#define SOURCE_PREFIX_IPV6_1 0
#endif
#ifndef SOURCE_PREFIX_IPV6_2
#define SOURCE_PREFIX_IPV6_2 0
#endif

/* The outer sources of GUE; tunnels to them are for this host. */
#if ENCAP_GUE || (defined(FEATURE_INLINE_DECAP) && !DECAP_ANY)
#define KNOWS_OWN_ADDRESSES
#endif

#endif
