/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Connections that began elsewhere, under the kernel's IPVS: taken over as they stand. */
#ifndef EVENKEEL_IMPORT_H
#define EVENKEEL_IMPORT_H

/* Answers of a marked connection need a note. */
static __always_inline void import_reply_tuple(const struct new_conn *n, __u32 number)
{
	struct scratch *scratch = scratch_get();
	struct dest *d = dest_at(n->dest);
	struct service *s = d ? service_at(d->service) : 0;
	if (!scratch || !s || !s->mark || d->method != FORWARD_NAT || !number)
		return;
	struct packet *p = &scratch->quoted;
	__builtin_memset(p, 0, sizeof(*p));
	if (n->key.key1 & KEY_V6) {
		__builtin_memcpy(p->saddr, &n->key.a, 16);
		p->family = 6;
	} else {
		p->saddr[0] = (__u32)n->key.a;
		p->family = 4;
	}
	p->sport = (__u16)n->key.key1;
	p->dport = (__u16)(n->key.key1 >> 16);
	p->protocol = n->key.key1 >> 32 & 0xff;
	reply_tuple_insert(p, n->dest, number);
}

/*
 * Run by user space on a frame of its own, which is a struct fresh: puts it into the table, under its template if it names
 * one. The frame's first word becomes the entry's number + 1, 0 if there was no room. XDP_PASS: it is there already.
 */
SEC("xdp")
int evenkeel_import(struct xdp_md *ctx)
{
	struct new_conn *from = (void *)(long)ctx->data;
	if ((void *)(from + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	struct new_conn n = *from;
	struct lookup_result f = {};
	__u32 number = conn_find(&n.key, (__u32)bpf_jiffies64(), &f);
	int known = number != 0;
	if (!known) {
		struct conn *t = n.control ? conn_at(n.control - 1) : 0;
		if (t)
			__sync_fetch_and_add(&t->control, 1);
		number = conn_insert_retry(&f, &n);
		if (!number && t)
			__sync_fetch_and_add(&t->control, -1);
		if (!(CONN_FLAGS(n.status) & CONN_TEMPLATE))
			import_reply_tuple(&n, number);
	}
	from = (void *)(long)ctx->data;
	if ((void *)(from + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	from->key.a = number;
	return known ? XDP_PASS : XDP_TX;
}

#endif
