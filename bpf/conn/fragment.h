/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Later pieces of a packet go where its first piece went. The kernel's IPVS has packets put together before (nf_defrag);
 * here the connection table remembers for a while which packet, by its addresses and identification (RFC 791, 3.2,
 * RFC 8200, 4.5), went to which destination. A piece that comes before the first one goes to the kernel.
 */
#ifndef EVENKEEL_FRAGMENT_H
#define EVENKEEL_FRAGMENT_H

static __always_inline void fragment_key(struct conn_key *k, struct packet *p)
{
	__u64 protocol = p->family == 6 ? 0 : p->ipsec ? p->ipsec : p->protocol;
	key_make(k, p->saddr, p->daddr, p->family == 6, (__u64)p->id | protocol << 32 | (__u64)KIND_FRAGMENT << 40);
}

/* A first piece has gone to a destination, or come from one, of the connection with this number + 1. */
__noinline int fragment_insert(struct packet *p, __u32 dest, __u32 direction, __u32 number)
{
	struct scratch *scratch = scratch_get();
	if (!p || !scratch)
		return 0;
	struct new_conn *n = &scratch->create.conn;
	fragment_key(&n->key, p);
	if (conn_find(&n->key, (__u32)bpf_jiffies64(), &scratch->persistence.lookup))
		return 0;
	n->dest = dest;
	n->status = CONN_STATUS(direction, CONN_AUX, 0);
	n->control = number;
	n->timeout = settings.timeout_fragment;
	conn_insert_retry(&scratch->persistence.lookup, n);
	return 0;
}

/* Where a later piece belongs: the number + 1 of its packet's entry. */
__noinline __u32 fragment_lookup(struct packet *p)
{
	struct scratch *scratch = scratch_get();
	if (!p || !scratch)
		return 0;
	struct conn_key *k = &scratch->create.conn.key;
	fragment_key(k, p);
	return conn_find(k, (__u32)bpf_jiffies64(), &scratch->persistence.lookup);
}

#endif
