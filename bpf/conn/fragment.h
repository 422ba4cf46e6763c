/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Fragments: later fragments go where the first fragment of their packet went. The kernel's IPVS has packets
 * reassembled before (nf_defrag). Here an auxiliary entry remembers for a while to which destination a packet went,
 * by its addresses and identification (RFC 791, 3.2; RFC 8200, 4.5). A fragment that arrives before the first one is
 * passed to the kernel.
 */
#ifndef EVENKEEL_FRAGMENT_H
#define EVENKEEL_FRAGMENT_H

static __always_inline void fragment_key(struct conn_key *k, struct packet *p)
{
	__u64 protocol = p->family == 6 ? 0 : p->ipsec ? p->ipsec : p->protocol;
	key_make(k, p->saddr, p->daddr, p->family == 6, (__u64)p->id | protocol << 32 | (__u64)KIND_FRAGMENT << 40);
}

/* After a first fragment went to a destination, or came from one. `conn` is its connection. */
__noinline int fragment_insert(struct packet *p, __u32 dest, __u32 direction, conn_handle conn)
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
	n->control = conn;
	n->timeout = settings.timeout_fragment;
	conn_insert_retry(&scratch->persistence.lookup, n);
	return 0;
}

/* The entry of a later fragment's packet. Its state is the direction, its `control` the connection. */
__noinline conn_handle fragment_lookup(struct packet *p)
{
	struct scratch *scratch = scratch_get();
	if (!p || !scratch)
		return 0;
	struct conn_key *k = &scratch->create.conn.key;
	fragment_key(k, p);
	return conn_find(k, (__u32)bpf_jiffies64(), &scratch->persistence.lookup);
}

#endif
