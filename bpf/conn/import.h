/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Import of connections that were created elsewhere: by the kernel's IPVS. */
#ifndef EVENKEEL_IMPORT_H
#define EVENKEEL_IMPORT_H

/* Inserts the reply tuple of a connection that needs one. */
static __always_inline void import_reply_tuple(const struct new_conn *n, conn_handle conn)
{
	struct scratch *scratch = scratch_get();
	struct dest *d = dest_at(n->dest);
	struct service *s = d ? service_at(d->service) : 0;
	if (!scratch || !s || d->method != FORWARD_NAT || !has_reply_tuples(s, d) || !conn)
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
	reply_tuple_insert(p, n->dest, conn);
}

/*
 * Run by user space on a frame of its own that is a struct new_conn: inserts it, and adds it to its template if it
 * has one. The program writes the entry's handle to the frame's first eight bytes; 0: there was no slot. XDP_PASS:
 * the connection exists already.
 */
SEC("xdp")
int evenkeel_import(struct xdp_md *ctx)
{
	struct new_conn *frame = (void *)(long)ctx->data;
	if ((void *)(frame + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	struct new_conn n = *frame;
	struct lookup_result r = {};
	conn_handle conn = conn_find(&n.key, (__u32)bpf_jiffies64(), &r);
	int exists = conn != 0;
	if (!exists) {
		struct conn *t = conn_get(n.control);
		if (t)
			__sync_fetch_and_add(&t->control, 1);
		conn = conn_insert_retry(&r, &n);
		if (!conn && t)
			__sync_fetch_and_add(&t->control, -1);
		if (!(CONN_FLAGS(n.status) & CONN_TEMPLATE))
			import_reply_tuple(&n, conn);
	}
	frame = (void *)(long)ctx->data;
	if ((void *)(frame + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	frame->key.a = conn;
	return exists ? XDP_PASS : XDP_TX;
}

#endif
