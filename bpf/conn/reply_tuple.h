/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Reply tuples: second keys of connections, by which replies find them. For most connections none is needed: the
 * source of a reply leads to the service, and the service's address to the connection (forward/reply.h). A service on
 * a firewall mark has no address of its own; and if more than EK_NAT_SIBLINGS services share one address and port of a
 * NAT server, their number bounds no search. Each connection of these gets a second, auxiliary entry.
 *
 * The entry lives as long as its connection: it does not expire by itself, and the expiry timer frees it when the
 * connection is gone.
 */
#ifndef EVENKEEL_REPLY_TUPLE_H
#define EVENKEEL_REPLY_TUPLE_H

/* The connection of a reply tuple, if it is still the same one. `tail` and `key1` are the tuple's. */
static __always_inline struct conn *reply_tuple_conn(struct conn *tuple, struct conn *tail, __u64 key1, __u32 now)
{
	conn_handle conn = READ_ONCE(tuple->control);
	struct conn_line *l = conn_line_get(conn);
	if (!l)
		return 0;
	asm volatile("" : "+r"(l)); /* the verifier requires the test before the addition */
	struct conn *e = conn_in_line(l, conn);
	__u64 same = KEY_CLIENT_PORT | KEY_PROTOCOL | KEY_V6, k = READ_ONCE(e->key1);
	if (!is_key(k) || (k & KEY_KIND) != (__u64)KIND_CONN << 40 || ((k ^ key1) & same) ||
	    READ_ONCE(e->dest) != tuple->dest || is_past(READ_ONCE(e->expires), now))
		return 0;
	if (key1 & KEY_V6)
		return e->key0 == tuple->key0 &&
				       ((struct conn_tail *)&l->entry[1])->client == ((struct conn_tail *)tail)->client
			       ? e
			       : 0;
	return (__u32)e->key0 == (__u32)tuple->key0 ? e : 0;
}

/*
 * The port of a connection at its real server: the server's port, if the connection is to the service's own port. A
 * service on all ports keeps the packet's port, and so does a data connection of an FTP service (ip_vs_schedule()). A
 * service on a firewall mark has no port: the server's port counts if it has one, but not with persistence
 * (ip_vs_sched_persist()).
 */
static __always_inline __be16 nat_port(struct dest *d, __be16 vport)
{
	struct service *s = service_at(d->service);
	if (!d->port || !s)
		return vport;
	int own = s->mark ? !(s->flags & SERVICE_PERSISTENT) : s->port == vport;
	return own ? d->port : vport;
}

/* Do the connections of a service with a NAT server have reply tuples? */
static __always_inline int has_reply_tuples(struct service *s, struct dest *d)
{
	return s->mark || READ_ONCE(d->nat_next) == EK_NAT_BY_TUPLE;
}

/* Inserts the reply tuple of a connection; `p` is its packet. */
__noinline int reply_tuple_insert(struct packet *p, __u32 dest, conn_handle conn)
{
	struct scratch *scratch = scratch_get();
	struct dest *d = dest_at(dest);
	if (!p || !scratch || !d)
		return 0;
	struct new_conn *n = &scratch->persistence.conn;
	key_make(&n->key, p->saddr, d->addr, p->family == 6,
		 conn_key1(p->sport, nat_port(d, p->dport), p->protocol, KIND_REPLY_TUPLE));
	conn_handle known = conn_find(&n->key, (__u32)bpf_jiffies64(), &scratch->persistence.lookup);
	struct conn *e = conn_get(known);
	if (e) {
		/* the same client and port, by another address or service: the latest connection gets the replies */
		e->dest = dest;
		e->control = conn;
		return 0;
	}
	n->dest = dest;
	/* controls_conns(): the entry is kept while it has a connection */
	n->status = CONN_STATUS(0, CONN_AUX | CONN_TEMPLATE, 0);
	n->control = conn;
	n->timeout = 0;
	conn_insert_retry(&scratch->persistence.lookup, n);
	return 0;
}

/* The virtual address and port of a connection; the address is written to `addr`. */
static __always_inline __be16 conn_vip(conn_handle conn, __be32 *addr)
{
	struct conn_line *l = conn_line_get(conn);
	if (!l)
		return 0;
	asm volatile("" : "+r"(l));
	struct conn *e = conn_in_line(l, conn);
	addr[0] = e->key0 >> 32;
	addr[1] = addr[2] = addr[3] = 0;
	if (READ_ONCE(e->key1) & KEY_V6)
		__builtin_memcpy(addr, ((struct conn_tail *)&l->entry[1])->vip, 16);
	return (__be16)(READ_ONCE(e->key1) >> 16);
}

#endif
