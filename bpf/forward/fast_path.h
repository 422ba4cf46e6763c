/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Fast path: packets of established connections that change no state. Most packets are such. Their cost is mostly the
 * wait for the connection's cache line from memory, and a CPU waits for the lines of several packets at the same time
 * if few instructions are between them, and fewer depend on the line. This is therefore a short copy of the pipeline:
 * for whole packets without options or extension headers, of TCP in ESTABLISHED or of UDP, to a real server and, in
 * XDP, from a NAT server to its client.
 *
 * Rules: it decides nothing by itself, and changes what the slow path would change. Any other packet goes to the slow
 * path before anything was changed. No instruction more than needed: tests/conformance/cost.rs counts them.
 */
#ifndef EVENKEEL_FAST_PATH_H
#define EVENKEEL_FAST_PATH_H

/* The reply route of a connection if it is of this second, else 0. */
static __always_inline __u32 conn_reply_route(struct conn *e, __u32 protocol)
{
	__u32 route = CONN_ROUTE(READ_ONCE(e->status));
	/* a UDP reply assures the template: the fast path must not see it */
	return (route & ROUTE_STAMP) == reply_route_stamp() && !(protocol == IPPROTO_UDP && e->control) ?
		       route & ROUTE_INDEX :
		       0;
}

/* DR needs nothing but the destination. */
static __always_inline __u32 fast_forward_dr(void *ctx, int tc, void *frame, struct dest *d, __u32 service, __u32 dest,
					     __u32 bytes)
{
	struct next_hop *hop = fast_next_hop(d, tc, bytes);
	if (!hop)
		return SLOW_PATH;
	count_in(service, dest, bytes);
	fast_set_next_hop(frame, 0, hop);
	count_reason(REASON_FORWARDED);
	return fast_send(ctx, tc, hop->ifindex);
}

/* Forwards a client's packet, with 20 bytes of layer 4, to the destination of its connection. */
static __always_inline __u32 fast_forward(void *ctx, int tc, struct fast_flow *k, int v6, __u32 protocol, __u32 bytes)
{
	struct conn *e = k->entry;
	if (e) {
		__u32 was = READ_ONCE(e->expires);
		/* the slow path handles an expired entry */
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
	} else if (method == FORWARD_NAT && !tc) { /* in tc, checksums may be partial */
		fast_translate(data, l4, ctx_data_end(ctx, tc), v6, protocol, 0, d->addr,
			       nat_port(d, READ_ONCE(*(__be16 *)(l4 + 2))));
		fast_set_next_hop(data, v6, hop);
	} else if (method == FORWARD_TUN && !tc && (v6 ? is_ip6ip6(d) : is_ipip4(d))) {
		__u32 outcome = v6 ? forward_ip6ip6(ctx, bytes, d, hop) : forward_ipip4(ctx, bytes, d, hop);
		if (outcome != VERDICT_CONTINUE) {
			count_outcome(outcome);
			return XDP_DROP;
		}
	} else {
		return FORWARD_TO + dest;
	}
	count_reason(REASON_FORWARDED);
	return fast_send(ctx, tc, hop->ifindex);
}

/* An IPv4 frame with a whole TCP header, or as many bytes of a UDP packet, whose ports are in the same place. */
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
		return tc || settings.has_wildcard_port || settings.has_ftp || !settings.has_nat ? SLOW_PATH :
												   xdp_fast_reply4(ctx);
	int cached = fast_lookup_cached(&k, READ_ONCE(ip->saddr), READ_ONCE(*(__be16 *)(ip + 1)));
	__u32 bytes = ip_length(ctx, tc, bpf_ntohs(ip->tot_len));
	struct dest *d = cached ? dest_at(k.dest) : 0;
	if (d && d->service == k.service) {
		if (d->method == FORWARD_DR)
			return fast_forward_dr(ctx, tc, (void *)ip - ETH_SIZE, d, k.service, k.dest, bytes);
	} else if (cached) {
		k.cached = FLOW_LINE_FULL;
		cached = 0;
	}
	if (!cached &&
	    !fast_lookup4(&k, packet_key0(ip), packet_key1(ip + 1, READ_ONCE(ip->protocol)), READ_ONCE(ip->protocol)))
		return SLOW_PATH;
	/* the verifier requires a test of the pointer itself, not of something that implies it */
	asm volatile("" : "+r"(k.entry));
	return fast_forward(ctx, tc, &k, 0, READ_ONCE(ip->protocol), bytes);
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

/* Functions of their own, to save stack in what is called after them. IPv4 is spared the cost of a call. */
__noinline __u32 xdp_fast_path6(struct xdp_md *ctx)
{
	return fast_path6(ctx, 0);
}

__noinline __u32 tc_fast_path6(struct __sk_buff *skb)
{
	return fast_path6(skb, 1);
}

/* Has the frame all the bytes that fast_path4() reads? */
static __always_inline int has_headers4(void *ctx, int tc, void *data)
{
	return data + ETH_SIZE + sizeof(struct iphdr) + sizeof(struct tcphdr) <= ctx_data_end(ctx, tc);
}

/* Inlined: a call and a return may cost as much as the whole function. */
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
