/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Sockets of local clients: which services a socket uses, and which server it was given for each. This is in the
 * socket's own storage, which ends with the socket. For the schedulers that count connections there is an entry of the
 * connection table as well (KIND_LOCAL), which is removed when the socket is closed, or when its timeout is over.
 */
#ifndef EVENKEEL_LOCAL_SOCKET_H
#define EVENKEEL_LOCAL_SOCKET_H

#define SOCKET_FLOWS 8 /* services that an unconnected UDP socket may use at the same time */

/* A service that a socket uses, and its server. */
struct local_flow {
	__be32 vip[4];
	__be32 addr[4]; /* of the server */
	__be16 vport;
	__be16 port; /* of the server */
	__u32 family; /* 4 or 6; 0: not in use */
	__u32 service;
	__u32 dest;
	__u32 expires; /* jiffies */
};

struct local_socket {
	struct local_flow flow[SOCKET_FLOWS];
	__u32 next;     /* the flow that the next service replaces */
	__u32 protocol;
	__u32 counted;  /* the flows with an entry in the connection table, as bits */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct local_socket);
} local_sockets SEC(".maps");

static __always_inline __u64 local_key1(__u32 flow, __u32 protocol)
{
	return conn_key1((__be16)flow, 0, (__u8)protocol, KIND_LOCAL);
}

/* Inserts the entry that counts a flow at its destination. */
__noinline int local_conn_insert(__u64 cookie, __u32 flow, __u32 protocol, __u32 dest)
{
	struct scratch *scratch = scratch_get();
	if (!scratch)
		return 0;
	int tcp = protocol == IPPROTO_TCP;
	struct new_conn *n = &scratch->create.conn;
	struct lookup_result *r = &scratch->reply.lookup;
	n->key.a = cookie;
	n->key.b = n->key.c = n->key.d = 0;
	n->key.key1 = local_key1(flow, protocol);
	n->dest = dest;
	n->status = CONN_STATUS(tcp ? TCP_ESTABLISHED : TCP_NONE, CONN_NO_OUTPUT, 0);
	n->control = 0;
	n->timeout = tcp ? settings.timeout_tcp[TCP_ESTABLISHED] : settings.timeout_udp;
	conn_find4(cookie, n->key.key1, (__u32)bpf_jiffies64(), r);
	return r->conn || conn_insert_retry(r, n) != 0;
}

/* Removes the entries of these flows. */
__noinline int local_conns_end(__u64 cookie, __u32 flows, __u32 protocol)
{
	struct lookup_result r = {};
	__u32 now = (__u32)bpf_jiffies64();
	for (__u32 i = 0; i < SOCKET_FLOWS; i++) {
		if (flows >> i & 1)
			conn_expire(conn_find4(cookie, local_key1(i, protocol), now, &r));
	}
	return 0;
}

/* Renews the entry of a flow. */
__noinline int local_conn_renew(__u64 cookie, __u32 flow, __u32 protocol, __u32 expires)
{
	struct lookup_result r = {};
	struct conn *e = conn_get(conn_find4(cookie, local_key1(flow, protocol), (__u32)bpf_jiffies64(), &r));
	if (e)
		conn_refresh(e, expires);
	return 0;
}

/* Forgets the flows of a socket. */
static __always_inline void local_socket_clear(struct local_socket *socket, __u64 cookie)
{
	if (socket->counted)
		local_conns_end(cookie, socket->counted, socket->protocol);
	socket->counted = 0;
	for (int i = 0; i < SOCKET_FLOWS; i++)
		socket->flow[i].family = 0;
}

static __always_inline int same_address(const __be32 *a, const __be32 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

#endif
