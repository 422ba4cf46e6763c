/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Outcome: what a stage of the pipeline decides about a packet, and why. It is one word: verdict | reason. The reason
 * (enum reason) is what the packet is counted under, and says which error its sender gets.
 */
#ifndef EVENKEEL_OUTCOME_H
#define EVENKEEL_OUTCOME_H

enum verdict {
	VERDICT_CONTINUE = 0,        /* the next stage handles the packet; there is no reason yet */
	VERDICT_PASS = 1 << 8,       /* to the kernel's network stack, unchanged */
	VERDICT_DROP = 2 << 8,       /* with an ICMP error or a RST to the sender, if the reason calls for one */
	VERDICT_SEND = 3 << 8,       /* out by a device */
	VERDICT_SEND_NEIGH = 4 << 8, /* the same, after the kernel has resolved the neighbour */
	VERDICT_RESCHEDULE = 5 << 8, /* the connection ended, and its packet may create another one */
};

#define OUTCOME_NOT_OURS (VERDICT_PASS | REASON_NOT_OURS)
#define OUTCOME_FORWARDED (VERDICT_SEND | REASON_FORWARDED)

static __always_inline __u32 outcome_verdict(__u32 outcome)
{
	return outcome & ~0xffu;
}

static __always_inline __u32 outcome_reason(__u32 outcome)
{
	return outcome & 0xff;
}

static __always_inline void count_reason(__u32 reason)
{
	__u64 *n = bpf_map_lookup_elem(&packet_counters, &reason);
	if (n)
		(*n)++;
}

static __always_inline void count_outcome(__u32 outcome)
{
	count_reason(outcome_reason(outcome));
}

#endif
