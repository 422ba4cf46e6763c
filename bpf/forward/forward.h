/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * How a packet leaves for its real server, by the forwarding method of ip_vs_xmit.c. One text for both shells: `tc` is a
 * constant wherever these functions are used.
 */
#ifndef EVENKEEL_FORWARD_H
#define EVENKEEL_FORWARD_H

static __always_inline void *ctx_data(void *ctx, int tc)
{
	return (void *)(long)(tc ? ((struct __sk_buff *)ctx)->data : ((struct xdp_md *)ctx)->data);
}

static __always_inline void *ctx_data_end(void *ctx, int tc)
{
	return (void *)(long)(tc ? ((struct __sk_buff *)ctx)->data_end : ((struct xdp_md *)ctx)->data_end);
}

/* Room for the next headers in the linear part: 0 if they are there. */
static __always_inline int pull_headers(void *ctx, int tc, __u32 bytes)
{
	struct __sk_buff *skb = ctx;
	if (!tc)
		return 0;
	__u32 there = skb->data_end - skb->data, len = skb->len;
	if (len < bytes)
		bytes = len;
	return there >= bytes ? 0 : bpf_skb_pull_data(skb, bytes);
}

/* A known next hop, copied out of its destination; 0 if there is none. */
static __always_inline int next_hop_get(struct dest *d, struct next_hop *hop)
{
	__u32 which = READ_ONCE(d->hop);
	if (which != 1 && which != 2)
		return 0;
	*hop = which == 1 ? d->hops[0] : d->hops[1];
	return 1;
}

/* RFC 1624, as the kernel's ip_decrease_ttl(). */
static __always_inline void ttl_decrement4(struct iphdr *ip)
{
	__u32 check = ip->check;
	check += bpf_htons(0x0100);
	ip->check = (__u16)(check + (check >= 0xffff));
	ip->ttl--;
}

/* One hop more. Returns REASON_FORWARDED or REASON_TTL. */
static __always_inline __u32 ttl_decrement(void *ctx, int tc, int v6)
{
	void *l3 = ctx_data(ctx, tc) + ETH_SIZE, *end = ctx_data_end(ctx, tc);
	if (v6) {
		struct ipv6hdr *ip = l3;
		if ((void *)(ip + 1) > end || ip->hop_limit <= 1)
			return REASON_TTL;
		ip->hop_limit--;
		return REASON_FORWARDED;
	}
	struct iphdr *ip = l3;
	if ((void *)(ip + 1) > end || ip->ttl <= 1)
		return REASON_TTL;
	ttl_decrement4(ip);
	return REASON_FORWARDED;
}

static __always_inline __u32 eth_set_next_hop(void *ctx, int tc, const struct next_hop *hop)
{
	struct ethhdr *eth = ctx_data(ctx, tc);
	if ((void *)(eth + 1) > ctx_data_end(ctx, tc))
		return REASON_NO_HEADROOM;
	__builtin_memcpy(eth->h_dest, hop->dmac, 6);
	__builtin_memcpy(eth->h_source, hop->smac, 6);
	return REASON_FORWARDED;
}

/* How long the packets are that a large segment of the stack's will be cut into by its device. */
static __always_inline __u32 segment_bytes(struct __sk_buff *skb, struct packet *p)
{
	__u8 *l4 = ctx_data(skb, 1) + (p->l4 & MAX_L4);
	__u32 header = 8;
	if (p->protocol == IPPROTO_TCP && (void *)(l4 + 13) <= ctx_data_end(skb, 1))
		header = (l4[12] >> 4) * 4;
	return p->l4 - ETH_SIZE + header + skb->gso_size;
}

/*
 * Is it more than its way takes? Nothing can be cut here, whether the packet allows it or not: its sender is told in any
 * case, and sends smaller ones or cuts them itself.
 */
static __always_inline int exceeds_mtu(void *ctx, int tc, struct packet *p, __u32 mtu)
{
	__u32 bytes = p->bytes;
	if (!mtu || bytes <= mtu)
		return 0;
	if (tc && ((struct __sk_buff *)ctx)->gso_size)
		bytes = segment_bytes(ctx, p);
	return bytes > mtu;
}

/* Direct routing: only the frame's addresses change, and the TTL (ip_vs_dr_xmit()). */
static __always_inline __u32 forward_dr(void *ctx, int tc, struct packet *p, const struct next_hop *hop)
{
	__u32 reason = ttl_decrement(ctx, tc, p->family == 6);
	return reason == REASON_FORWARDED ? eth_set_next_hop(ctx, tc, hop) : reason;
}

#endif
