// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Server ids in TCP options (sock_ops on a cgroup), for servers and for
 * clients of the same organisation. The server names itself on its SYN-ACK;
 * the client echoes that on every later packet, which balancers then route by
 * it, whatever happened to their tables and rings.
 */
#include <uapi/linux/bpf.h>

#include "compiler.h"

#define KIND_SERVER_ID 0xb6
#define KIND_ECHO 0xb7
#define OPTION_BYTES 6

#define TCP_FLAG_BYTE_SYN 0x02
#define TCP_FLAG_BYTE_ACK 0x10

#define WRITE BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG
#define READ BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG
#define CLOSE BPF_SOCK_OPS_STATE_CB_FLAG

/* Indexes of server_id_own. */
#define OWN_ID 0
#define OWN_FALLBACK 1

/* An id is in the byte order of the host, as balancers read it. */
struct id_option {
	u8 kind;
	u8 len;
	u32 id;
} __attribute__((packed));
_Static_assert(sizeof(struct id_option) == OPTION_BYTES, "as on the wire");

struct option_counters {
	/* SYN-ACKs that carried an id; connections that echo one. */
	u64 set;
	/* Ids that came, right ones only. */
	u64 read;
	/* Peers without the option. */
	u64 missing;
	/* Echoes of an id that is not this server's. */
	u64 wrong;
};

BPF_TABLE("array", u32, u32, server_id_own, 2);
/* By socket cookie. Where an entry fell out, the echo is 0, which is no id. */
BPF_TABLE("lru_hash", u64, u32, server_id_of_socket, 1);
/*
 * The cookies of sockets that began to listen under this program. Others in its
 * cgroup are older, and name nobody.
 */
BPF_TABLE("lru_hash", u64, u32, server_id_listeners, 1);
BPF_TABLE("percpu_array", u32, struct option_counters, server_id_counters, 1);

static __always_inline u32 own(u32 index)
{
	u32 *id = server_id_own.lookup(&index);

	return id ? *id : 0;
}

/* Without an id this is a client alone. */
static __always_inline u32 named(void)
{
	return own(OWN_ID) ?: own(OWN_FALLBACK);
}

static __always_inline struct option_counters *counters(void)
{
	u32 zero = 0;

	return server_id_counters.lookup(&zero);
}

static __always_inline void flags_off(struct bpf_sock_ops *ops, u32 flags)
{
	bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags & ~flags);
}

static __always_inline void flags_on(struct bpf_sock_ops *ops, u32 flags)
{
	bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | flags);
}

/* False: the packet has no such option. */
static __always_inline bool read_id(struct bpf_sock_ops *ops, u8 kind, u32 *id)
{
	struct id_option option = { .kind = kind };

	if (bpf_load_hdr_opt(ops, &option, sizeof(option), 0) != OPTION_BYTES)
		return false;
	*id = option.id;
	return true;
}

static __always_inline bool is_syn_ack(struct bpf_sock_ops *ops)
{
	const u32 both = TCP_FLAG_BYTE_SYN | TCP_FLAG_BYTE_ACK;

	return (ops->skb_tcp_flags & both) == both;
}

static __always_inline void write_option(struct bpf_sock_ops *ops)
{
	struct option_counters *counted = counters();
	struct id_option option = { .kind = KIND_ECHO, .len = OPTION_BYTES };

	if (is_syn_ack(ops)) {
		option.kind = KIND_SERVER_ID;
		option.id = named();
		if (counted)
			counted->set++;
	} else {
		u64 cookie = bpf_get_socket_cookie(ops);
		u32 *id = server_id_of_socket.lookup(&cookie);

		if (id)
			option.id = *id;
	}
	bpf_store_hdr_opt(ops, &option, sizeof(option), 0);
}

static __always_inline void begin_listening(struct bpf_sock_ops *ops)
{
	u64 cookie = bpf_get_socket_cookie(ops);
	u32 id = named();

	if (!id)
		return;
	server_id_listeners.update(&cookie, &id);
	/* The SYN-ACK is written on behalf of the listener. */
	flags_on(ops, WRITE);
}

/*
 * An id that was taken away is named no more, by listeners that had it as well.
 * A SYN has nobody to name yet.
 */
static __always_inline bool has_option(struct bpf_sock_ops *ops)
{
	if (is_syn_ack(ops))
		return named();
	return !(ops->skb_tcp_flags & TCP_FLAG_BYTE_SYN);
}

/* The client has the SYN-ACK before it. */
static __always_inline void begin_echo(struct bpf_sock_ops *ops)
{
	struct option_counters *counted = counters();
	u64 cookie;
	u32 id;

	if (!counted)
		return;
	if (!read_id(ops, KIND_SERVER_ID, &id)) {
		counted->missing++;
		return;
	}
	cookie = bpf_get_socket_cookie(ops);
	server_id_of_socket.update(&cookie, &id);
	counted->read++;
	counted->set++;
	flags_on(ops, WRITE | CLOSE);
}

/*
 * The server waits for the echo: the right one proves that the client's later
 * packets will come here, and nothing is left to read.
 */
static __always_inline void check_echo(struct bpf_sock_ops *ops)
{
	struct option_counters *counted = counters();
	u32 id, right = own(OWN_ID), fallback = own(OWN_FALLBACK);

	if (!counted)
		return;
	if (!read_id(ops, KIND_ECHO, &id)) {
		counted->missing++;
		flags_off(ops, READ | WRITE);
	} else if (id && (id == right || id == fallback)) {
		counted->read++;
		flags_off(ops, READ | WRITE);
	} else {
		counted->wrong++;
		flags_on(ops, READ);
	}
}

static __always_inline void forget(struct bpf_sock_ops *ops)
{
	u64 cookie = bpf_get_socket_cookie(ops);

	server_id_of_socket.delete(&cookie);
}

int server_id_option(struct bpf_sock_ops *ops)
{
	switch (ops->op) {
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		begin_listening(ops);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		begin_echo(ops);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		/* Has the listener's flag, but nothing more to write. */
		if (ops->bpf_sock_ops_cb_flags & WRITE) {
			flags_off(ops, WRITE);
			if (named())
				check_echo(ops);
		}
		break;
	case BPF_SOCK_OPS_PARSE_HDR_OPT_CB:
		check_echo(ops);
		break;
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
		if (has_option(ops))
			bpf_reserve_hdr_opt(ops, OPTION_BYTES, 0);
		break;
	case BPF_SOCK_OPS_WRITE_HDR_OPT_CB:
		write_option(ops);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ops->args[1] == BPF_TCP_CLOSE)
			forget(ops);
		break;
	}
	return 1;
}
