/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * dh, sh, mh: a lookup in a table that user space has built, by a hash of the destination (dh) or of the client
 * (ip_vs_dh_schedule(), ip_vs_sh_schedule(), ip_vs_mh_schedule()).
 */
#ifndef EVENKEEL_HASH_TABLE_H
#define EVENKEEL_HASH_TABLE_H

/* sh, mh: the table index for an offset, the client's address and, with sh-port or mh-port, its port. */
static __always_inline __u32 hash_index(struct list_walk *w, __u32 offset)
{
	__u32 v = w->port + (__u32)w->flow;
	return w->len == EK_MH_SIZE ? mh_hash(offset + v) % EK_MH_SIZE : (offset + hash_32(v, 8)) & (EK_SH_SIZE - 1);
}

/* ip_vs_sh_get_fallback(), ip_vs_mh_get_fallback(): each index of the table is hashed again. */
static long hash_fallback(__u32 i, struct list_walk *w)
{
	__u32 index, len = w->len;
	if (!len)
		return 1;
	__u32 at = hash_index(w, (i + w->hash) % len);
	struct dest *d = dest_in_list(w->base + at % len, &index);
	if (!d || !is_eligible(d))
		return 0;
	w->dest = index;
	return 1;
}

__noinline __u32 schedule_hash(const struct sched_request *r)
{
	struct service *s = r ? service_at(r->service) : 0;
	if (!s)
		return NO_DEST;
	struct service_half *half = &s->half[READ_ONCE(s->generation) & 1];
	struct list_walk w = list_walk_init(half);
	__u32 index, scheduler = s->scheduler, flags = s->flags;
	w.base = half->table_base;
	w.len = half->table_len;
	if (!w.len)
		return NO_DEST;
	w.flow = r->client;
	w.port = flags & SERVICE_PORT ? r->port : 0;
	w.hash = scheduler == SCHED_DH ? hash_32(r->vip, 8) : hash_index(&w, 0);
	struct dest *d = dest_in_list(w.base + w.hash % w.len, &index);
	if (d && is_eligible(d))
		return index;
	if (scheduler == SCHED_DH || !(flags & SERVICE_FALLBACK))
		return NO_DEST;
	bpf_loop(w.len, hash_fallback, &w, 0);
	return w.dest;
}

#endif
