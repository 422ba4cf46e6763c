/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The less common stages, as functions of the tc program, and its action for an outcome: see stages/xdp.h. */
#ifndef EVENKEEL_TC_H
#define EVENKEEL_TC_H

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

static __noinline int tc_handle_reply(struct __sk_buff *skb, struct packet *p)
{
	__u32 out = 0, outcome = handle_reply(skb, 1, skb->ifindex, p, &out);
	if (is_rejected_reply(outcome) && !error_build(skb, 1, p, outcome, NO_DEST)) {
		count_outcome(outcome);
		return bpf_redirect(skb->ifindex, 0);
	}
	return tc_act(outcome, out);
}

static __noinline int tc_fragment(struct __sk_buff *skb, struct packet *p)
{
	__u32 out = 0, outcome = forward_fragment(skb, 1, skb->ifindex, p, &out);
	return tc_act(outcome, out);
}

static __noinline int tc_icmp_schedule(struct __sk_buff *skb, struct packet *p)
{
	return icmp_schedule(skb, 1, p);
}

static __noinline int tc_icmp(struct __sk_buff *skb, struct packet *p)
{
	__u32 out = 0, outcome = forward_icmp(skb, 1, skb->ifindex, p, &out);
	return tc_act(outcome_verdict(outcome) == VERDICT_SEND ? VERDICT_SEND | REASON_ICMP : outcome, out);
}

__noinline int tc_reject(struct __sk_buff *skb, struct packet *p, __u32 outcome, __u32 dest)
{
	if (p && packet_check(skb, 1, p) == VERDICT_CONTINUE && !error_build(skb, 1, p, outcome, dest))
		return bpf_redirect(skb->ifindex, 0);
	return outcome_verdict(outcome) == VERDICT_DROP ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

#endif
