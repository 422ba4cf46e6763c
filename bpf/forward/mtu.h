/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Next hops of destinations, and the path MTU. */
#ifndef EVENKEEL_MTU_H
#define EVENKEEL_MTU_H

/* Copies a destination's next hop. 0: it is not known. */
static __always_inline int next_hop_get(struct dest *d, struct next_hop *hop)
{
	__u32 which = READ_ONCE(d->hop);
	if (which != 1 && which != 2)
		return 0;
	*hop = which == 1 ? d->hops[0] : d->hops[1];
	return 1;
}

/* The length of the packets into which the device will segment a GSO packet. */
static __always_inline __u32 segment_bytes(struct __sk_buff *skb, struct packet *p)
{
	__u8 *l4 = ctx_data(skb, 1) + (p->l4 & MAX_L4);
	__u32 header = 8;
	if (p->protocol == IPPROTO_TCP && (void *)(l4 + 13) <= ctx_data_end(skb, 1))
		header = (l4[12] >> 4) * 4;
	return p->l4 - ETH_SIZE + header + skb->gso_size;
}

/*
 * Is the packet larger than the path MTU? It cannot be fragmented here, whether it allows it or not: the sender gets
 * an ICMP error in any case, and sends smaller packets or fragments them itself.
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

#endif
