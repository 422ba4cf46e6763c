/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* How a packet leaves for its real server. */
#ifndef EVENKEEL_FORWARD_H
#define EVENKEEL_FORWARD_H

/*
 * Direct routing: only the frame's addresses change, and the TTL (ip_vs_dr_xmit()). The next hop was resolved by user
 * space. Returns REASON_FORWARDED, or why not.
 */
static __always_inline __u32 forward_dr(struct packet *p, struct dest *d, __u32 *ifindex)
{
	__u32 which = READ(d->hop);
	if (which != 1 && which != 2)
		return REASON_NO_HOP;
	struct next_hop *hop = which == 1 ? &d->hops[0] : &d->hops[1];
	struct iphdr *ip = p->ip;
	if (ip->ttl <= 1)
		return REASON_TTL;
	/* RFC 1624, as the kernel's ip_decrease_ttl() */
	__u32 check = ip->check;
	check += bpf_htons(0x0100);
	ip->check = (__u16)(check + (check >= 0xffff));
	ip->ttl--;
	__builtin_memcpy(p->eth->h_dest, hop->dmac, 6);
	__builtin_memcpy(p->eth->h_source, hop->smac, 6);
	*ifindex = hop->ifindex;
	return REASON_FORWARDED;
}

#endif
