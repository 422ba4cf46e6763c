/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Translating an address and a port, with every checksum that covers them (RFC 1624). In XDP the checksums are whole and
 * are changed in place; in tc they may be half-made, or left to the device, and the kernel's helpers know.
 */
#ifndef EVENKEEL_NAT_H
#define EVENKEEL_NAT_H

#define SCTP_CHECKSUM 8

/* Adds what turns `from` into `to` to a ones' complement difference. */
static __always_inline __u64 csum_diff(__u64 diff, __be32 from, __be32 to)
{
	return diff + (__u32)~from + to;
}

static __always_inline __u16 csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

static __always_inline void csum_apply(__sum16 *check, __u64 diff)
{
	*check = ~csum_fold((__u64)(__u16)~*check + diff);
}

#define CRC32C 0x82f63b78u /* RFC 9260, appendix A, reflected */

/* All ones if the bit is set; opaque, so that no compiler makes a branch of it, whose both sides the verifier walks. */
static __always_inline __u32 mask_if(__u32 bit)
{
	__u32 mask = 0 - bit;
	asm volatile("" : "+r"(mask));
	return mask;
}

static __always_inline __u32 crc_shift(__u32 b)
{
	return b >> 1 ^ (CRC32C & mask_if(b & 1));
}

static __always_inline __u32 crc_multiply(__u32 a, __u32 b)
{
	__u32 product = 0;
	for (int i = 0; i < 32; i++) {
		product ^= b & mask_if(a >> 31);
		a <<= 1;
		b = crc_shift(b);
	}
	return product;
}

/* x to the power of 8 * 2^i, modulo the polynomial: what 2^i more bytes do to a checksum */
static const __u32 crc_bytes[16] = {
	0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c, 0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7,
	0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a, 0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc,
};

/*
 * What a change of an SCTP packet's first four bytes (its ports, as they lie there) does to its CRC32c: the checksum is
 * linear, so the difference alone is taken through the bytes behind it.
 */
__noinline __u32 sctp_crc_change(__u32 difference, __u32 bytes_behind)
{
	__u32 crc = difference;
	for (int i = 0; i < 32; i++)
		crc = crc_shift(crc);
	for (int i = 0; i < 16; i++) {
		__u32 use = mask_if(bytes_behind >> i & 1);
		crc = (crc_multiply(crc_bytes[i & 15], crc) & use) | (crc & ~use);
	}
	return crc;
}

static __always_inline __u32 sctp_bytes_after_ports(struct packet *p)
{
	return (p->bytes - (p->l4 - ETH_SIZE) - 4) & 0xffff;
}

/* Both ports as they lie in the header, one of them replaced. */
static __always_inline __u32 ports_replace(__u32 ports, __be16 port, int source)
{
	return source ? (ports & 0xffff0000) | port : (ports & 0xffff) | (__u32)port << 16;
}

/* An address in a whole header; `diff` takes what that changes for the checksum behind it. */
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

/* A port of TCP or UDP, of which 8 bytes are there, and the checksum. */
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
	if (udp->check) { /* RFC 768: none was made */
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
		__u32 *ports = l4, was = *ports, now = ports_replace(was, t->port, t->source), *crc = l4 + SCTP_CHECKSUM;
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
		/* IPv6 has no header checksum that would make up for it in one of the whole packet */
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

static __always_inline int translate(void *ctx, int tc, struct packet *p, struct translation *t)
{
	return tc ? tc_translate(ctx, p, t) : xdp_translate(ctx, p, t);
}


/* To a real server: its address and port (ip_vs_nat_xmit()). */
static __always_inline __u32 forward_nat(void *ctx, int tc, struct packet *p, struct dest *d, const struct next_hop *hop)
{
	struct translation t = { .port = nat_port(d, p->dport), .ports = p->fragment != LATER_FRAGMENT && !p->ipsec };
	__builtin_memcpy(t.addr, d->addr, 16);
	__u32 reason = ttl_decrement(ctx, tc, p->family == 6);
	if (reason != REASON_FORWARDED)
		return reason;
	if (translate(ctx, tc, p, &t))
		return REASON_NO_HEADROOM;
	return eth_set_next_hop(ctx, tc, hop);
}

#endif
