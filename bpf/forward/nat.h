/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * NAT: the translation of an address and a port, and of every checksum that covers them (RFC 1624). In XDP checksums
 * are complete and are updated in place. In tc they may be partial or left to the device, which the kernel's helpers
 * handle.
 */
#ifndef EVENKEEL_NAT_H
#define EVENKEEL_NAT_H

#define SCTP_CHECKSUM 8 /* offset in the SCTP header */

static __always_inline __u32 sctp_bytes_after_ports(struct packet *p)
{
	return (p->bytes - (p->l4 - ETH_SIZE) - 4) & 0xffff;
}

/* Both ports, as in the header, with one of them replaced. */
static __always_inline __u32 ports_replace(__u32 ports, __be16 port, int source)
{
	return source ? (ports & 0xffff0000) | port : (ports & 0xffff) | (__u32)port << 16;
}

/* Sets an address of a header. Returns the difference for the checksum of layer 4. */
static __always_inline __u64 nat_set_addr4(struct iphdr *ip, int source, __be32 to)
{
	__be32 *addr = source ? &ip->saddr : &ip->daddr;
	__u64 diff = csum_diff(0, *addr, to);
	*addr = to;
	csum_apply(&ip->check, diff);
	return diff;
}

static __always_inline __u64 nat_set_addr6(struct ipv6hdr *ip, int source, const __be32 *to)
{
	__be32 *addr = source ? ip->saddr.s6_addr32 : ip->daddr.s6_addr32;
	__u64 diff = 0;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		diff = csum_diff(diff, addr[i], to[i]);
		addr[i] = to[i];
	}
	return diff;
}

/*
 * Sets a port of a TCP or UDP header, of which 8 bytes are there, and updates its checksum. -1: the header is not
 * whole.
 */
static __always_inline int nat_set_port(void *l4, void *end, __u8 protocol, int source, __be16 port, __u64 diff)
{
	__u32 *ports = l4, was = *ports, now = ports_replace(was, port, source);
	*ports = now;
	diff = csum_diff(diff, was, now);
	if (protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = l4;
		if ((void *)(tcp + 1) > end)
			return -1;
		csum_apply(&tcp->check, diff);
		return 0;
	}
	struct udphdr *udp = l4;
	if (udp->check) { /* RFC 768: 0 means that there is none */
		csum_apply(&udp->check, diff);
		if (!udp->check)
			udp->check = 0xffff;
	}
	return 0;
}

static __noinline int xdp_translate(struct xdp_md *ctx, struct packet *p, struct translation *t)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 diff = 0;
	if (p->family == 4) {
		struct iphdr *ip = data + ETH_SIZE;
		if ((void *)(ip + 1) > end)
			return -1;
		diff = nat_set_addr4(ip, t->source, t->addr[0]);
	} else {
		struct ipv6hdr *ip = data + ETH_SIZE;
		if ((void *)(ip + 1) > end)
			return -1;
		diff = nat_set_addr6(ip, t->source, t->addr);
	}
	if (!t->ports)
		return 0;
	__u8 protocol = p->protocol;
	void *l4 = data + (p->l4 & MAX_L4);
	if (l4 + 8 > end)
		return -1;
	if (protocol == IPPROTO_SCTP) {
		__u32 *ports = l4, *crc = l4 + SCTP_CHECKSUM;
		__u32 was = *ports, now = ports_replace(was, t->port, t->source);
		if ((void *)(crc + 1) > end)
			return -1;
		*ports = now;
		*crc ^= now == was ? 0 : sctp_crc_change(was ^ now, sctp_bytes_after_ports(p));
		return 0;
	}
	return nat_set_port(l4, end, protocol, t->source, t->port, diff);
}

static __noinline int tc_translate(struct __sk_buff *skb, struct packet *p, struct translation *t)
{
	__u32 l4 = p->l4 & MAX_L4, pseudo;
	__u64 flags = BPF_F_PSEUDO_HDR | (p->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0);
	__u32 check = l4 + (p->protocol == IPPROTO_TCP ? 16 : 6);
	int summed = t->ports && p->protocol != IPPROTO_SCTP;
	__be32 *old = t->source ? p->saddr : p->daddr;
	if (p->family == 4) {
		__u32 at = ETH_SIZE + (t->source ? 12 : 16);
		if (summed && bpf_l4_csum_replace(skb, check, old[0], t->addr[0], flags | 4))
			return -1;
		if (bpf_l3_csum_replace(skb, ETH_SIZE + 10, old[0], t->addr[0], 4) ||
		    bpf_skb_store_bytes(skb, at, t->addr, 4, 0))
			return -1;
	} else {
		__u32 at = ETH_SIZE + (t->source ? 8 : 24);
		pseudo = bpf_csum_diff(old, 16, t->addr, 16, 0);
		if (summed && bpf_l4_csum_replace(skb, check, 0, pseudo, flags))
			return -1;
		/*
		 * IPv6 has no header checksum, whose change would cancel the address in a checksum of the whole
		 * packet
		 */
		if (bpf_skb_store_bytes(skb, at, t->addr, 16, BPF_F_RECOMPUTE_CSUM))
			return -1;
	}
	if (!t->ports)
		return 0;
	__be16 port = t->source ? p->sport : p->dport;
	__u32 at = l4 + (t->source ? 0 : 2);
	if (port == t->port)
		return 0;
	if (summed && bpf_l4_csum_replace(skb, check, port, t->port, (flags & ~(__u64)BPF_F_PSEUDO_HDR) | 2))
		return -1;
	if (p->protocol == IPPROTO_SCTP) {
		__u32 crc, was = (__u32)p->sport | (__u32)p->dport << 16;
		if (bpf_skb_load_bytes(skb, l4 + SCTP_CHECKSUM, &crc, 4))
			return -1;
		crc ^= sctp_crc_change(was ^ ports_replace(was, t->port, t->source), sctp_bytes_after_ports(p));
		if (bpf_skb_store_bytes(skb, l4 + SCTP_CHECKSUM, &crc, 4, 0))
			return -1;
	}
	return bpf_skb_store_bytes(skb, at, &t->port, 2, 0);
}

/* Translates a packet. 0 on success. */
static __always_inline int translate(void *ctx, int tc, struct packet *p, struct translation *t)
{
	return tc ? tc_translate(ctx, p, t) : xdp_translate(ctx, p, t);
}

/* Forwards a client's packet to the address and port of its real server (ip_vs_nat_xmit()). */
static __always_inline __u32 forward_nat(void *ctx, int tc, struct packet *p, struct dest *d,
					 const struct next_hop *hop)
{
	struct translation t = { .port = nat_port(d, p->dport), .ports = p->fragment != LATER_FRAGMENT && !p->ipsec };
	__builtin_memcpy(t.addr, d->addr, 16);
	__u32 outcome = ttl_decrement(ctx, tc, p->family == 6);
	if (outcome != VERDICT_CONTINUE)
		return outcome;
	if (translate(ctx, tc, p, &t))
		return VERDICT_DROP | REASON_NO_HEADROOM;
	return eth_set_next_hop(ctx, tc, hop);
}

#endif
