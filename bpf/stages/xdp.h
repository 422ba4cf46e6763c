/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The less common stages, as functions of the XDP program, and its action for an outcome. They are no part of the
 * program's entry point, so that their stack is in use only while they run.
 */
#ifndef EVENKEEL_XDP_H
#define EVENKEEL_XDP_H

/* A result of the slow path (see ACTION_BITS); `out` is the egress device. */
static __always_inline __u32 xdp_act(__u32 outcome, __u32 out)
{
	if (outcome == OUTCOME_NOT_OURS)
		return XDP_PASS;
	count_outcome(outcome);
	if (outcome_verdict(outcome) == VERDICT_SEND)
		return xdp_send(out);
	/* VERDICT_SEND_NEIGH: the kernel resolves the neighbour, and sends */
	return outcome_verdict(outcome) == VERDICT_DROP ? XDP_DROP : XDP_PASS;
}

static __noinline __u32 xdp_handle_reply(struct xdp_md *ctx, struct packet *p)
{
	__u32 out = 0, outcome = handle_reply(ctx, 0, ingress_device(ctx, p), p, &out);
	if (is_rejected_reply(outcome) && !error_build(ctx, 0, p, outcome, NO_DEST)) {
		count_outcome(outcome);
		return xdp_send(0);
	}
	return xdp_act(outcome, out);
}

static __noinline __u32 xdp_fragment(struct xdp_md *ctx, struct packet *p)
{
	__u32 out = 0, outcome = forward_fragment(ctx, 0, ingress_device(ctx, p), p, &out);
	return xdp_act(outcome, out);
}

static __noinline int xdp_icmp_schedule(struct xdp_md *ctx, struct packet *p)
{
	return icmp_schedule(ctx, 0, p);
}

static __noinline __u32 xdp_icmp(struct xdp_md *ctx, struct packet *p)
{
	__u32 out = 0, outcome = forward_icmp(ctx, 0, ingress_device(ctx, p), p, &out);
	return xdp_act(outcome_verdict(outcome) == VERDICT_SEND ? VERDICT_SEND | REASON_ICMP : outcome, out);
}

/* A packet that does not go to a real server: its sender may get an ICMP error or a RST. */
__noinline __u32 xdp_reject(struct xdp_md *ctx, struct packet *p, __u32 outcome, __u32 dest)
{
	if (p && packet_check(ctx, 0, p) == VERDICT_CONTINUE && !error_build(ctx, 0, p, outcome, dest))
		return xdp_send(0);
	return outcome_verdict(outcome) == VERDICT_DROP ? XDP_DROP : XDP_PASS;
}

#endif
