/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The straight way: a packet of a connection that is known, and that nothing happens to. Most packets are such, and what
 * they cost is mostly the wait for the connection's line, which comes from memory. A processor waits for the lines of
 * several packets at once if little lies between them, and less still hangs on what is in the line; hence this short copy
 * of path() for whole packets without options or extension headers, of TCP in ESTABLISHED or of UDP: to a real server, and
 * from one behind NAT to its client.
 *
 * Whatever is out of the ordinary is left to path(), before anything was changed. What is changed is what path() would
 * change. One text for both shells, as in forward.h.
 */
#ifndef EVENKEEL_FAST_PATH_H
#define EVENKEEL_FAST_PATH_H

/* No actions of XDP or tc: nothing was done; and, with the destination added, everything was but to forward the packet there. */
#define SLOW_PATH (~0u)
#define FORWARD_TO 0x100u

/* A packet's connection. */
struct fast_flow {
	__u32 number;       /* of its entry */
	struct conn *entry; /* 0: it is known from `recent` */
	__u32 service;
	__u32 dest;
	__u32 route;   /* back; 0: not known */
	__u32 cached; /* what `recent` says; FULL also if another flow of this client has its place */
};

/* As conn_key0() has it: two addresses as they lie in the packet, from which it is cheaper read twice than kept. */
static __always_inline __u64 packet_key0(struct iphdr *ip)
{
	return READ_ONCE(*(__u64 *)&ip->saddr);
}

/* As conn_key1(): the ports too lie so. */
static __always_inline __u64 packet_key1(void *l4, __u8 protocol)
{
	return READ_ONCE(*(__u32 *)l4) | (__u64)protocol << 32 | (__u64)KIND_CONN << 40;
}

/* The entry of a key in this line. No template has the key of a connection. */
static __always_inline struct conn *line_lookup4(__u32 line, __u64 key0, __u64 key1, __u32 *number)
{
	struct conn_line *l = line_at(line);
	if (!l)
		return 0;
	/* which of the two it is nobody can guess, and a wrong guess is found out when the line is there: so no branch */
	__u64 other = (READ_ONCE(l->entry[0].key1) ^ key1) | (READ_ONCE(l->entry[0].key0) ^ key0);
	asm volatile("" : "+r"(other));
	__u32 second = (other | -other) >> 63;
	asm volatile("" : "+r"(second));
	struct conn *e = &l->entry[second & 1];
	other = (READ_ONCE(e->key1) ^ key1) | (READ_ONCE(e->key0) ^ key0);
	*number = line * 2 + second;
	return other ? 0 : e;
}

/* Looked for where nearly all entries are while the table is half full: one in eight of IPv4 is not in its first line, ... */
static __always_inline struct conn *fast_conn_lookup4(__u32 line, __u64 key0, __u64 key1, __u32 *number)
{
	struct conn *e = line_lookup4(line, key0, key1, number);
	return e ? e : line_lookup4((line + 1) & settings.conn_mask, key0, key1, number);
}

/* ... and one in four of IPv6, which fills a line. */
static __always_inline struct conn *fast_conn_lookup6(const __u64 *client, const __u64 *vip, __u64 key1)
{
	__u32 line = conn_hash6(client, vip, key1);
	for (int i = 0; i < 3; i++) {
		struct conn_line *l = line_at((line + i) & settings.conn_mask);
		if (!l)
			return 0;
		if (conn_is6(l, client, vip, key1))
			return &l->entry[0];
	}
	return 0;
}

/* A packet that changes nothing. `l4` is as long as a TCP header. */
static __always_inline int keeps_state(__u8 *l4, __u32 protocol)
{
	return protocol == IPPROTO_TCP ? (l4[13] & (FIN | SYN | RST | ACK)) == ACK : protocol == IPPROTO_UDP;
}

static __always_inline int is_conn_established(struct conn *e, __u8 protocol)
{
	return is_established(CONN_STATE(READ_ONCE(e->status)), protocol);
}

/*
 * The connection was used. Its entry is renewed at its first packet in a spell; at another one `recent` learns it, which what
 * comes seldom would only crowd.
 */
static __always_inline void fast_conn_refresh(struct fast_flow *k, int v6, __u32 protocol)
{
	struct conn *e = k->entry;
	if (!e)
		return;
	__u32 expires = established_expiry(protocol);
	if (READ_ONCE(e->expires) != expires) {
		e->expires = expires;
		return;
	}
	if (v6 || k->cached == FLOW_LINE_FULL || !is_long_timeout(established_timeout(protocol)))
		return;
	__u32 value = flow_cache_value(k->dest, k->route);
	if (value < FLOW_HIT && (value | FLOW_HIT) != k->cached)
		flow_cache_insert(k->number, value);
}

/* As age() and address_frame(); both addresses in two strokes, as they lie behind each other here and there. */
static __always_inline void fast_set_next_hop(void *frame, int v6, struct next_hop *hop)
{
	if (v6)
		((struct ipv6hdr *)(frame + ETH_SIZE))->hop_limit--;
	else
		ttl_decrement4(frame + ETH_SIZE);
	*(__u64 *)frame = *(__u64 *)hop->dmac;
	*(__u32 *)(frame + 8) = *(__u32 *)(hop->smac + 2);
}

static __always_inline __u32 fast_send(void *ctx, int tc, __u32 ifindex)
{
	if (tc)
		return bpf_redirect(ifindex & ~EK_HOP_VLAN, 0);
	return ifindex && ifindex != ((struct xdp_md *)ctx)->ingress_ifindex ? bpf_redirect(ifindex, 0) : XDP_TX;
}

/* Translates one end of a packet, address and port; both headers are there. */
static __always_inline void nat_rewrite(void *frame, void *l4, void *end, int v6, __u32 protocol, int source, const __be32 *addr,
				    __be16 port)
{
	void *ip = frame + ETH_SIZE;
	nat_set_port(l4, end, protocol, source, port, v6 ? nat_set_addr6(ip, source, addr) : nat_set_addr4(ip, source, addr[0]));
}

/* The way back that a connection remembers, if it is of this second; 0 otherwise. */
static __always_inline __u32 conn_reply_route(struct conn *e, __u32 protocol)
{
	__u32 way = CONN_ROUTE(READ_ONCE(e->status));
	/* an answer by UDP assures the template */
	return (way & 0xfc00) == reply_route_stamp() && !(protocol == IPPROTO_UDP && e->control) ? way & 0x3ff : 0;
}

/* How a packet of so many bytes goes to a destination that takes packets; 0 if that is not seen at once. */
static __always_inline struct next_hop *fast_next_hop(struct dest *d, int tc, __u32 bytes)
{
	__u32 which = READ_ONCE(d->hop), mtu = d->mtu;
	if (!(READ_ONCE(d->flags) & DEST_AVAILABLE) || (which != 1 && which != 2))
		return 0;
	struct next_hop *hop = which == 2 ? &d->hops[1] : &d->hops[0];
	return (!tc && (hop->ifindex & EK_HOP_VLAN)) || (mtu && bytes > mtu) ? 0 : hop;
}

/* By DR nothing else is asked of a packet whose destination is known. */
static __always_inline __u32 fast_forward_dr(void *ctx, int tc, void *frame, struct dest *d, __u32 service, __u32 dest, __u32 bytes)
{
	struct next_hop *hop = fast_next_hop(d, tc, bytes);
	if (!hop)
		return SLOW_PATH;
	count_in(service, dest, bytes);
	fast_set_next_hop(frame, 0, hop);
	count_reason(REASON_FORWARDED);
	return fast_send(ctx, tc, hop->ifindex);
}

/* A client's packet, in which everything up to 20 bytes of layer 4 is there: to the destination of its connection. */
static __always_inline __u32 fast_forward(void *ctx, int tc, struct fast_flow *k, int v6, __u32 protocol, __u32 bytes)
{
	struct conn *e = k->entry;
	if (e) {
		__u32 was = READ_ONCE(e->expires);
		/* past its time, even if by this very moment: then path() has to see to it */
		if (is_past(was, (__u32)bpf_jiffies64()))
			return SLOW_PATH;
		k->dest = READ_ONCE(e->dest);
	}
	__u32 dest = k->dest;
	struct dest *d = dest_at(dest);
	struct next_hop *hop = d ? fast_next_hop(d, tc, bytes) : 0;
	void *data = ctx_data(ctx, tc), *l4 = data + ETH_SIZE + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	if (!hop || l4 + sizeof(struct tcphdr) > ctx_data_end(ctx, tc))
		return SLOW_PATH;
	__u32 method = d->method;
	if (e)
		k->route = method == FORWARD_NAT && !v6 ? conn_reply_route(e, protocol) : 0;
	fast_conn_refresh(k, v6, protocol);
	count_in(k->service, dest, bytes);
	if (method == FORWARD_DR) {
		fast_set_next_hop(data, v6, hop);
	} else if (method == FORWARD_NAT && !tc) { /* in tc, checksums may be half-made */
		nat_rewrite(data, l4, ctx_data_end(ctx, tc), v6, protocol, 0, d->addr, nat_port(d, READ_ONCE(*(__be16 *)(l4 + 2))));
		fast_set_next_hop(data, v6, hop);
	} else if (method == FORWARD_TUN && !tc && (v6 ? is_ip6ip6(d) : is_ipip4(d))) {
		__u32 reason = v6 ? forward_ip6ip6(ctx, bytes, d, hop) : forward_ipip4(ctx, bytes, d, hop);
		if (reason != REASON_FORWARDED) {
			count_reason(reason);
			return XDP_DROP;
		}
	} else {
		return FORWARD_TO + dest;
	}
	count_reason(REASON_FORWARDED);
	return fast_send(ctx, tc, hop->ifindex);
}

/* In how many places a real server is looked for that answers; a table that is half full has most of them within these. */
#define FAST_NAT_PROBES 3

/* The answer of a real server behind NAT. Whose it is: as answer_find() says it, if that is the first thing it finds. */
static __always_inline struct dest *fast_reply_dest(__be32 *from, int v6, __be16 port, __u32 protocol, __u32 *number)
{
	*number = settings.has_nat ? nat_probe(from, v6, port, protocol, FAST_NAT_PROBES) : 0;
	struct dest *d = *number ? dest_at(*number - 1) : 0;
	return d && !d->nat_next ? d : 0;
}

/* To the client: by the way that the connection remembers. As answer(); only under XDP. */
static __always_inline __u32 fast_reply(struct xdp_md *ctx, struct fast_flow *k, struct service *s,
					   __be16 port, int v6, __u32 protocol, __u32 bytes)
{
	struct conn *e = k->entry;
	__u32 status = 0, way = k->route, stamp = reply_route_stamp();
	void *data = (void *)(long)ctx->data;
	void *l4 = data + ETH_SIZE + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	if (e) {
		status = READ_ONCE(e->status);
		way = CONN_ROUTE(status);
		/* an answer by UDP assures the template */
		if (READ_ONCE(e->dest) != k->dest || (protocol == IPPROTO_UDP && e->control) ||
		    is_past(READ_ONCE(e->expires), (__u32)bpf_jiffies64()))
			return SLOW_PATH;
	}
	if ((way & 0xfc00) != stamp) {
		__be32 *client = data + ETH_SIZE + (v6 ? 24 : 16);
		if ((void *)client + (v6 ? 16 : 4) > (void *)(long)ctx->data_end)
			return SLOW_PATH;
		way = route_cache_lookup(route_key(client, s->addr, v6, ctx->ingress_ifindex, protocol), stamp);
		if (e && way)
			conn_set_reply_route(e, status, way);
	}
	if (e)
		k->route = way & 0x3ff;
	struct reply_route *w = reply_route_get(way);
	if (!w || (w->hop.ifindex & EK_HOP_VLAN) || (w->mtu && bytes > w->mtu) ||
	    l4 + sizeof(struct tcphdr) > (void *)(long)ctx->data_end)
		return SLOW_PATH;
	fast_conn_refresh(k, v6, protocol);
	count_out(k->service, k->dest, bytes);
	nat_rewrite(data, l4, ctx_data_end(ctx, 0), v6, protocol, 1, s->addr, port);
	fast_set_next_hop(data, v6, &w->hop);
	count_reason(REASON_REPLIED);
	return fast_send(ctx, 0, w->hop.ifindex);
}

/* Of the IP packet; `said` is what its header says, which of a large segment may be 0. */
static __always_inline __u32 ip_length(void *ctx, int tc, __u32 said)
{
	return tc ? ((struct __sk_buff *)ctx)->len - ETH_SIZE : said;
}

/* A flow of IPv4 that was seen of late, and its destination. It may be the client's flow to another service. */
static __always_inline int fast_lookup_cached(struct fast_flow *k, __be32 client, __be16 port)
{
	struct flow_cache_key r;
	flow_cache_key_make(&r, client, port);
	__u32 is = flow_cache_lookup(&r);
	k->entry = 0;
	k->number = 0;
	k->cached = is;
	k->dest = flow_cache_dest(is);
	return is & FLOW_HIT;
}

/* A flow of IPv4 in the connection table. */
static __always_inline int fast_lookup4(struct fast_flow *k, __u64 key0, __u64 key1, __u32 protocol)
{
	k->entry = fast_conn_lookup4(conn_hash(key0, key1) & settings.conn_mask, key0, key1, &k->number);
	return k->entry && is_conn_established(k->entry, protocol);
}

/* A function of its own for the sake of the stack of what comes behind the straight way. */
__noinline __u32 xdp_fast_reply4(struct xdp_md *ctx)
{
	struct iphdr *ip = (void *)(long)ctx->data + ETH_SIZE;
	struct fast_flow known, *k = &known;
	if ((void *)(ip + 1) + sizeof(struct tcphdr) > (void *)(long)ctx->data_end)
		return SLOW_PATH;
	__u32 protocol = ip->protocol, number, bytes = bpf_ntohs(ip->tot_len);
	__be16 from = READ_ONCE(*(__be16 *)(ip + 1)), to = READ_ONCE(*((__be16 *)(ip + 1) + 1));
	__be32 client = ip->daddr;
	struct dest *d = fast_reply_dest(&ip->saddr, 0, from, protocol, &number);
	struct service *s = d ? service_at(d->service) : 0;
	if (!s)
		return SLOW_PATH;
	__be16 port = reply_port(s, d, from);
	k->service = d->service;
	if (fast_lookup_cached(k, client, to) && k->dest != number - 1)
		k->cached = FLOW_LINE_FULL;
	k->route = flow_cache_route(k->cached, reply_route_stamp());
	/* where no way is noted, an answer might have to assure a template: see way_of() */
	if (!(k->cached & FLOW_HAS_ROUTE)) {
		k->dest = number - 1;
		if (!fast_lookup4(k, conn_key0(client, s->addr[0]), conn_key1(to, port, protocol, KIND_CONN), protocol))
			return SLOW_PATH;
	}
	asm volatile("" : "+r"(k->entry));
	return fast_reply(ctx, k, s, port, 0, protocol, bytes);
}

/* A frame of IPv4 with a whole TCP header, or as much of a UDP packet: ports lie alike. */
static __always_inline __u32 fast_path4(void *ctx, int tc, struct iphdr *ip)
{
	if (*(__u8 *)ip != 0x45 || (ip->frag_off & bpf_htons(0x3fff)) || ip->ttl <= 1)
		return SLOW_PATH;
	struct fast_flow k;
	__u32 protocol = ip->protocol;
	if (!keeps_state((void *)(ip + 1), protocol))
		return SLOW_PATH;
	k.service = service_lookup(&ip->daddr, 0, READ_ONCE(*((__be16 *)(ip + 1) + 1)), protocol);
	if (!k.service--)
		return tc || settings.has_wildcard_port || settings.has_ftp || !settings.has_nat ? SLOW_PATH : xdp_fast_reply4(ctx);
	int reply_tuple_conn = fast_lookup_cached(&k, READ_ONCE(ip->saddr), READ_ONCE(*(__be16 *)(ip + 1)));
	__u32 bytes = ip_length(ctx, tc, bpf_ntohs(ip->tot_len));
	struct dest *d = reply_tuple_conn ? dest_at(k.dest) : 0;
	if (d && d->service == k.service) {
		if (d->method == FORWARD_DR)
			return fast_forward_dr(ctx, tc, (void *)ip - ETH_SIZE, d, k.service, k.dest, bytes);
	} else if (reply_tuple_conn) {
		k.cached = FLOW_LINE_FULL;
		reply_tuple_conn = 0;
	}
	if (!reply_tuple_conn && !fast_lookup4(&k, packet_key0(ip), packet_key1(ip + 1, READ_ONCE(ip->protocol)), READ_ONCE(ip->protocol)))
		return SLOW_PATH;
	asm volatile("" : "+r"(k.entry)); /* the verifier wants to see that it is asked for, and not what that was concluded from */
	return fast_forward(ctx, tc, &k, 0, READ_ONCE(ip->protocol), bytes);
}

static __always_inline __u32 fast_reply6(struct xdp_md *ctx, struct ipv6hdr *ip, struct fast_flow *k)
{
	__u32 protocol = ip->nexthdr, number;
	__be16 from = READ_ONCE(*(__be16 *)(ip + 1)), to = READ_ONCE(*((__be16 *)(ip + 1) + 1));
	struct dest *d = fast_reply_dest(ip->saddr.s6_addr32, 1, from, protocol, &number);
	struct service *s = d ? service_at(d->service) : 0;
	if (!s)
		return SLOW_PATH;
	__be16 port = reply_port(s, d, from);
	__u64 key1 = conn_key1(to, port, protocol, KIND_CONN) | KEY_V6, *client = (__u64 *)&ip->daddr, *vip = (__u64 *)s->addr;
	k->service = d->service;
	k->dest = number - 1;
	k->entry = fast_conn_lookup6(client, vip, key1);
	if (!k->entry || !is_conn_established(k->entry, protocol))
		return SLOW_PATH;
	return fast_reply(ctx, k, s, port, 1, protocol, bpf_ntohs(ip->payload_len) + sizeof(*ip));
}

static __always_inline __u32 fast_path6(void *ctx, int tc)
{
	struct ipv6hdr *ip = ctx_data(ctx, tc) + ETH_SIZE;
	if ((void *)(ip + 1) + sizeof(struct tcphdr) > ctx_data_end(ctx, tc) || ip->version != 6 || ip->hop_limit <= 1)
		return SLOW_PATH;
	struct fast_flow k;
	__u32 protocol = ip->nexthdr;
	if (!keeps_state((void *)(ip + 1), protocol))
		return SLOW_PATH;
	k.service = service_lookup(ip->daddr.s6_addr32, 1, READ_ONCE(*((__be16 *)(ip + 1) + 1)), protocol);
	if (!k.service--)
		return tc || settings.has_wildcard_port || settings.has_ftp ? SLOW_PATH : fast_reply6(ctx, ip, &k);
	__u64 *addresses = (__u64 *)&ip->saddr, key1 = packet_key1(ip + 1, READ_ONCE(ip->nexthdr)) | KEY_V6;
	k.entry = fast_conn_lookup6(addresses, addresses + 2, key1);
	if (!k.entry || !is_conn_established(k.entry, READ_ONCE(ip->nexthdr)))
		return SLOW_PATH;
	return fast_forward(ctx, tc, &k, 1, READ_ONCE(ip->nexthdr),
			   ip_length(ctx, tc, bpf_ntohs(ip->payload_len) + sizeof(*ip)));
}

/* Functions of their own, for the sake of the stack of what comes behind them; what calls cost, IPv4 is spared. */
__noinline __u32 xdp_fast_path6(struct xdp_md *ctx)
{
	return fast_path6(ctx, 0);
}

__noinline __u32 tc_fast_path6(struct __sk_buff *skb)
{
	return fast_path6(skb, 1);
}

/* Is all there that straight4() looks at? */
static __always_inline int has_headers4(void *ctx, int tc, void *data)
{
	return data + ETH_SIZE + sizeof(struct iphdr) + sizeof(struct tcphdr) <= ctx_data_end(ctx, tc);
}

/* Not a function of its own: a call and a return may cost as much as all of it. */
static __always_inline __u32 xdp_fast_path(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	if (!has_headers4(ctx, 0, data) || settings.has_mark || !is_own_frame(ctx->ingress_ifindex, data))
		return SLOW_PATH;
	__be16 protocol = *(__be16 *)(data + 12);
	if (protocol == bpf_htons(ETH_P_IP))
		return fast_path4(ctx, 0, data + ETH_SIZE);
	return protocol == bpf_htons(ETH_P_IPV6) ? xdp_fast_path6(ctx) : SLOW_PATH;
}

static __always_inline __u32 tc_fast_path(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	if (settings.has_mark || !has_headers4(skb, 1, data))
		return SLOW_PATH;
	return skb->protocol == bpf_htons(ETH_P_IP) ? fast_path4(skb, 1, data + ETH_SIZE) : tc_fast_path6(skb);
}

#endif
