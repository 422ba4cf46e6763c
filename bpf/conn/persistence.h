/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Persistence: the template that binds a client's network to a server (ip_vs_sched_persist()). */
#ifndef EVENKEEL_PERSISTENCE_H
#define EVENKEEL_PERSISTENCE_H

/* The key of a client network's template. Port 21 and port 0 bind every port of the client to one server. */
static __always_inline void template_key(struct conn_key *k, struct service *s, struct packet *p)
{
	__be32 net[4];
#pragma unroll
	for (int i = 0; i < 4; i++)
		net[i] = p->saddr[i] & s->persist_mask[i];
	__be16 port = s->port == bpf_htons(21) ? 0 : s->port;
	if (s->mark) {
		/* ip_vs_sched_persist(): the mark stands for address and port, in the protocol IPPROTO_IP */
		__be32 mark[4] = { bpf_htonl(s->mark) };
		key_make(k, net, mark, p->family == 6, conn_key1(0, 0, 0, KIND_TEMPLATE));
		return;
	}
	key_make(k, net, p->daddr, p->family == 6, conn_key1(0, port, p->protocol, KIND_TEMPLATE));
}

/* Takes a connection under a template, and renews it. */
static __always_inline __u32 template_add_conn(struct service *s, __u32 number, __u32 now)
{
	struct conn *t = number ? conn_at(number - 1) : 0;
	if (!t)
		return NO_DEST;
	__sync_fetch_and_add(&t->control, 1);
	t->expires = now + s->persist_timeout; /* each new connection renews it */
	return t->dest;
}

/* Takes back that one was taken under it. */
static __always_inline void template_remove_conn(__u32 number)
{
	struct conn *t = number ? conn_at(number - 1) : 0;
	if (t)
		__sync_fetch_and_add(&t->control, -1);
}

/*
 * The template of this client's network, as ip_vs_sched_persist() finds it: its number + 1, or 0. The place for one is
 * kept for template_make().
 */
__noinline __u32 template_lookup(__u32 service, struct packet *p)
{
	struct service *s = service_at(service);
	struct scratch *scratch = scratch_get();
	if (!s || !p || !scratch)
		return 0;
	__u32 now = (__u32)bpf_jiffies64();
	struct lookup_result *f = &scratch->persistence.lookup;
	struct conn_key *k = &scratch->persistence.conn.key;
	template_key(k, s, p);
	__u32 number = conn_find(k, now, f);
	struct conn *t = number ? conn_at(number - 1) : 0;
	struct dest *d = t ? dest_at(t->dest) : 0;
	int quiet = (settings.tuning & EXPIRE_QUIESCENT_TEMPLATE) && d && READ_ONCE(d->weight) == 0;
	if (t && (!d || !(READ_ONCE(d->flags) & DEST_AVAILABLE) || quiet)) {
		/* ip_vs_check_template(): its server is gone; keep it out of sight for what it still controls */
		__u64 key1 = k->key1;
		__u64 dead = (key1 & ~(0x7full << 40)) | (__u64)KIND_DEAD_TEMPLATE << 40;
		__sync_val_compare_and_swap(&t->key1, key1, dead);
		number = conn_find(k, now, f);
	}
	return number;
}

/* A new template where template_find() found none. Its number + 1, which may be another CPU's; 0 without room. */
__noinline __u32 template_insert(__u32 service, __u32 dest)
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

#endif
