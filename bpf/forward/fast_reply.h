/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Fast path of replies: from a NAT server to its client, by a cached reply route. Only in XDP. */
#ifndef EVENKEEL_FAST_REPLY_H
#define EVENKEEL_FAST_REPLY_H

#define FAST_NAT_PROBES 3 /* in a table that is half full, most entries are found within these */

/* The destination that sent a reply, if only one can have sent it; else the slow path searches (reply_lookup()). */
static __always_inline struct dest *fast_reply_dest(__be32 *saddr, int v6, __be16 port, __u32 protocol,
						    dest_handle *dest)
{
	*dest = settings.has_nat ? nat_probe(saddr, v6, port, protocol, FAST_NAT_PROBES) : 0;
	struct dest *d = *dest ? dest_at(*dest - 1) : 0;
	return d && !d->nat_next ? d : 0;
}

/* Sends a reply to the client; as forward_reply(). */
static __always_inline __u32 fast_reply(struct xdp_md *ctx, struct fast_flow *k, struct service *s,
					__be16 port, int v6, __u32 protocol, __u32 bytes)
{
	struct conn *e = k->entry;
	__u32 status = 0, route = k->route, stamp = reply_route_stamp();
	void *data = (void *)(long)ctx->data;
	void *l4 = data + ETH_SIZE + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	if (e) {
		status = READ_ONCE(e->status);
		route = CONN_ROUTE(status);
		/* a UDP reply assures the template */
		if (READ_ONCE(e->dest) != k->dest || (protocol == IPPROTO_UDP && e->control) ||
		    is_past(READ_ONCE(e->expires), (__u32)bpf_jiffies64()))
			return SLOW_PATH;
	}
	if ((route & ROUTE_STAMP) != stamp) {
		__be32 *client = data + ETH_SIZE + (v6 ? 24 : 16);
		if ((void *)client + (v6 ? 16 : 4) > (void *)(long)ctx->data_end)
			return SLOW_PATH;
		route = route_cache_lookup(route_key(client, s->addr, v6, ctx->ingress_ifindex, protocol), stamp);
		if (e && route)
			conn_set_reply_route(e, status, route);
	}
	if (e)
		k->route = route & ROUTE_INDEX;
	struct reply_route *w = reply_route_get(route);
	if (!w || (w->hop.ifindex & EK_HOP_VLAN) || (w->mtu && bytes > w->mtu) ||
	    l4 + sizeof(struct tcphdr) > (void *)(long)ctx->data_end)
		return SLOW_PATH;
	fast_conn_refresh(k, v6, protocol);
	count_out(k->service, k->dest, bytes);
	fast_translate(data, l4, ctx_data_end(ctx, 0), v6, protocol, 1, s->addr, port);
	fast_set_next_hop(data, v6, &w->hop);
	count_reason(REASON_REPLIED);
	return fast_send(ctx, 0, w->hop.ifindex);
}

/* A function of its own: inlined, it would take stack from everything that the fast path's caller calls later. */
__noinline __u32 xdp_fast_reply4(struct xdp_md *ctx)
{
	struct iphdr *ip = (void *)(long)ctx->data + ETH_SIZE;
	struct fast_flow flow, *k = &flow;
	if ((void *)(ip + 1) + sizeof(struct tcphdr) > (void *)(long)ctx->data_end)
		return SLOW_PATH;
	__u32 protocol = ip->protocol, bytes = bpf_ntohs(ip->tot_len);
	dest_handle dest;
	__be16 sport = READ_ONCE(*(__be16 *)(ip + 1)), dport = READ_ONCE(*((__be16 *)(ip + 1) + 1));
	__be32 client = ip->daddr;
	struct dest *d = fast_reply_dest(&ip->saddr, 0, sport, protocol, &dest);
	struct service *s = d ? service_at(d->service) : 0;
	if (!s)
		return SLOW_PATH;
	__be16 port = reply_port(s, d, sport);
	k->service = d->service;
	if (fast_lookup_cached(k, client, dport) && k->dest != dest - 1)
		k->cached = FLOW_LINE_FULL;
	k->route = flow_cache_route(k->cached, reply_route_stamp());
	/* a flow that is cached without a reply route may have a template to assure: see conn_reply_route() */
	if (!(k->cached & FLOW_HAS_ROUTE)) {
		k->dest = dest - 1;
		__u64 key0 = conn_key0(client, s->addr[0]), key1 = conn_key1(dport, port, protocol, KIND_CONN);
		if (!fast_lookup4(k, key0, key1, protocol))
			return SLOW_PATH;
	}
	asm volatile("" : "+r"(k->entry));
	return fast_reply(ctx, k, s, port, 0, protocol, bytes);
}

static __always_inline __u32 fast_reply6(struct xdp_md *ctx, struct ipv6hdr *ip, struct fast_flow *k)
{
	__u32 protocol = ip->nexthdr;
	dest_handle dest;
	__be16 sport = READ_ONCE(*(__be16 *)(ip + 1)), dport = READ_ONCE(*((__be16 *)(ip + 1) + 1));
	struct dest *d = fast_reply_dest(ip->saddr.s6_addr32, 1, sport, protocol, &dest);
	struct service *s = d ? service_at(d->service) : 0;
	if (!s)
		return SLOW_PATH;
	__be16 port = reply_port(s, d, sport);
	__u64 key1 = conn_key1(dport, port, protocol, KIND_CONN) | KEY_V6;
	__u64 *client = (__u64 *)&ip->daddr, *vip = (__u64 *)s->addr;
	k->service = d->service;
	k->dest = dest - 1;
	k->entry = fast_conn_lookup6(client, vip, key1);
	if (!k->entry || !is_conn_established(k->entry, protocol))
		return SLOW_PATH;
	return fast_reply(ctx, k, s, port, 1, protocol, bpf_ntohs(ip->payload_len) + sizeof(*ip));
}

#endif
