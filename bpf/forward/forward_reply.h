/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The stages that forward replies of NAT servers to their clients, and later fragments in both directions. */
#ifndef EVENKEEL_FORWARD_REPLY_H
#define EVENKEEL_FORWARD_REPLY_H

/*
 * Translates a reply back and sends it to its client. Its connection is in scratch->reply.info. With `quoted` the
 * packet is an ICMP error about that packet. `out` is set to the egress device.
 */
static __always_inline __u32 forward_reply(void *ctx, int tc, __u32 ifindex, struct packet *p, struct packet *quoted,
					   __u32 *out)
{
	struct scratch *scratch = scratch_get();
	struct next_hop hop = {};
	if (!scratch)
		return VERDICT_DROP | REASON_NO_ROUTE;
	struct reply *a = &scratch->reply.info;
	int unresolved = reply_route_lookup(ctx, tc, ifindex, p, a, &hop);
	if (!hop.ifindex)
		return VERDICT_DROP | REASON_NO_ROUTE;
	if (!quoted && exceeds_mtu(ctx, tc, p, a->mtu))
		return VERDICT_DROP | REASON_TOO_BIG;
	/* under XDP the kernel forwards an unresolved packet, and decrements the TTL itself */
	__u32 outcome = unresolved && !tc ? VERDICT_CONTINUE : ttl_decrement(ctx, tc, p->family == 6);
	if (outcome != VERDICT_CONTINUE)
		return outcome;
	if (quoted ? icmp_translate(ctx, tc, p, quoted, &a->to) : translate(ctx, tc, p, &a->to))
		return VERDICT_DROP | REASON_NO_HEADROOM;
	if (!unresolved && eth_set_next_hop(ctx, tc, &hop) != VERDICT_CONTINUE)
		return VERDICT_DROP | REASON_NO_HEADROOM;
	*out = hop.ifindex;
	/* the kernel resolves the neighbour, and keeps the packet meanwhile */
	return (unresolved ? VERDICT_SEND_NEIGH : VERDICT_SEND) | REASON_REPLIED;
}

/* A packet to no service: forwards it if it is a reply of a NAT server. */
static __always_inline __u32 handle_reply(void *ctx, int tc, __u32 ifindex, struct packet *p, __u32 *out)
{
	if (!is_reply(p))
		return settings.tuning & NAT_ICMP_SEND && is_unexpected_reply(p) ?
			       VERDICT_DROP | REASON_UNEXPECTED_REPLY :
			       OUTCOME_NOT_OURS;
	if (is_state_event(p) || p->fragment) {
		__u32 check = packet_check(ctx, tc, p);
		if (check != VERDICT_CONTINUE)
			return check;
	}
	struct scratch *scratch = scratch_get();
	if (!scratch)
		return OUTCOME_NOT_OURS;
	struct reply *a = &scratch->reply.info;
	reply_touch(a, p);
	if (p->fragment == FIRST_FRAGMENT)
		fragment_insert(p, a->dest, FROM_SERVER, a->conn);
	return forward_reply(ctx, tc, ifindex, p, 0, out);
}

/* Is the outcome of handle_reply() one that the real server gets an ICMP error for? */
static __always_inline int is_rejected_reply(__u32 outcome)
{
	__u32 reason = outcome_reason(outcome);
	return reason == REASON_UNEXPECTED_REPLY || reason == REASON_TOO_BIG;
}

/* A later fragment: forwards it to where the first fragment went. */
static __always_inline __u32 forward_fragment(void *ctx, int tc, __u32 ifindex, struct packet *p, __u32 *out)
{
	struct scratch *scratch = scratch_get();
	struct conn *e = conn_get(fragment_lookup(p));
	struct dest *d = e ? dest_at(READ_ONCE(e->dest)) : 0;
	struct service *s = d ? service_at(d->service) : 0;
	if (!scratch || !s)
		return VERDICT_PASS | REASON_FRAGMENT;
	__u32 check = packet_check(ctx, tc, p);
	if (check != VERDICT_CONTINUE)
		return check;
	if (CONN_STATE(READ_ONCE(e->status)) == FROM_CLIENT) {
		count_in(d->service, e->dest, p->bytes);
		return forward(ctx, tc, p, e->dest, out);
	}
	struct reply *a = &scratch->reply.info;
	__builtin_memset(a, 0, sizeof(*a));
	if (s->mark)
		conn_vip(READ_ONCE(e->control), a->to.addr);
	else
		__builtin_memcpy(a->to.addr, s->addr, 16);
	a->to.source = 1;
	count_out(d->service, e->dest, p->bytes);
	return forward_reply(ctx, tc, ifindex, p, 0, out);
}

#endif
