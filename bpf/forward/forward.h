/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The stage that forwards a packet to its destination, by the destination's forwarding method (ip_vs_xmit.c). */
#ifndef EVENKEEL_FORWARD_H
#define EVENKEEL_FORWARD_H

/* Direct routing: only the frame's addresses and the TTL change (ip_vs_dr_xmit()). */
static __always_inline __u32 forward_dr(void *ctx, int tc, struct packet *p, const struct next_hop *hop)
{
	__u32 outcome = ttl_decrement(ctx, tc, p->family == 6);
	return outcome == VERDICT_CONTINUE ? eth_set_next_hop(ctx, tc, hop) : outcome;
}

/* The outcome of the last step. */
static __always_inline __u32 forwarded(__u32 outcome)
{
	return outcome == VERDICT_CONTINUE ? OUTCOME_FORWARDED : outcome;
}

/* Forwards a packet to a destination. `ifindex` is set to the egress device. */
static __always_inline __u32 forward(void *ctx, int tc, struct packet *p, __u32 dest, __u32 *ifindex)
{
	struct dest *d = dest_at(dest);
	struct next_hop hop;
	if (!d)
		return VERDICT_DROP | REASON_DEST_UNAVAILABLE;
	if (!next_hop_get(d, &hop))
		return READ_ONCE(d->hop) == HOP_LOCAL ? VERDICT_PASS | REASON_LOCAL : VERDICT_DROP | REASON_NO_NEXT_HOP;
	*ifindex = hop.ifindex;
	if (exceeds_mtu(ctx, tc, p, d->mtu))
		return VERDICT_DROP | REASON_TOO_BIG;
	switch (d->method) {
	case FORWARD_DR:
		return forwarded(forward_dr(ctx, tc, p, &hop));
	case FORWARD_NAT:
		return forwarded(forward_nat(ctx, tc, p, d, &hop));
	case FORWARD_TUN:
		if (!tc && is_ipip4(d) && p->family == 4)
			return forwarded(forward_ipip4(ctx, p->bytes, d, &hop));
		if (!tc && is_ip6ip6(d) && p->family == 6)
			return forwarded(forward_ip6ip6(ctx, p->bytes, d, &hop));
		return forwarded(forward_tun(ctx, tc, p, dest, d, &hop));
	default:
		return VERDICT_DROP | REASON_NO_NEXT_HOP;
	}
}

#endif
