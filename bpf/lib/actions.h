/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* From a stage's outcome to an action of XDP or tc; counts the packet. */
#ifndef EVENKEEL_ACTIONS_H
#define EVENKEEL_ACTIONS_H

/* Is the outcome of handle_reply() one that the real server gets an ICMP error for? */
static __always_inline int is_rejected_reply(__u32 outcome)
{
	__u32 reason = outcome_reason(outcome);
	return reason == REASON_UNEXPECTED_REPLY || reason == REASON_TOO_BIG;
}

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

static __always_inline int tc_act(__u32 outcome, __u32 out)
{
	if (outcome == OUTCOME_NOT_OURS)
		return TC_ACT_UNSPEC;
	count_outcome(outcome);
	if (outcome_verdict(outcome) == VERDICT_SEND_NEIGH)
		return bpf_redirect_neigh(out, 0, 0, 0);
	if (outcome_verdict(outcome) == VERDICT_SEND)
		return bpf_redirect(out & ~EK_HOP_VLAN, 0);
	return outcome_verdict(outcome) == VERDICT_DROP ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

#endif
