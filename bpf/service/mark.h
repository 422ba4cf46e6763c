/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Firewall marks without a firewall: which packets have one is said by their destination. (Those that netfilter gives are
 * seen only where it comes before us: in tc, on a device above the one that marks.)
 */
#ifndef EVENKEEL_MARK_H
#define EVENKEEL_MARK_H

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
	struct mark_rule_set *m = bpf_map_lookup_elem(&mark_rules, &net);
	__u32 port = bpf_ntohs(p->dport);
	if (!m)
		return 0;
	for (int i = 0; i < EK_MARK_RULES; i++) {
		struct mark_rule *one = &m->of[i];
		if (!one->mark)
			break;
		if ((!one->protocol || one->protocol == p->protocol) && one->first <= port && port <= one->last)
			return one->mark;
	}
	return 0;
}

#endif
