/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Reply routes: next hops towards clients. The kernel looks up a route (bpf_fib_lookup()) once in about a second;
 * the result is kept in the connection, and in the route cache for the client's other connections.
 *
 * A reply route in 16 bits: its index + 1 in ten bits, and a stamp of six bits, the second of the lookup. A stamp of
 * another second means that the route has to be looked up again. This needs no daemon.
 */
#ifndef EVENKEEL_REPLY_ROUTE_H
#define EVENKEEL_REPLY_ROUTE_H

#define ROUTE_STAMP 0xfc00
#define ROUTE_INDEX 0x3ff /* + 1 */

static __always_inline __u32 reply_route_stamp(void)
{
	return (to_seconds((__u32)bpf_jiffies64()) & 0x3f) << 10;
}

/* The index + 1 of an equal reply route, or of a free one, which it becomes; 0: there is no free one. */
static __always_inline __u32 reply_route_intern(const struct next_hop *hop, __u32 mtu)
{
	__u32 h = (hop->ifindex * 0x9e3779b1u ^ *(__u32 *)(hop->dmac + 2)) * 0x85ebca6bu >> 16;
	for (int i = 0; i < FLOW_MAX_ROUTE + EK_REPLY_ROUTE_PROBES; i++) {
		/* mostly there are few routes: they get the numbers that fit into a flow cache entry */
		__u32 at = (h + i) & (i < FLOW_MAX_ROUTE ? FLOW_MAX_ROUTE - 1 : EK_REPLY_ROUTES - 1);
		if (at == EK_REPLY_ROUTES - 1) /* its index + 1 would not fit */
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

/* A hash of all that a route depends on, keyed by the secret: the index in the route cache, and a tag of 48 bits. */
static __always_inline __u64 route_key(const __be32 *client, const __be32 *vip, int v6, __u32 ifindex, __u32 protocol)
{
	__u64 h = v6 ? addr_words(client) : conn_key0(client[0], vip[0]);
	h = (h ^ settings.secret[1]) * 0xd6e8feb86659fd93ull;
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
 * The reply route that another connection of this client has looked up in this second; 0: none. An element of the
 * cache is one word (a tag of 48 bits, and the reply route), so that no CPU sees a part of it.
 */
static __always_inline __u32 route_cache_lookup(__u64 key, __u32 stamp)
{
	__u32 at = key & (EK_ROUTE_CACHE - 1);
	__u64 *word = bpf_map_lookup_elem(&route_cache, &at);
	__u64 is = word ? READ_ONCE(*word) : 0;
	return (is ^ key) >> 16 || (is & ROUTE_STAMP) != stamp ? 0 : is & 0xffff;
}

static __always_inline void route_cache_store(__u64 key, __u32 route)
{
	__u32 at = key & (EK_ROUTE_CACHE - 1);
	__u64 *word = bpf_map_lookup_elem(&route_cache, &at);
	if (word)
		*word = (key & ~0xffffull) | route;
}

/* 0 if there is none: after an upgrade the number may be that of another program, whose routes are not these. */
static __always_inline struct reply_route *reply_route_get(__u32 route)
{
	__u32 at = (route & (EK_REPLY_ROUTES - 1)) - 1;
	struct reply_route *w = bpf_map_lookup_elem(&reply_routes, &at);
	return w && READ_ONCE(w->taken) == 2 ? w : 0;
}

/* Stores the reply route in a connection. If the swap is lost to another change, the route is looked up again. */
static __always_inline void conn_set_reply_route(struct conn *e, __u32 status, __u32 route)
{
	__sync_val_compare_and_swap(&e->status, status, CONN_STATUS(CONN_STATE(status), CONN_FLAGS(status), route));
}

/* Asks the kernel for the route of a packet from the virtual address to the client. The result of bpf_fib_lookup(). */
static __always_inline int route_lookup(void *ctx, __u32 ifindex, struct packet *p, struct reply *a,
					struct bpf_fib_lookup *fib)
{
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->tot_len = 1; /* not 0: the MTU is wanted too */
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
	return bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
}

/*
 * The next hop and MTU of a reply: those of its connection, of the route cache, or of the kernel's routes. 0 on
 * success; else the result of bpf_fib_lookup(), with `hop->ifindex` set if there is a route, of which only the
 * neighbour is unknown. Under XDP that is also the result for a device that the program cannot send by, a bridge for
 * example: xdp_do_redirect() would drop the frame.
 */
static __always_inline int reply_route_lookup(void *ctx, int tc, __u32 ifindex, struct packet *p, struct reply *a,
					      struct next_hop *hop)
{
	struct conn *e = conn_get(a->conn);
	__u32 stamp = reply_route_stamp(), status = e ? READ_ONCE(e->status) : 0, route = CONN_ROUTE(status);
	__u64 key = 0;
	if ((route & ROUTE_STAMP) != stamp) {
		key = p->family == 6 ? route_key(p->daddr, a->to.addr, 1, ifindex, p->protocol)
				     : route_key(p->daddr, a->to.addr, 0, ifindex, p->protocol);
		route = route_cache_lookup(key, stamp);
		if (e && route)
			conn_set_reply_route(e, status, route);
	}
	struct reply_route *w = reply_route_get(route);
	if (w) {
		*hop = w->hop;
		a->mtu = w->mtu;
		return 0;
	}
	struct scratch *scratch = scratch_get();
	if (!scratch)
		return -1;
	struct bpf_fib_lookup *fib = &scratch->fib;
	a->mtu = 0;
	int rc = route_lookup(ctx, ifindex, p, a, fib);
	hop->ifindex = rc == BPF_FIB_LKUP_RET_SUCCESS || rc == BPF_FIB_LKUP_RET_NO_NEIGH ? fib->ifindex : 0;
	if (rc)
		return rc;
	a->mtu = fib->mtu_result;
	struct device *egress = device_at(fib->ifindex);
	if (!tc && fib->ifindex != ifindex && (!egress || !egress->sends_xdp))
		return BPF_FIB_LKUP_RET_NO_NEIGH;
	if (egress && egress->lower)
		hop->ifindex |= EK_HOP_VLAN;
	__builtin_memcpy(hop->dmac, fib->dmac, 6);
	__builtin_memcpy(hop->smac, fib->smac, 6);
	route = reply_route_intern(hop, a->mtu);
	if (route && key)
		route_cache_store(key, route | stamp);
	if (e && route)
		conn_set_reply_route(e, status, route | stamp);
	return 0;
}

#endif
