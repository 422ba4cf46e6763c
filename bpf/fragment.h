/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Later pieces of a packet go where its first piece went. The kernel's IPVS has packets put together before (nf_defrag);
 * here the connection table remembers for a while which packet, by its addresses and identification (RFC 791, 3.2,
 * RFC 8200, 4.5), went to which destination. A piece that comes before the first one goes to the kernel.
 */
#ifndef EVENKEEL_FRAGMENT_H
#define EVENKEEL_FRAGMENT_H

static __always_inline void fragment_key(struct key *k, struct packet *p)
{
	__u64 protocol = p->family == 6 ? 0 : p->related ? p->related : p->protocol;
	key_make(k, p->client, p->vip, p->family == 6, (__u64)p->id | protocol << 32 | (__u64)KIND_FRAGMENT << 40);
}

/* A first piece has gone to a destination, or come from one, of the connection with this number + 1. */
__noinline int fragment_note(struct packet *p, __u32 dest, __u32 direction, __u32 number)
{
	struct scratch *mine = scratch_get();
	if (!p || !mine)
		return 0;
	struct fresh *n = &mine->begin.fresh;
	fragment_key(&n->key, p);
	if (conn_find(&n->key, (__u32)bpf_jiffies64(), &mine->template.found))
		return 0;
	n->dest = dest;
	n->life = CONN_STATUS(direction, CONN_AUX, 0);
	n->control = number;
	n->timeout = settings.timeout_fragment;
	conn_place(&mine->template.found, n);
	return 0;
}

/* Where a later piece belongs: the number + 1 of its packet's entry. */
__noinline __u32 fragment_find(struct packet *p)
{
	struct scratch *mine = scratch_get();
	if (!p || !mine)
		return 0;
	struct key *k = &mine->begin.fresh.key;
	fragment_key(k, p);
	return conn_find(k, (__u32)bpf_jiffies64(), &mine->template.found);
}

#endif
