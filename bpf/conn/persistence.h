/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Persistence: templates, the entries that bind a client's network to a server (ip_vs_sched_persist()). */
#ifndef EVENKEEL_PERSISTENCE_H
#define EVENKEEL_PERSISTENCE_H

/* The key of a client network's template. For port 21 and port 0 one template is for all ports of the service. */
static __always_inline void template_key(struct conn_key *k, struct service *s, struct packet *p)
{
	__be32 net[4];
#pragma unroll
	for (int i = 0; i < 4; i++)
		net[i] = p->saddr[i] & s->persist_mask[i];
	__be16 port = s->port == bpf_htons(21) ? 0 : s->port;
	if (s->mark) {
		/* ip_vs_sched_persist(): the mark replaces address and port; the protocol is IPPROTO_IP */
		__be32 mark[4] = { bpf_htonl(s->mark) };
		key_make(k, net, mark, p->family == 6, conn_key1(0, 0, 0, KIND_TEMPLATE));
		return;
	}
	key_make(k, net, p->daddr, p->family == 6, conn_key1(0, port, p->protocol, KIND_TEMPLATE));
}

/* Adds a connection to a template, which renews it. Returns the template's destination. */
static __always_inline __u32 template_add_conn(struct service *s, conn_handle template, __u32 now)
{
	struct conn *t = conn_get(template);
	if (!t)
		return NO_DEST;
	__sync_fetch_and_add(&t->control, 1);
	t->expires = now + s->persist_timeout;
	return t->dest;
}

static __always_inline void template_remove_conn(conn_handle template)
{
	struct conn *t = conn_get(template);
	if (t)
		__sync_fetch_and_add(&t->control, -1);
}

/*
 * The template of the client's network, as ip_vs_sched_persist() finds it; 0: none. The slot for a new one is kept for
 * template_insert().
 */
__noinline conn_handle template_lookup(__u32 service, struct packet *p)
{
	struct service *s = service_at(service);
	struct scratch *scratch = scratch_get();
	if (!s || !p || !scratch)
		return 0;
	__u32 now = (__u32)bpf_jiffies64();
	struct lookup_result *r = &scratch->persistence.lookup;
	struct conn_key *k = &scratch->persistence.conn.key;
	template_key(k, s, p);
	conn_handle template = conn_find(k, now, r);
	struct conn *t = conn_get(template);
	struct dest *d = t ? dest_at(t->dest) : 0;
	int quiesced = (settings.tuning & EXPIRE_QUIESCENT_TEMPLATE) && d && READ_ONCE(d->weight) == 0;
	if (t && (!d || !(READ_ONCE(d->flags) & DEST_AVAILABLE) || quiesced)) {
		/*
		 * ip_vs_check_template(): its server is gone; it is kept under another key for the connections it
		 * controls
		 */
		__u64 key1 = k->key1;
		__u64 dead = (key1 & ~KEY_KIND) | (__u64)KIND_DEAD_TEMPLATE << 40;
		__sync_val_compare_and_swap(&t->key1, key1, dead);
		template = conn_find(k, now, r);
	}
	return template;
}

/* Inserts a template where template_lookup() found none. It may be another CPU's; 0: there is no slot. */
__noinline conn_handle template_insert(__u32 service, __u32 dest)
{
	struct service *s = service_at(service);
	struct scratch *scratch = scratch_get();
	if (!s || !scratch)
		return 0;
	struct new_conn *n = &scratch->persistence.conn;
	n->dest = dest;
	n->status = CONN_STATUS(TCP_NONE, CONN_TEMPLATE, 0);
	n->timeout = s->persist_timeout;
	n->control = 0;
	return conn_insert(&scratch->persistence.lookup, n);
}

/* The destination of a client's template; NO_DEST without one. */
static __always_inline __u32 template_dest(struct service *s, struct packet *p, struct scratch *scratch)
{
	struct conn_key *k = &scratch->persistence.conn.key;
	template_key(k, s, p);
	struct conn *t = conn_get(conn_find(k, (__u32)bpf_jiffies64(), &scratch->persistence.lookup));
	__u32 dest = t ? READ_ONCE(t->dest) : NO_DEST;
	struct dest *d = dest_at(dest);
	return d && (READ_ONCE(d->flags) & DEST_AVAILABLE) ? dest : NO_DEST;
}

#endif
