/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Tunnels to real servers, as ip_vs_tunnel_xmit(): the packet with its TTL decremented, after an outer header of IPv4
 * or IPv6 (ipip), and GRE (RFC 2784) or GUE (draft-ietf-intarea-gue, variant 0) if configured.
 */
#ifndef EVENKEEL_TUNNEL_H
#define EVENKEEL_TUNNEL_H

/* What the outer headers are made from. */
struct inner {
	__u8 tos;
	__u8 ttl;
	__u8 protocol; /* 4 or 41 */
	__u8 v6;
	__be16 df;
	__be16 id; /* see outer_id() */
	__u16 sum; /* of the packet's bytes, if `summed` */
	__u8 summed;
};

/*
 * The sum of a packet, computed without its payload ("local checksum offload",
 * Documentation/networking/checksum-offloads.rst): with valid checksums, the bytes of an IPv4 header, and those of a
 * segment with its pseudo header, sum up to 0.
 */
static __always_inline void inner_csum(struct packet *p, struct inner *in, void *l3, void *end)
{
	__u32 length = p->bytes - (p->l4 - ETH_SIZE);
	__u64 pseudo = bpf_htonl(length) + (__u64)bpf_htonl(p->protocol);
	if (p->fragment != NOT_FRAGMENT || p->ipsec || (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP))
		return;
	if (p->protocol == IPPROTO_UDP) {
		struct udphdr *udp = l3 - ETH_SIZE + (p->l4 & MAX_L4);
		if ((void *)(udp + 1) > end || !udp->check)
			return;
	}
	if (in->v6) {
		/* with extension headers there is no checksum: receivers do without */
		if (p->l4 != ETH_SIZE + 40 || l3 + 40 > end)
			return;
		__u64 header = 0;
#pragma unroll
		for (int i = 0; i < 10; i++)
			header += ((__u32 *)l3)[i];
		/* in ones' complement the IPv4 header sums up to ~0, which is 0 */
		pseudo += csum_16_bytes(p->saddr) + csum_16_bytes(p->daddr);
		in->sum = csum_fold(header + (__u16)~csum_fold(pseudo));
	} else {
		in->sum = (__u16)~csum_fold((__u64)p->saddr[0] + p->daddr[0] + pseudo);
	}
	in->summed = 1;
}

/*
 * The identification of an outer packet that may be fragmented: that of the inner packet, mixed with the client's
 * address. (RFC 6864: if a packet may not be fragmented, it has no meaning.)
 */
static __always_inline __be16 outer_id(__be32 client, __be16 inner)
{
	__u32 who = client * 0x9e3779b1u;
	return inner ^ (__u16)(who >> 16);
}

/* ip_vs_prepare_tunneled_skb(): "don't fragment" is that of the inner packet; without pmtu_disc it is not set. */
static __always_inline __be16 outer_df(__be16 frag_off)
{
	return settings.tuning & NO_PMTU_DISC ? 0 : frag_off & bpf_htons(0x4000);
}

static __always_inline void put16(__u8 *at, __be16 v)
{
	*(__be16 *)at = v;
}

/* Builds the outer headers of a packet to a destination. A global function: the verifier checks it only once. */
__noinline int outer_build(struct outer *o, struct packet *p, struct inner *in, __u32 dest)
{
	struct dest *d = dest_at(dest);
	if (!d || !o || !p || !in)
		return -1;
	__u32 kind = d->tunnel, v6 = d->family == 6, ip_len = v6 ? 40 : 20, at = ip_len;
	int csum = (d->tunnel_flags & (TUNNEL_CSUM | TUNNEL_REMCSUM)) && in->summed;
	__u8 protocol = in->protocol;
	__u32 len = ip_len + (kind == TUNNEL_GUE ? 12 : kind == TUNNEL_GRE ? (csum ? 8 : 4) : 0);
	__u32 rest = p->bytes + len - ip_len; /* the length after the outer IP header */
	__u8 *h = o->bytes;
	__builtin_memset(h, 0, sizeof(o->bytes));
	if (kind == TUNNEL_GRE) {
		/* RFC 2784, 2: checksum present, version 0, the Ethertype of the inner protocol */
		h = &o->bytes[at == 40 ? 40 : 20];
		put16(h, csum ? bpf_htons(0x8000) : 0);
		put16(h + 2, in->v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP));
		if (csum)
			put16(h + 4, ~csum_fold((__u64)*(__be16 *)h + *(__be16 *)(h + 2) + in->sum));
		protocol = IPPROTO_GRE;
	} else if (kind == TUNNEL_GUE) {
		h = &o->bytes[at == 40 ? 40 : 20];
		/* the source port differs by flow, for load balancing on the path (ECMP, RSS) */
		__u32 flow = (p->saddr[0] ^ p->saddr[1] ^ p->saddr[2] ^ p->saddr[3] ^
			      ((__u32)p->sport << 16 | p->dport)) * 0x9e3779b1u;
		put16(h, bpf_htons(0xc000 | (flow >> 18)));
		put16(h + 2, d->tunnel_port);
		put16(h + 4, bpf_htons(rest));
		h[8] = 0; /* variant 0, a data packet, no optional fields */
		h[9] = in->protocol;
		if (csum) {
			__u64 sum = csum_16_bytes((__be32 *)h) - *(__be32 *)(h + 12) + in->sum;
			sum += bpf_htonl(IPPROTO_UDP) + bpf_htonl(rest);
			sum += v6 ? csum_16_bytes(d->source) + csum_16_bytes(d->addr)
				  : (__u64)d->source[0] + d->addr[0];
			__u16 check = ~csum_fold(sum);
			put16(h + 6, check ? check : 0xffff);
		}
		protocol = IPPROTO_UDP;
	}
	if (v6) {
		struct ipv6hdr *ip = (void *)o->bytes;
		*(__be32 *)ip = bpf_htonl(6u << 28 | (__u32)in->tos << 20);
		ip->payload_len = bpf_htons(rest);
		ip->nexthdr = protocol;
		ip->hop_limit = in->ttl;
		__builtin_memcpy(&ip->saddr, d->source, 16);
		__builtin_memcpy(&ip->daddr, d->addr, 16);
	} else {
		struct iphdr *ip = (void *)o->bytes;
		ip->version = 4;
		ip->ihl = 5;
		ip->tos = in->tos;
		ip->tot_len = bpf_htons(rest + 20);
		ip->frag_off = in->df;
		ip->id = in->df ? 0 : in->id;
		ip->ttl = in->ttl;
		ip->protocol = protocol;
		ip->saddr = d->source[0];
		ip->daddr = d->addr[0];
		__be32 *w = (void *)ip;
		ip->check = ~csum_fold(csum_16_bytes(w) + w[4]);
	}
	o->len = len;
	return 0;
}

/* Reads the inner header, after its TTL was decremented. */
static __always_inline int inner_parse(void *ctx, int tc, struct packet *p, struct inner *in)
{
	void *l3 = ctx_data(ctx, tc) + ETH_SIZE, *end = ctx_data_end(ctx, tc);
	in->v6 = p->family == 6;
	if (in->v6) {
		struct ipv6hdr *ip = l3;
		if ((void *)(ip + 1) > end)
			return -1;
		in->tos = bpf_ntohl(*(__be32 *)ip) >> 20;
		in->ttl = ip->hop_limit;
		in->protocol = IPPROTO_IPV6;
	} else {
		struct iphdr *ip = l3;
		if ((void *)(ip + 1) > end)
			return -1;
		in->tos = ip->tos;
		in->ttl = ip->ttl;
		in->protocol = IPPROTO_IPIP;
		in->df = outer_df(ip->frag_off);
		in->id = outer_id(p->saddr[0], ip->id);
	}
	/* a GSO segment would need a checksum for each of its packets */
	if (!tc || !((struct __sk_buff *)ctx)->gso_size)
		inner_csum(p, in, l3, end);
	return 0;
}

static __noinline int xdp_encapsulate(struct xdp_md *ctx, struct outer *o, __u32 v6)
{
	__u32 len = o->len;
	if (len < 20 || len > OUTER_MAX)
		return -1;
	if (bpf_xdp_adjust_head(ctx, -(int)len))
		return -1;
	struct ethhdr *eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return -1;
	eth->h_proto = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	return bpf_xdp_store_bytes(ctx, ETH_SIZE, o->bytes, len);
}

static __noinline int tc_encapsulate(struct __sk_buff *skb, struct outer *o, __u32 v6)
{
	__u32 len = o->len;
	if (len < 20 || len > OUTER_MAX)
		return -1;
	__u8 next = v6 ? o->bytes[6] : o->bytes[9];
	__u64 flags = v6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;
	if (next == IPPROTO_UDP)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_UDP;
	else if (next == IPPROTO_GRE)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_GRE;
	if (bpf_skb_adjust_room(skb, len, BPF_ADJ_ROOM_MAC, flags))
		return -1;
	__be16 proto = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	if (bpf_skb_store_bytes(skb, 12, &proto, 2, 0))
		return -1;
	return bpf_skb_store_bytes(skb, ETH_SIZE, o->bytes, len, 0);
}

static __always_inline int is_ipip4(struct dest *d)
{
	return d->tunnel == TUNNEL_IPIP && d->family == 4;
}

static __always_inline void eth_write(struct ethhdr *eth, const struct next_hop *hop, __be16 proto)
{
	__builtin_memcpy(eth->h_dest, hop->dmac, 6);
	__builtin_memcpy(eth->h_source, hop->smac, 6);
	eth->h_proto = proto;
}

/* The most common tunnel without a copy in memory: XDP, ipip, IPv4 in IPv4. */
static __always_inline __u32 forward_ipip4(struct xdp_md *ctx, __u32 bytes, struct dest *d, const struct next_hop *hop)
{
	__u32 outcome = ttl_decrement(ctx, 0, 0);
	if (outcome != VERDICT_CONTINUE)
		return outcome;
	struct iphdr *ip = (void *)(long)ctx->data + ETH_SIZE;
	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return VERDICT_DROP | REASON_NO_HEADROOM;
	__u32 tos = ip->tos, ttl = ip->ttl, df = outer_df(ip->frag_off);
	__u32 id = df ? 0 : outer_id(ip->saddr, ip->id);
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*ip)))
		return VERDICT_DROP | REASON_NO_HEADROOM;
	struct ethhdr *eth = (void *)(long)ctx->data;
	__be32 *w = (void *)(eth + 1);
	if ((void *)(w + 5) > (void *)(long)ctx->data_end)
		return VERDICT_DROP | REASON_NO_HEADROOM;
	w[0] = bpf_htonl(0x45000000 | tos << 16 | ((bytes + sizeof(*ip)) & 0xffff));
	w[1] = id | df << 16;
	w[2] = bpf_htonl(ttl << 24 | IPPROTO_IPIP << 16);
	w[3] = d->source[0];
	w[4] = d->addr[0];
	((struct iphdr *)w)->check = ~csum_fold(csum_16_bytes(w) + w[4]);
	eth_write(eth, hop, bpf_htons(ETH_P_IP));
	return VERDICT_CONTINUE;
}

static __always_inline int is_ip6ip6(struct dest *d)
{
	return d->tunnel == TUNNEL_IPIP && d->family == 6;
}

/* The same for IPv6 in IPv6. */
static __always_inline __u32 forward_ip6ip6(struct xdp_md *ctx, __u32 bytes, struct dest *d, const struct next_hop *hop)
{
	__u32 outcome = ttl_decrement(ctx, 0, 1);
	if (outcome != VERDICT_CONTINUE)
		return outcome;
	struct ipv6hdr *ip = (void *)(long)ctx->data + ETH_SIZE;
	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return VERDICT_DROP | REASON_NO_HEADROOM;
	__u32 class = bpf_ntohl(*(__be32 *)ip) & 0x0ff00000, hops = ip->hop_limit;
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*ip)))
		return VERDICT_DROP | REASON_NO_HEADROOM;
	struct ethhdr *eth = (void *)(long)ctx->data;
	__be32 *w = (void *)(eth + 1);
	if ((void *)(w + 10) > (void *)(long)ctx->data_end)
		return VERDICT_DROP | REASON_NO_HEADROOM;
	w[0] = bpf_htonl(6u << 28 | class);
	w[1] = bpf_htonl(bytes << 16 | IPPROTO_IPV6 << 8 | hops);
	__builtin_memcpy(w + 2, d->source, 16);
	__builtin_memcpy(w + 6, d->addr, 16);
	eth_write(eth, hop, bpf_htons(ETH_P_IPV6));
	return VERDICT_CONTINUE;
}

static __always_inline __u32 forward_tun(void *ctx, int tc, struct packet *p, __u32 dest, struct dest *d,
					 const struct next_hop *hop)
{
	struct inner in = {};
	struct scratch *scratch = scratch_get();
	__u32 v6 = d->family == 6;
	__u32 outcome = ttl_decrement(ctx, tc, p->family == 6);
	if (outcome != VERDICT_CONTINUE)
		return outcome;
	if (!scratch || inner_parse(ctx, tc, p, &in) || outer_build(&scratch->outer, p, &in, dest))
		return VERDICT_DROP | REASON_NO_HEADROOM;
	if (tc ? tc_encapsulate(ctx, &scratch->outer, v6) : xdp_encapsulate(ctx, &scratch->outer, v6))
		return VERDICT_DROP | REASON_NO_HEADROOM;
	return eth_set_next_hop(ctx, tc, hop);
}

#endif
