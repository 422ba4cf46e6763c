/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Connections that began elsewhere, under the kernel's IPVS: taken over as they stand. */
#ifndef EVENKEEL_ADOPT_H
#define EVENKEEL_ADOPT_H

/*
 * Run by user space on a frame of its own, which is a struct fresh: puts it into the table, under its template if it names
 * one. The frame's first word becomes the entry's number + 1, 0 if there was no room. XDP_PASS: it is there already.
 */
SEC("xdp")
int evenkeel_adopt(struct xdp_md *ctx)
{
	struct fresh *from = (void *)(long)ctx->data;
	if ((void *)(from + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	struct fresh n = *from;
	struct found f = {};
	__u32 number = conn_find(&n.key, (__u32)bpf_jiffies64(), &f);
	int known = number != 0;
	if (!known) {
		struct conn *t = n.control ? conn_at(n.control - 1) : 0;
		if (t)
			__sync_fetch_and_add(&t->control, 1);
		number = conn_place(&f, &n);
		if (!number && t)
			__sync_fetch_and_add(&t->control, -1);
	}
	from = (void *)(long)ctx->data;
	if ((void *)(from + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	from->key.a = number;
	return known ? XDP_PASS : XDP_TX;
}

#endif
