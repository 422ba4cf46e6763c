/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * rr, wrr: a walk through a table that user space has built. Servers that are not eligible are skipped, as
 * ip_vs_rr_schedule() and ip_vs_wrr_schedule() do.
 */
#ifndef EVENKEEL_WALK_H
#define EVENKEEL_WALK_H

static long walk_step(__u32 i, struct list_walk *w)
{
	__u32 len = w->len, index;
	if (!len)
		return 1;
	__u32 at = w->base + __sync_fetch_and_add(&w->half->next, 1) % len;
	struct dest *d = dest_in_list(at, &index);
	if (!d || !is_eligible(d))
		return 0;
	w->dest = index;
	return 1;
}

__noinline __u32 schedule_walk(__u32 service)
{
	struct service *s = service_at(service);
	if (!s)
		return NO_DEST;
	struct service_half *half = &s->half[READ_ONCE(s->generation) & 1];
	struct list_walk w = list_walk_init(half);
	w.base = half->table_base;
	w.len = half->table_len;
	if (walk_step(0, &w)) /* nearly always the first step */
		return w.dest;
	bpf_loop(w.len - 1, walk_step, &w, 0);
	return w.dest;
}

#endif
