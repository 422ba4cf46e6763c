/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Firewall marks without a firewall: a packet's destination decides its mark. (Marks that netfilter sets are visible
 * only to a tc program on a device above the one on which they are set.)
 */
#ifndef EVENKEEL_MARK_H
#define EVENKEEL_MARK_H

/* The mark of the first rule that matches; 0: none does. */
static __always_inline __u32 mark_lookup(struct packet *p)
{
	if (!settings.has_mark_rules)
		return 0;
	struct mark_net net = { .prefix = 128 };
	if (p->family == 6) {
		__builtin_memcpy(net.addr, p->daddr, 16);
	} else {
		net.addr[2] = bpf_htonl(0xffff);
		net.addr[3] = p->daddr[0];
	}
	struct mark_rule_set *set = bpf_map_lookup_elem(&mark_rules, &net);
	__u32 port = bpf_ntohs(p->dport);
	if (!set)
		return 0;
	for (int i = 0; i < EK_MARK_RULES; i++) {
		struct mark_rule *rule = &set->of[i];
		if (!rule->mark)
			break;
		if ((!rule->protocol || rule->protocol == p->protocol) && rule->first <= port && port <= rule->last)
			return rule->mark;
	}
	return 0;
}

#endif
