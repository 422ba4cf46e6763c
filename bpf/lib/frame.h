/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Frame access that is the same in XDP and tc. These functions take the program's context and `tc`, which is a constant
 * wherever they are used, so that each program contains its own half only.
 */
#ifndef EVENKEEL_FRAME_H
#define EVENKEEL_FRAME_H

#define ETH_SIZE 14

static __always_inline void *ctx_data(void *ctx, int tc)
{
	return (void *)(long)(tc ? ((struct __sk_buff *)ctx)->data : ((struct xdp_md *)ctx)->data);
}

static __always_inline void *ctx_data_end(void *ctx, int tc)
{
	return (void *)(long)(tc ? ((struct __sk_buff *)ctx)->data_end : ((struct xdp_md *)ctx)->data_end);
}

/*
 * The length of an IP packet: that of its header, since a short frame is padded (IEEE 802.3, 3.2.8: 46 bytes at least).
 * In tc the length of the buffer instead, if the packet is a GSO packet, whose header may say 0, or if the header says more.
 */
static __always_inline __u32 ip_length(void *ctx, int tc, __u32 header_length)
{
	if (!tc)
		return header_length;
	struct __sk_buff *skb = ctx;
	__u32 buffer = skb->len - ETH_SIZE;
	return skb->gso_size || header_length > buffer ? buffer : header_length;
}

/* tc: makes the first bytes of a packet linear, as far as it has them. 0 on success. */
static __always_inline int pull_headers(void *ctx, int tc, __u32 bytes)
{
	struct __sk_buff *skb = ctx;
	if (!tc)
		return 0;
	__u32 linear = skb->data_end - skb->data, len = skb->len;
	if (len < bytes)
		bytes = len;
	return linear >= bytes ? 0 : bpf_skb_pull_data(skb, bytes);
}

/* RFC 1624, as in the kernel's ip_decrease_ttl(). */
static __always_inline void ttl_decrement4(struct iphdr *ip)
{
	__u32 check = ip->check;
	check += bpf_htons(0x0100);
	ip->check = (__u16)(check + (check >= 0xffff));
	ip->ttl--;
}

/* The outcome is VERDICT_CONTINUE unless the TTL expires here. */
static __always_inline __u32 ttl_decrement(void *ctx, int tc, int v6)
{
	void *l3 = ctx_data(ctx, tc) + ETH_SIZE, *end = ctx_data_end(ctx, tc);
	if (v6) {
		struct ipv6hdr *ip = l3;
		if ((void *)(ip + 1) > end || ip->hop_limit <= 1)
			return VERDICT_DROP | REASON_TTL;
		ip->hop_limit--;
		return VERDICT_CONTINUE;
	}
	struct iphdr *ip = l3;
	if ((void *)(ip + 1) > end || ip->ttl <= 1)
		return VERDICT_DROP | REASON_TTL;
	ttl_decrement4(ip);
	return VERDICT_CONTINUE;
}

/* Addresses the frame to a next hop. */
static __always_inline __u32 eth_set_next_hop(void *ctx, int tc, const struct next_hop *hop)
{
	struct ethhdr *eth = ctx_data(ctx, tc);
	if ((void *)(eth + 1) > ctx_data_end(ctx, tc))
		return VERDICT_DROP | REASON_NO_HEADROOM;
	__builtin_memcpy(eth->h_dest, hop->dmac, 6);
	__builtin_memcpy(eth->h_source, hop->smac, 6);
	return VERDICT_CONTINUE;
}

#endif
