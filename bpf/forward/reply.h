/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Answers of real servers behind NAT. A real server's address and port name its destinations, these name their services,
 * and with the service's address and port the answer is found under the key of the client's own packets: one look-up,
 * one line, as for the way in (the kernel's ip_vs_conn_out_get() searches a bucket for it).
 */
#ifndef EVENKEEL_REPLY_H
#define EVENKEEL_REPLY_H

/* The same for the answers of marked connections, by the note that was taken when they began. */
__noinline int reply_lookup_mark(struct packet *p)
{
	struct scratch *scratch = scratch_get();
	if (!p || !scratch)
		return 0;
	struct reply *a = &scratch->reply.info;
	struct conn_key *k = &scratch->reply.key;
	__u32 now = (__u32)bpf_jiffies64();
	key_make(k, p->daddr, p->saddr, p->family == 6, conn_key1(p->dport, p->sport, p->protocol, KIND_REPLY_TUPLE));
	__u32 number = conn_find(k, now, &scratch->reply.lookup);
	struct conn_line *l = number ? line_at((number - 1) >> 1) : 0;
	if (!l)
		return 0;
	asm volatile("" : "+r"(l));
	struct conn *note = &l->entry[(number - 1) & 1], *e = reply_tuple_conn(note, &l->entry[1], k->key1, now);
	struct dest *d = e ? dest_at(READ_ONCE(e->dest)) : 0;
	if (!d)
		return 0;
	a->entry = READ_ONCE(note->control);
	a->dest = note->dest;
	a->service = d->service;
	a->to.port = conn_vip(a->entry, a->to.addr);
	a->to.source = 1;
	a->to.ports = !p->ipsec;
	return 1;
}

/* The port that an answer from this one of the real server's is to come from: see server_port(). */
static __always_inline __be16 reply_port(struct service *s, struct dest *d, __be16 port)
{
	return s->port && d->port == port ? s->port : port;
}

/* Does it answer a flow that may be without an entry, though there is room for one? */
__noinline int may_be_stateless(__u32 service, __u32 vport, struct packet *p)
{
	struct service *s = service_at(service);
	if (!s || !p || p->protocol == IPPROTO_UDP)
		return 0;
	__u64 *word = flow_class_get(service, flow_class(p->daddr, s->addr, p->family == 6, p->dport, vport));
	return word && flow_class_in_use(READ_ONCE(*word), service);
}

/* Looks through the destinations that may have sent it; what it finds is in the scratch memory. `p` as it came: `client` is the real server, `vip` the client. */
__noinline int reply_lookup(struct packet *p)
{
	struct scratch *scratch = scratch_get();
	if (!p || !scratch)
		return 0;
	struct reply *a = &scratch->reply.info;
	struct lookup_result *f = &scratch->reply.lookup;
	struct conn_key *k = &scratch->reply.key;
	int v6 = p->family == 6;
	__u32 next = nat_lookup(p->saddr, v6, p->sport, p->protocol);
	__u32 wild = nat_lookup(p->saddr, v6, 0, p->protocol);
	if (!next) {
		next = wild;
		wild = 0;
	}
	for (int i = 0; i < EK_NAT_SIBLINGS * 2 && next; i++) {
		struct dest *d = dest_at(next - 1);
		struct service *s = d ? service_at(d->service) : 0;
		if (!s)
			return 0;
		__be16 vport = reply_port(s, d, p->sport);
		key_make(k, p->daddr, s->addr, v6, conn_key1(p->dport, vport, p->protocol, KIND_CONN));
		__u32 number = conn_find(k, (__u32)bpf_jiffies64(), f);
		struct conn *e = number ? conn_at(number - 1) : 0;
		int without = !number && (!f->slot || may_be_stateless(d->service, vport, p));
		if ((e && READ_ONCE(e->dest) == next - 1) || without) {
			__builtin_memcpy(a->to.addr, s->addr, 16);
			a->to.port = vport;
			a->to.source = 1;
			a->to.ports = !p->ipsec;
			a->entry = without ? 0 : number;
			a->dest = next - 1;
			a->service = d->service;
			return 1;
		}
		next = d->nat_next;
		if (!next) {
			next = wild;
			wild = 0;
		}
	}
	return 0;
}

/* Whose answer is it? What is found is in the scratch memory. */
static __always_inline int is_reply(struct packet *p)
{
	return reply_lookup(p) || (settings.has_mark_nat && reply_lookup_mark(p));
}

/* Is it of a real server behind NAT, with nobody whom it could be for? A RST is not answered (ip_vs_out()). */
__noinline int is_unexpected_reply(struct packet *p)
{
	if (!p || (p->protocol == IPPROTO_TCP && (p->event & RST)))
		return 0;
	return nat_lookup(p->saddr, p->family == 6, p->sport, p->protocol) != 0;
}

static __always_inline void reply_touch(struct reply *a, struct packet *p)
{
	struct conn *e = a->entry ? conn_at(a->entry - 1) : 0;
	struct dest *d = dest_at(a->dest);
	if (e && d)
		conn_touch(e, d, p, FROM_SERVER, (__u32)bpf_jiffies64());
	count_out(a->service, a->dest, p->bytes);
}

/* A way that some connection uses already, or room for another: its number + 1, or 0. */
static __always_inline __u32 reply_route_intern(const struct next_hop *hop, __u32 mtu)
{
	__u32 h = (hop->ifindex * 0x9e3779b1u ^ *(__u32 *)(hop->dmac + 2)) * 0x85ebca6bu >> 16;
	for (int i = 0; i < FLOW_MAX_ROUTE + EK_REPLY_ROUTE_PROBES; i++) {
		/* mostly ways are few: let `recent` have room for their numbers */
		__u32 at = (h + i) & (i < FLOW_MAX_ROUTE ? FLOW_MAX_ROUTE - 1 : EK_REPLY_ROUTES - 1);
		if (at == EK_REPLY_ROUTES - 1) /* its number would not fit */
			continue;
		struct reply_route *w = bpf_map_lookup_elem(&reply_routes, &at);
		if (!w)
			return 0;
		if (READ_ONCE(w->taken) == 2 && w->hop.ifindex == hop->ifindex && w->mtu == mtu &&
		    *(__u32 *)w->hop.dmac == *(__u32 *)hop->dmac &&
		    *(__u16 *)(w->hop.dmac + 4) == *(__u16 *)(hop->dmac + 4) &&
		    *(__u16 *)(w->hop.smac + 4) == *(__u16 *)(hop->smac + 4) &&
		    *(__u32 *)w->hop.smac == *(__u32 *)hop->smac)
			return at + 1;
		if (!READ_ONCE(w->taken) && !__sync_val_compare_and_swap(&w->taken, 0, 1)) {
			w->hop = *hop;
			w->mtu = mtu;
			__sync_lock_test_and_set(&w->taken, 2);
			return at + 1;
		}
	}
	return 0;
}

/* 10 bits of number, 6 of the time when it was looked up: believed for about a second, with or without a daemon. */
static __always_inline __u32 reply_route_stamp(void)
{
	return (to_seconds((__u32)bpf_jiffies64()) & 0x3f) << 10;
}

/* All that a route is looked up by, mixed under a secret: where in `routes` it is, and in 48 bits what it is called there. */
static __always_inline __u64 route_key(const __be32 *client, const __be32 *vip, int v6, __u32 ifindex, __u32 protocol)
{
	__u64 h = ((v6 ? addr_words(client) : conn_key0(client[0], vip[0])) ^ settings.secret[1]) * 0xd6e8feb86659fd93ull;
	h ^= h >> 32;
	if (v6) {
		h = (h + addr_words(client + 2)) * 0x9e3779b97f4a7c15ull;
		h ^= h >> 29;
		h = (h + addr_words(vip)) * 0xd6e8feb86659fd93ull;
		h ^= h >> 32;
		h = (h + addr_words(vip + 2)) * 0x9e3779b97f4a7c15ull;
		h ^= h >> 29;
	}
	h = (h + (ifindex | (__u64)protocol << 32) + settings.secret[0]) * 0xbf58476d1ce4e5b9ull;
	return h ^ h >> 32;
}

/*
 * The way that another connection of this client has looked up within this second, and its stamp; 0 if none is known. It is
 * one word, so that nobody sees a part of it: 48 bits of the name, 6 of time, 10 of the way's number.
 */
static __always_inline __u32 route_cache_lookup(__u64 name, __u32 stamp)
{
	__u32 at = name & (EK_ROUTE_CACHE - 1);
	__u64 *route = bpf_map_lookup_elem(&route_cache, &at);
	__u64 is = route ? READ_ONCE(*route) : 0;
	return (is ^ name) >> 16 || (is & 0xfc00) != stamp ? 0 : is & 0xffff;
}

static __always_inline void route_cache_store(__u64 name, __u32 way)
{
	__u32 at = name & (EK_ROUTE_CACHE - 1);
	__u64 *route = bpf_map_lookup_elem(&route_cache, &at);
	if (route)
		*route = (name & ~0xffffull) | way;
}

/* A way by its number + 1, if it is one. Not one of another program's, whose ways these are not (an upgrade). */
static __always_inline struct reply_route *reply_route_get(__u32 way)
{
	__u32 at = (way & (EK_REPLY_ROUTES - 1)) - 1;
	struct reply_route *w = bpf_map_lookup_elem(&reply_routes, &at);
	return w && READ_ONCE(w->taken) == 2 ? w : 0;
}

/* The connection remembers its way. Who loses against another change looks it up again. */
static __always_inline void conn_set_reply_route(struct conn *e, __u32 status, __u32 way)
{
	__sync_val_compare_and_swap(&e->status, status, CONN_STATUS(CONN_STATE(status), CONN_FLAGS(status), way));
}

/*
 * Where an answer goes: the way that its connection or another one of its client remembers, or the one that the kernel's routes
 * say, for a packet that the virtual address sends. 0 if there is one, else what bpf_fib_lookup() said, and `hop->ifindex` if it
 * knew.
 */
static __always_inline int reply_route(void *ctx, __u32 ifindex, struct packet *p, struct reply *a, struct next_hop *hop)
{
	struct conn *e = a->entry ? conn_at(a->entry - 1) : 0;
	__u32 stamp = reply_route_stamp(), status = e ? READ_ONCE(e->status) : 0, way = CONN_ROUTE(status);
	__u64 name = 0;
	if ((way & 0xfc00) != stamp) {
		name = p->family == 6 ? route_key(p->daddr, a->to.addr, 1, ifindex, p->protocol)
				      : route_key(p->daddr, a->to.addr, 0, ifindex, p->protocol);
		way = route_cache_lookup(name, stamp);
		if (e && way)
			conn_set_reply_route(e, status, way);
	}
	struct reply_route *w = reply_route_get(way);
	if (w) {
		*hop = w->hop;
		a->mtu = w->mtu;
		return 0;
	}
	struct scratch *scratch = scratch_get();
	if (!scratch)
		return -1;
	struct bpf_fib_lookup *fib = &scratch->fib;
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->tot_len = 1; /* more than 0: its MTU is said too */
	fib->l4_protocol = p->protocol;
	fib->ifindex = ifindex;
	if (p->family == 4) {
		fib->family = 2; /* AF_INET */
		fib->ipv4_src = a->to.addr[0];
		fib->ipv4_dst = p->daddr[0];
	} else {
		fib->family = 10; /* AF_INET6 */
		__builtin_memcpy(fib->ipv6_src, a->to.addr, 16);
		__builtin_memcpy(fib->ipv6_dst, p->daddr, 16);
	}
	a->mtu = 0;
	int rc = bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
	hop->ifindex = rc == BPF_FIB_LKUP_RET_SUCCESS || rc == BPF_FIB_LKUP_RET_NO_NEIGH ? fib->ifindex : 0;
	if (rc)
		return rc;
	a->mtu = fib->mtu_result;
	struct device *by = device_at(fib->ifindex);
	if (by && by->lower)
		hop->ifindex |= EK_HOP_VLAN;
	__builtin_memcpy(hop->dmac, fib->dmac, 6);
	__builtin_memcpy(hop->smac, fib->smac, 6);
	__u32 number = reply_route_intern(hop, a->mtu);
	if (number && name)
		route_cache_store(name, number | stamp);
	if (e && number)
		conn_set_reply_route(e, status, number | stamp);
	return 0;
}

#endif
