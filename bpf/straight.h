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
#ifndef EVENKEEL_STRAIGHT_H
#define EVENKEEL_STRAIGHT_H

/* No actions of XDP or tc: nothing was done; and, with the destination added, everything was but to forward the packet there. */
#define LONG_WAY (~0u)
#define FORWARD_TO 0x100u

/* A packet's connection. */
struct known {
	__u32 number;       /* of its entry */
	struct conn *entry; /* 0: it is known from `recent` */
	__u32 service;
	__u32 dest;
	__u32 way;   /* back; 0: not known */
	__u32 noted; /* what `recent` says; FULL also if another flow of this client has its place */
};

/* As conn_key0() has it: two addresses as they lie in the packet, from which it is cheaper read twice than kept. */
static __always_inline __u64 key0_of(struct iphdr *ip)
{
	return READ(*(__u64 *)&ip->saddr);
}

/* As conn_key1(): the ports too lie so. */
static __always_inline __u64 key1_of(void *l4, __u8 protocol)
{
	return READ(*(__u32 *)l4) | (__u64)protocol << 32 | (__u64)KIND_CONN << 40;
}

/* The entry of a key in this line. No template has the key of a connection. */
static __always_inline struct conn *conn_in(__u32 line, __u64 key0, __u64 key1, __u32 *number)
{
	struct conn_line *l = line_at(line);
	if (!l)
		return 0;
	/* which of the two it is nobody can guess, and a wrong guess is found out when the line is there: so no branch */
	__u64 other = (READ(l->entry[0].key1) ^ key1) | (READ(l->entry[0].key0) ^ key0);
	asm volatile("" : "+r"(other));
	__u32 second = (other | -other) >> 63;
	asm volatile("" : "+r"(second));
	struct conn *e = &l->entry[second & 1];
	other = (READ(e->key1) ^ key1) | (READ(e->key0) ^ key0);
	*number = line * 2 + second;
	return other ? 0 : e;
}

/* Looked for where nearly all entries are while the table is half full: one in eight of IPv4 is not in its first line, ... */
static __always_inline struct conn *conn_at_once(__u32 line, __u64 key0, __u64 key1, __u32 *number)
{
	struct conn *e = conn_in(line, key0, key1, number);
	return e ? e : conn_in((line + 1) & settings.conn_mask, key0, key1, number);
}

/* ... and one in four of IPv6, which fills a line. */
static __always_inline struct conn *conn6_at_once(const __u64 *client, const __u64 *vip, __u64 key1)
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
static __always_inline int uneventful(__u8 *l4, __u32 protocol)
{
	return protocol == IPPROTO_TCP ? (l4[13] & (FIN | SYN | RST | ACK)) == ACK : protocol == IPPROTO_UDP;
}

static __always_inline int settled(struct conn *e, __u8 protocol)
{
	return is_settled(CONN_STATE(READ(e->life)), protocol);
}

/*
 * The connection was used. Its entry is renewed at its first packet in a spell; at another one `recent` learns it, which what
 * comes seldom would only crowd.
 */
static __always_inline void keep(struct known *k, int v6, __u32 protocol)
{
	struct conn *e = k->entry;
	if (!e)
		return;
	__u32 expires = settled_until(protocol);
	if (READ(e->expires) != expires) {
		e->expires = expires;
		return;
	}
	if (v6 || k->noted == RECENT_FULL || !is_long(settled_timeout(protocol)))
		return;
	__u32 value = recent_value(k->dest, k->way);
	if (value < RECENT_FOUND && (value | RECENT_FOUND) != k->noted)
		recent_learn(k->number, value);
}

/* As age() and address_frame(); both addresses in two strokes, as they lie behind each other here and there. */
static __always_inline void on_to(void *frame, int v6, struct next_hop *hop)
{
	if (v6)
		((struct ipv6hdr *)(frame + ETH_SIZE))->hop_limit--;
	else
		age4(frame + ETH_SIZE);
	*(__u64 *)frame = *(__u64 *)hop->dmac;
	*(__u32 *)(frame + 8) = *(__u32 *)(hop->smac + 2);
}

static __always_inline __u32 out_by(void *ctx, int tc, __u32 ifindex)
{
	if (tc)
		return bpf_redirect(ifindex & ~EK_HOP_VLAN, 0);
	return ifindex && ifindex != ((struct xdp_md *)ctx)->ingress_ifindex ? bpf_redirect(ifindex, 0) : XDP_TX;
}

/* Translates one end of a packet, address and port; both headers are there. */
static __always_inline void put_end(void *frame, void *l4, void *end, int v6, __u32 protocol, int source, const __be32 *addr,
				    __be16 port)
{
	void *ip = frame + ETH_SIZE;
	put_port(l4, end, protocol, source, port, v6 ? put_addr6(ip, source, addr) : put_addr4(ip, source, addr[0]));
}

/* The way back that a connection remembers, if it is of this second; 0 otherwise. */
static __always_inline __u32 way_of(struct conn *e, __u32 protocol)
{
	__u32 way = CONN_ROUTE(READ(e->life));
	/* an answer by UDP assures the template */
	return (way & 0xfc00) == way_stamp() && !(protocol == IPPROTO_UDP && e->control) ? way & 0x3ff : 0;
}

/* How a packet of so many bytes goes to a destination that takes packets; 0 if that is not seen at once. */
static __always_inline struct next_hop *hop_at_once(struct dest *d, int tc, __u32 bytes)
{
	__u32 which = READ(d->hop), mtu = d->mtu;
	if (!(READ(d->flags) & DEST_AVAILABLE) || (which != 1 && which != 2))
		return 0;
	struct next_hop *hop = which == 2 ? &d->hops[1] : &d->hops[0];
	return (!tc && (hop->ifindex & EK_HOP_VLAN)) || (mtu && bytes > mtu) ? 0 : hop;
}

/* By DR nothing else is asked of a packet whose destination is known. */
static __always_inline __u32 straight_dr(void *ctx, int tc, void *frame, struct dest *d, __u32 service, __u32 dest, __u32 bytes)
{
	struct next_hop *hop = hop_at_once(d, tc, bytes);
	if (!hop)
		return LONG_WAY;
	count_in(service, dest, bytes);
	on_to(frame, 0, hop);
	count_reason(REASON_FORWARDED);
	return out_by(ctx, tc, hop->ifindex);
}

/* A client's packet, in which everything up to 20 bytes of layer 4 is there: to the destination of its connection. */
static __always_inline __u32 straight_on(void *ctx, int tc, struct known *k, int v6, __u32 protocol, __u32 bytes)
{
	struct conn *e = k->entry;
	if (e) {
		__u32 was = READ(e->expires);
		/* past its time, even if by this very moment: then path() has to see to it */
		if (passed(was, (__u32)bpf_jiffies64()))
			return LONG_WAY;
		k->dest = READ(e->dest);
	}
	__u32 dest = k->dest;
	struct dest *d = dest_at(dest);
	struct next_hop *hop = d ? hop_at_once(d, tc, bytes) : 0;
	void *data = data_of(ctx, tc), *l4 = data + ETH_SIZE + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	if (!hop || l4 + sizeof(struct tcphdr) > end_of(ctx, tc))
		return LONG_WAY;
	__u32 method = d->method;
	if (e)
		k->way = method == FORWARD_NAT && !v6 ? way_of(e, protocol) : 0;
	keep(k, v6, protocol);
	count_in(k->service, dest, bytes);
	if (method == FORWARD_DR) {
		on_to(data, v6, hop);
	} else if (method == FORWARD_NAT && !tc) { /* in tc, checksums may be half-made */
		put_end(data, l4, end_of(ctx, tc), v6, protocol, 0, d->addr, server_port(d, READ(*(__be16 *)(l4 + 2))));
		on_to(data, v6, hop);
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
	return out_by(ctx, tc, hop->ifindex);
}

/* In how many places a real server is looked for that answers; a table that is half full has most of them within these. */
#define NAT_PROBES 3

/* The answer of a real server behind NAT. Whose it is: as answer_find() says it, if that is the first thing it finds. */
static __always_inline struct dest *answers_for(__be32 *from, int v6, __be16 port, __u32 protocol, __u32 *number)
{
	*number = settings.has_nat ? nat_look(from, v6, port, protocol, NAT_PROBES) : 0;
	struct dest *d = *number ? dest_at(*number - 1) : 0;
	return d && !d->twin ? d : 0;
}

/* To the client: by the way that the connection remembers. As answer(); only under XDP. */
static __always_inline __u32 straight_back(struct xdp_md *ctx, struct known *k, struct service *s,
					   __be16 port, int v6, __u32 protocol, __u32 bytes)
{
	struct conn *e = k->entry;
	__u32 life = 0, way = k->way, stamp = way_stamp();
	void *data = (void *)(long)ctx->data;
	void *l4 = data + ETH_SIZE + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	if (e) {
		life = READ(e->life);
		way = CONN_ROUTE(life);
		/* an answer by UDP assures the template */
		if (READ(e->dest) != k->dest || (protocol == IPPROTO_UDP && e->control) ||
		    passed(READ(e->expires), (__u32)bpf_jiffies64()))
			return LONG_WAY;
	}
	if ((way & 0xfc00) != stamp) {
		__be32 *client = data + ETH_SIZE + (v6 ? 24 : 16);
		if ((void *)client + (v6 ? 16 : 4) > (void *)(long)ctx->data_end)
			return LONG_WAY;
		way = route_known(route_name(client, s->addr, v6, ctx->ingress_ifindex, protocol), stamp);
		if (e && way)
			way_note(e, life, way);
	}
	if (e)
		k->way = way & 0x3ff;
	struct way_back *w = way_at(way);
	if (!w || (w->hop.ifindex & EK_HOP_VLAN) || (w->mtu && bytes > w->mtu) ||
	    l4 + sizeof(struct tcphdr) > (void *)(long)ctx->data_end)
		return LONG_WAY;
	keep(k, v6, protocol);
	count_out(k->service, k->dest, bytes);
	put_end(data, l4, end_of(ctx, 0), v6, protocol, 1, s->addr, port);
	on_to(data, v6, &w->hop);
	count_reason(REASON_REPLIED);
	return out_by(ctx, 0, w->hop.ifindex);
}

/* Of the IP packet; `said` is what its header says, which of a large segment may be 0. */
static __always_inline __u32 bytes_of(void *ctx, int tc, __u32 said)
{
	return tc ? ((struct __sk_buff *)ctx)->len - ETH_SIZE : said;
}

/* A flow of IPv4 that was seen of late, and its destination. It may be the client's flow to another service. */
static __always_inline int recently_known(struct known *k, __be32 client, __be16 port)
{
	struct recently r;
	flow_cache_key_make(&r, client, port);
	__u32 is = recent_look(&r);
	k->entry = 0;
	k->number = 0;
	k->noted = is;
	k->dest = recent_dest(is);
	return is & RECENT_FOUND;
}

/* A flow of IPv4 in the connection table. */
static __always_inline int known4(struct known *k, __u64 key0, __u64 key1, __u32 protocol)
{
	k->entry = conn_at_once(conn_hash(key0, key1) & settings.conn_mask, key0, key1, &k->number);
	return k->entry && settled(k->entry, protocol);
}

/* A function of its own for the sake of the stack of what comes behind the straight way. */
__noinline __u32 xdp_straight_back4(struct xdp_md *ctx)
{
	struct iphdr *ip = (void *)(long)ctx->data + ETH_SIZE;
	struct known known, *k = &known;
	if ((void *)(ip + 1) + sizeof(struct tcphdr) > (void *)(long)ctx->data_end)
		return LONG_WAY;
	__u32 protocol = ip->protocol, number, bytes = bpf_ntohs(ip->tot_len);
	__be16 from = READ(*(__be16 *)(ip + 1)), to = READ(*((__be16 *)(ip + 1) + 1));
	__be32 client = ip->daddr;
	struct dest *d = answers_for(&ip->saddr, 0, from, protocol, &number);
	struct service *s = d ? service_at(d->service) : 0;
	if (!s)
		return LONG_WAY;
	__be16 port = asked_port(s, d, from);
	k->service = d->service;
	if (recently_known(k, client, to) && k->dest != number - 1)
		k->noted = RECENT_FULL;
	k->way = recent_way(k->noted, way_stamp());
	/* where no way is noted, an answer might have to assure a template: see way_of() */
	if (!(k->noted & RECENT_WAYS)) {
		k->dest = number - 1;
		if (!known4(k, conn_key0(client, s->addr[0]), conn_key1(to, port, protocol, KIND_CONN), protocol))
			return LONG_WAY;
	}
	asm volatile("" : "+r"(k->entry));
	return straight_back(ctx, k, s, port, 0, protocol, bytes);
}

/* A frame of IPv4 with a whole TCP header, or as much of a UDP packet: ports lie alike. */
static __always_inline __u32 straight4(void *ctx, int tc, struct iphdr *ip)
{
	if (*(__u8 *)ip != 0x45 || (ip->frag_off & bpf_htons(0x3fff)) || ip->ttl <= 1)
		return LONG_WAY;
	struct known k;
	__u32 protocol = ip->protocol;
	if (!uneventful((void *)(ip + 1), protocol))
		return LONG_WAY;
	k.service = service_lookup(&ip->daddr, 0, READ(*((__be16 *)(ip + 1) + 1)), protocol);
	if (!k.service--)
		return tc || settings.has_wildcard_port || settings.has_ftp || !settings.has_nat ? LONG_WAY : xdp_straight_back4(ctx);
	int noted = recently_known(&k, READ(ip->saddr), READ(*(__be16 *)(ip + 1)));
	__u32 bytes = bytes_of(ctx, tc, bpf_ntohs(ip->tot_len));
	struct dest *d = noted ? dest_at(k.dest) : 0;
	if (d && d->service == k.service) {
		if (d->method == FORWARD_DR)
			return straight_dr(ctx, tc, (void *)ip - ETH_SIZE, d, k.service, k.dest, bytes);
	} else if (noted) {
		k.noted = RECENT_FULL;
		noted = 0;
	}
	if (!noted && !known4(&k, key0_of(ip), key1_of(ip + 1, READ(ip->protocol)), READ(ip->protocol)))
		return LONG_WAY;
	asm volatile("" : "+r"(k.entry)); /* the verifier wants to see that it is asked for, and not what that was concluded from */
	return straight_on(ctx, tc, &k, 0, READ(ip->protocol), bytes);
}

static __always_inline __u32 straight_back6(struct xdp_md *ctx, struct ipv6hdr *ip, struct known *k)
{
	__u32 protocol = ip->nexthdr, number;
	__be16 from = READ(*(__be16 *)(ip + 1)), to = READ(*((__be16 *)(ip + 1) + 1));
	struct dest *d = answers_for(ip->saddr.s6_addr32, 1, from, protocol, &number);
	struct service *s = d ? service_at(d->service) : 0;
	if (!s)
		return LONG_WAY;
	__be16 port = asked_port(s, d, from);
	__u64 key1 = conn_key1(to, port, protocol, KIND_CONN) | KEY_V6, *client = (__u64 *)&ip->daddr, *vip = (__u64 *)s->addr;
	k->service = d->service;
	k->dest = number - 1;
	k->entry = conn6_at_once(client, vip, key1);
	if (!k->entry || !settled(k->entry, protocol))
		return LONG_WAY;
	return straight_back(ctx, k, s, port, 1, protocol, bpf_ntohs(ip->payload_len) + sizeof(*ip));
}

static __always_inline __u32 straight6(void *ctx, int tc)
{
	struct ipv6hdr *ip = data_of(ctx, tc) + ETH_SIZE;
	if ((void *)(ip + 1) + sizeof(struct tcphdr) > end_of(ctx, tc) || ip->version != 6 || ip->hop_limit <= 1)
		return LONG_WAY;
	struct known k;
	__u32 protocol = ip->nexthdr;
	if (!uneventful((void *)(ip + 1), protocol))
		return LONG_WAY;
	k.service = service_lookup(ip->daddr.s6_addr32, 1, READ(*((__be16 *)(ip + 1) + 1)), protocol);
	if (!k.service--)
		return tc || settings.has_wildcard_port || settings.has_ftp ? LONG_WAY : straight_back6(ctx, ip, &k);
	__u64 *addresses = (__u64 *)&ip->saddr, key1 = key1_of(ip + 1, READ(ip->nexthdr)) | KEY_V6;
	k.entry = conn6_at_once(addresses, addresses + 2, key1);
	if (!k.entry || !settled(k.entry, READ(ip->nexthdr)))
		return LONG_WAY;
	return straight_on(ctx, tc, &k, 1, READ(ip->nexthdr),
			   bytes_of(ctx, tc, bpf_ntohs(ip->payload_len) + sizeof(*ip)));
}

/* Functions of their own, for the sake of the stack of what comes behind them; what calls cost, IPv4 is spared. */
__noinline __u32 xdp_straight6(struct xdp_md *ctx)
{
	return straight6(ctx, 0);
}

__noinline __u32 tc_straight6(struct __sk_buff *skb)
{
	return straight6(skb, 1);
}

/* Is all there that straight4() looks at? */
static __always_inline int is_whole4(void *ctx, int tc, void *data)
{
	return data + ETH_SIZE + sizeof(struct iphdr) + sizeof(struct tcphdr) <= end_of(ctx, tc);
}

/* Not a function of its own: a call and a return may cost as much as all of it. */
static __always_inline __u32 xdp_straight(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	if (!is_whole4(ctx, 0, data) || settings.has_mark || !device_owns(ctx->ingress_ifindex, data))
		return LONG_WAY;
	__be16 protocol = *(__be16 *)(data + 12);
	if (protocol == bpf_htons(ETH_P_IP))
		return straight4(ctx, 0, data + ETH_SIZE);
	return protocol == bpf_htons(ETH_P_IPV6) ? xdp_straight6(ctx) : LONG_WAY;
}

static __always_inline __u32 tc_straight(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	if (settings.has_mark || !is_whole4(skb, 1, data))
		return LONG_WAY;
	return skb->protocol == bpf_htons(ETH_P_IP) ? straight4(skb, 1, data + ETH_SIZE) : tc_straight6(skb);
}

#endif
