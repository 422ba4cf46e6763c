/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Fast path: the last steps of a packet, which write its frame. */
#ifndef EVENKEEL_FAST_SEND_H
#define EVENKEEL_FAST_SEND_H

/*
 * ttl_decrement() and eth_set_next_hop(); both MAC addresses are copied at once, since they are adjacent in both
 * places.
 */
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

/* Translates the source or destination of a packet with whole headers. */
static __always_inline void fast_translate(void *frame, void *l4, void *end, int v6, __u32 protocol, int source,
					   const __be32 *addr, __be16 port)
{
	void *ip = frame + ETH_SIZE;
	nat_set_port(l4, end, protocol, source, port,
		     v6 ? nat_set_addr6(ip, source, addr) : nat_set_addr4(ip, source, addr[0]));
}

/*
 * A destination's next hop. 0: it has none that the fast path can use, or a packet of this length exceeds the path
 * MTU.
 */
static __always_inline struct next_hop *fast_next_hop(struct dest *d, int tc, __u32 bytes)
{
	__u32 which = READ_ONCE(d->hop), mtu = d->mtu;
	if (!(READ_ONCE(d->flags) & DEST_AVAILABLE) || (which != 1 && which != 2))
		return 0;
	struct next_hop *hop = which == 2 ? &d->hops[1] : &d->hops[0];
	return (!tc && (hop->ifindex & EK_HOP_VLAN)) || (mtu && bytes > mtu) ? 0 : hop;
}

#endif
