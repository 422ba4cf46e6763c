/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Reply lookup: the connection of a packet that a NAT server sends. The source of a reply leads to its destinations,
 * these to their services, and with the service's address and port the connection is found under the key of the
 * client's own packets: one lookup in one cache line, as for the client's packets. (The kernel's ip_vs_conn_out_get()
 * searches a bucket for it.)
 *
 * In a reply `saddr` is the real server and `daddr` the client. The result is in scratch->reply.info.
 */
#ifndef EVENKEEL_REPLY_H
#define EVENKEEL_REPLY_H

/* The connection of a reply, by its reply tuple. */
__noinline int reply_lookup_tuple(struct packet *p)
{
	struct scratch *scratch = scratch_get();
	if (!p || !scratch)
		return 0;
	struct reply *a = &scratch->reply.info;
	struct conn_key *k = &scratch->reply.key;
	__u32 now = (__u32)bpf_jiffies64();
	key_make(k, p->daddr, p->saddr, p->family == 6, conn_key1(p->dport, p->sport, p->protocol, KIND_REPLY_TUPLE));
	conn_handle found = conn_find(k, now, &scratch->reply.lookup);
	struct conn_line *l = conn_line_get(found);
	if (!l)
		return 0;
	asm volatile("" : "+r"(l)); /* the verifier requires the test before the addition */
	struct conn *tuple = conn_in_line(l, found), *e = reply_tuple_conn(tuple, &l->entry[1], k->key1, now);
	struct dest *d = e ? dest_at(READ_ONCE(e->dest)) : 0;
	if (!d)
		return 0;
	a->conn = READ_ONCE(tuple->control);
	a->dest = tuple->dest;
	a->service = d->service;
	a->to.port = conn_vip(a->conn, a->to.addr);
	a->to.source = 1;
	a->to.ports = !p->ipsec;
	return 1;
}

/* The port that a destination's reply is translated to: the reverse of nat_port(). */
static __always_inline __be16 reply_port(struct service *s, struct dest *d, __be16 port)
{
	return s->port && d->port == port ? s->port : port;
}

/* May it be a reply to a flow without an entry, though there are free slots? */
__noinline int may_be_stateless(__u32 service, __u32 vport, struct packet *p)
{
	struct service *s = service_at(service);
	if (!s || !p || p->protocol == IPPROTO_UDP)
		return 0;
	__u64 *word = flow_class_get(service, flow_class(p->daddr, s->addr, p->family == 6, p->dport, vport));
	return word && flow_class_in_use(READ_ONCE(*word), service);
}

/* Tries the destinations that may have sent the packet. */
__noinline int reply_lookup(struct packet *p)
{
	struct scratch *scratch = scratch_get();
	if (!p || !scratch)
		return 0;
	struct reply *a = &scratch->reply.info;
	struct lookup_result *r = &scratch->reply.lookup;
	struct conn_key *k = &scratch->reply.key;
	int v6 = p->family == 6;
	dest_handle next = nat_lookup(p->saddr, v6, p->sport, p->protocol);
	dest_handle wildcard = nat_lookup(p->saddr, v6, 0, p->protocol); /* servers of services on all ports */
	if (!next) {
		next = wildcard;
		wildcard = 0;
	}
	for (int i = 0; i < EK_NAT_SIBLINGS * 2 && next; i++) {
		struct dest *d = dest_at(next - 1);
		struct service *s = d ? service_at(d->service) : 0;
		if (!s)
			return 0;
		__be16 vport = reply_port(s, d, p->sport);
		key_make(k, p->daddr, s->addr, v6, conn_key1(p->dport, vport, p->protocol, KIND_CONN));
		conn_handle conn = conn_find(k, (__u32)bpf_jiffies64(), r);
		struct conn *e = conn_get(conn);
		int stateless = !conn && (!r->slot || may_be_stateless(d->service, vport, p));
		if ((e && READ_ONCE(e->dest) == next - 1) || stateless) {
			__builtin_memcpy(a->to.addr, s->addr, 16);
			a->to.port = vport;
			a->to.source = 1;
			a->to.ports = !p->ipsec;
			a->conn = stateless ? 0 : conn;
			a->dest = next - 1;
			a->service = d->service;
			return 1;
		}
		next = d->nat_next;
		if (!next) {
			next = wildcard;
			wildcard = 0;
		}
	}
	return 0;
}

static __always_inline int is_reply(struct packet *p)
{
	/* the tuple first: it is one lookup, and the destinations of a source may be many */
	return (settings.has_mark_nat && reply_lookup_tuple(p)) || reply_lookup(p);
}

/* nat_icmp_send: is it a NAT server's packet without a connection? A RST is not rejected (ip_vs_out()). */
__noinline int is_unexpected_reply(struct packet *p)
{
	if (!p || (p->protocol == IPPROTO_TCP && (p->event & RST)))
		return 0;
	return nat_lookup(p->saddr, p->family == 6, p->sport, p->protocol) != 0;
}

/* The reply's effect on its connection, and its statistics. */
static __always_inline void reply_touch(struct reply *a, struct packet *p)
{
	struct conn *e = conn_get(a->conn);
	struct dest *d = dest_at(a->dest);
	if (e && d)
		conn_touch(e, d, p, FROM_SERVER, (__u32)bpf_jiffies64());
	count_out(a->service, a->dest, p->bytes);
}

#endif
