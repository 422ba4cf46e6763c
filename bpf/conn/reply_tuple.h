/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What answers of a marked connection look like. Other connections' answers lead to their service by the real server's
 * address and port, and with the service's own address to the connection (reply.h); a service on a firewall mark has no
 * address, so that each connection behind NAT gets a second entry, a note by which its answers find it.
 *
 * A note lives as long as its connection: it never expires by itself, and the sweep frees it once it leads nowhere.
 */
#ifndef EVENKEEL_REPLY_TUPLE_H
#define EVENKEEL_REPLY_TUPLE_H

#define KEY_CLIENT_PORT 0xffffull
#define KEY_PROTOCOL (0xffull << 32)
#define KEY_KIND (0x7full << 40)

/* The connection that a note leads to, if it is still the one that was noted; `key1` is the note's. */
static __always_inline struct conn *reply_tuple_conn(struct conn *note, struct conn *tail, __u64 key1, __u32 now)
{
	__u32 number = READ_ONCE(note->control);
	struct conn_line *l = number ? line_at((number - 1) >> 1) : 0;
	if (!l)
		return 0;
	asm volatile("" : "+r"(l));
	struct conn *e = &l->entry[(number - 1) & 1];
	__u64 same = KEY_CLIENT_PORT | KEY_PROTOCOL | KEY_V6, k = READ_ONCE(e->key1);
	if (!is_key(k) || (k & KEY_KIND) != (__u64)KIND_CONN << 40 || ((k ^ key1) & same) || READ_ONCE(e->dest) != note->dest ||
	    is_past(READ_ONCE(e->expires), now))
		return 0;
	if (key1 & KEY_V6)
		return e->key0 == note->key0 &&
				       ((struct conn_tail *)&l->entry[1])->client == ((struct conn_tail *)tail)->client
			       ? e
			       : 0;
	return (__u32)e->key0 == (__u32)note->key0 ? e : 0;
}

/*
 * The port of a connection at its real server: the server's, if the connection is to the service's own port; a service of
 * all ports, or an FTP service's data connection, keeps its port (ip_vs_schedule()). A service on a firewall mark has no
 * port of its own: the server's counts if it has one, but not under a template (ip_vs_sched_persist()).
 */
static __always_inline __be16 nat_port(struct dest *d, __be16 vport)
{
	struct service *s = service_at(d->service);
	if (!d->port || !s)
		return vport;
	int own = s->mark ? !(s->flags & SERVICE_PERSISTENT) : s->port == vport;
	return own ? d->port : vport;
}

/* Notes what the answers of a connection of ours, that packet's, look like. */
__noinline int reply_tuple_insert(struct packet *p, __u32 dest, __u32 number)
{
	struct scratch *scratch = scratch_get();
	struct dest *d = dest_at(dest);
	if (!p || !scratch || !d)
		return 0;
	struct new_conn *n = &scratch->persistence.conn;
	key_make(&n->key, p->saddr, d->addr, p->family == 6,
		 conn_key1(p->sport, nat_port(d, p->dport), p->protocol, KIND_REPLY_TUPLE));
	__u32 known = conn_find(&n->key, (__u32)bpf_jiffies64(), &scratch->persistence.lookup);
	struct conn *e = known ? conn_at(known - 1) : 0;
	if (e) {
		/* the same client and port, to another address of the service: the latest one gets the answers */
		e->control = number;
		return 0;
	}
	n->dest = dest;
	n->status = CONN_STATUS(0, CONN_AUX | CONN_TEMPLATE, 0); /* controls(): while it leads somewhere it is kept */
	n->control = number;
	n->timeout = 0;
	conn_insert_retry(&scratch->persistence.lookup, n);
	return 0;
}

/* The address and port that an entry's packets were sent to. */
static __always_inline __be16 conn_vip(__u32 number, __be32 *addr)
{
	struct conn_line *l = number ? line_at((number - 1) >> 1) : 0;
	if (!l)
		return 0;
	asm volatile("" : "+r"(l));
	struct conn *e = &l->entry[(number - 1) & 1];
	addr[0] = e->key0 >> 32;
	addr[1] = addr[2] = addr[3] = 0;
	if (READ_ONCE(e->key1) & KEY_V6)
		__builtin_memcpy(addr, ((struct conn_tail *)&l->entry[1])->vip, 16);
	return (__be16)(READ_ONCE(e->key1) >> 16);
}

#endif
