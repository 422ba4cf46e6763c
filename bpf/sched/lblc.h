/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * lblc, lblcr: a destination address stays with the server (lblc) or the set of servers (lblcr) that it was given.
 * The cache is in auxiliary entries of the connection table: KIND_LBLC for an address, KIND_LBLCR_DEST for a server
 * of its set.
 */
#ifndef EVENKEEL_LBLC_H
#define EVENKEEL_LBLC_H

static __always_inline void lblc_key(struct conn_key *k, __u64 target, __u32 low, __u8 kind)
{
	k->a = target;
	k->b = k->c = k->d = 0;
	k->key1 = (__u64)low | (__u64)kind << 40;
}

static __always_inline __u64 lblcr_dest_key1(__u32 service, __u32 dest)
{
	return (__u64)(service | dest << 14) | (__u64)KIND_LBLCR_DEST << 40;
}

static long scan_half_idle(__u32 i, struct list_walk *w)
{
	__u32 index;
	struct dest *d = dest_in_list(w->base + i, &index);
	if (!d || (__s64)READ_ONCE(d->active) * 2 >= READ_ONCE(d->weight))
		return 0;
	w->dest = index;
	return 1;
}

/* is_overloaded(): it has more active connections than weight, and another server has less than half of its weight. */
__noinline int is_overloaded(__u32 service, __u32 dest)
{
	struct service *s = service_at(service);
	struct dest *d = dest_at(dest);
	if (!s || !d || (__s64)READ_ONCE(d->active) <= READ_ONCE(d->weight))
		return 0;
	struct list_walk w = list_walk_init(&s->half[READ_ONCE(s->generation) & 1]);
	bpf_loop(w.len, scan_half_idle, &w, 0);
	return w.dest != NO_DEST;
}

/* Inserts the entry that the last lookup did not find. */
static __always_inline void lblc_insert(struct scratch *scratch, __u32 dest, __u32 control, __u32 timeout)
{
	struct new_conn *n = &scratch->lblc.conn;
	n->key = scratch->lblc.key;
	n->dest = dest;
	n->status = CONN_STATUS(0, CONN_AUX, 0);
	n->control = control;
	n->timeout = timeout;
	conn_insert_retry(&scratch->lblc.lookup, n);
}

/* ip_vs_lblc_schedule() */
__noinline __u32 schedule_lblc(__u32 service, __u64 target)
{
	struct scratch *scratch = scratch_get();
	if (!scratch)
		return NO_DEST;
	__u32 now = (__u32)bpf_jiffies64(), keep = settings.lblc_expiration;
	struct conn_key *k = &scratch->lblc.key;
	lblc_key(k, target, service, KIND_LBLC);
	struct conn *e = conn_get(conn_find4(k->a, k->key1, now, &scratch->lblc.lookup));
	if (e) {
		__u32 known = READ_ONCE(e->dest);
		struct dest *d = dest_at(known);
		if (d && (READ_ONCE(d->flags) & DEST_AVAILABLE) && d->service == service && READ_ONCE(d->weight) > 0 &&
		    !is_overloaded(service, known)) {
			e->expires = now + keep;
			return known;
		}
	}
	__u32 dest = schedule_scan(service, RULE_WLC);
	if (dest == NO_DEST)
		return NO_DEST;
	if (e) {
		e->dest = dest;
		e->expires = now + keep;
	} else {
		lblc_insert(scratch, dest, 0, keep);
	}
	return dest;
}

/*
 * Looks at one server of the list. The walk's state is in scratch memory, for want of stack; the context that
 * bpf_loop() requires on the stack is empty.
 */
static long lblcr_scan(__u32 i, void *unused)
{
	struct scratch *scratch = scratch_get();
	__u32 index;
	if (!scratch)
		return 1;
	struct lblcr_walk *w = &scratch->lblcr;
	struct dest *d = dest_in_list(w->base + i, &index);
	if (!d || !(READ_ONCE(d->flags) & DEST_AVAILABLE))
		return 0;
	__u64 key1 = lblcr_dest_key1(w->service, index);
	struct conn *e = conn_get(conn_find4(w->target, key1, w->now, &scratch->reply.lookup));
	if (!e)
		return 0;
	w->members++;
	e->expires = w->now + w->keep;
	__u32 order = READ_ONCE(e->control);
	__s64 oh = overhead(d), weight = READ_ONCE(d->weight);
	/* ip_vs_dest_set_min(): the set begins with the server that joined last */
	if (weight > 0 && !READ_ONCE(d->overload)) {
		__s64 theirs = w->least_overhead * weight, ours = oh * w->least_weight;
		if (w->least == NO_DEST || theirs > ours || (theirs == ours && (__s32)(order - w->least_order) > 0)) {
			w->least = index;
			w->least_order = order;
			w->least_overhead = oh;
			w->least_weight = weight;
		}
	}
	/* ip_vs_dest_set_max() */
	if (weight > 0 && (w->most == NO_DEST || w->most_overhead * weight < oh * w->most_weight)) {
		w->most = index;
		w->most_overhead = oh;
		w->most_weight = weight;
	}
	return 0;
}

/*
 * The least loaded server of an address's set. A server too many leaves the set. NO_DEST: all of them are overloaded.
 */
__noinline __u32 lblcr_least(__u32 service, __u64 target, struct conn *e)
{
	struct service *s = service_at(service);
	struct scratch *scratch = scratch_get();
	if (!s || !scratch || !e)
		return NO_DEST;
	struct service_half *half = &s->half[READ_ONCE(s->generation) & 1];
	__u32 now = (__u32)bpf_jiffies64(), keep = settings.lblcr_expiration;
	__u64 nothing = 0;
	struct lblcr_walk *w = &scratch->lblcr;
	*w = (struct lblcr_walk){
		.target = target,
		.base = half->list_base,
		.service = service,
		.now = now,
		.least = NO_DEST,
		.most = NO_DEST,
		.keep = keep,
	};
	bpf_loop(half->list_len, lblcr_scan, &nothing, 0);
	e->expires = now + keep;
	if (w->members > 1 && w->most != NO_DEST && is_past(READ_ONCE(e->dest) + keep, now)) {
		conn_expire(conn_find4(target, lblcr_dest_key1(service, w->most), now, &scratch->reply.lookup));
		e->dest = now;
	}
	__u32 least = w->least;
	return least != NO_DEST && !is_overloaded(service, least) ? least : NO_DEST;
}

/*
 * ip_vs_lblcr_schedule(). In an address's entry `control` counts the servers that have joined the set, and `dest` is
 * the time when the last one joined.
 */
__noinline __u32 schedule_lblcr(__u32 service, __u64 target)
{
	struct scratch *scratch = scratch_get();
	if (!scratch)
		return NO_DEST;
	__u32 now = (__u32)bpf_jiffies64(), keep = settings.lblcr_expiration, order = 1;
	struct conn_key *k = &scratch->lblc.key;
	lblc_key(k, target, service, KIND_LBLC);
	struct conn *e = conn_get(conn_find4(k->a, k->key1, now, &scratch->lblc.lookup));
	if (e) {
		__u32 least = lblcr_least(service, target, e);
		if (least != NO_DEST)
			return least;
		order = __sync_fetch_and_add(&e->control, 1) + 1;
		e->dest = now;
	}
	__u32 dest = schedule_scan(service, RULE_WLC);
	if (dest == NO_DEST)
		return NO_DEST;
	if (!e)
		lblc_insert(scratch, now, 1, keep);
	lblc_key(k, target, service | dest << 14, KIND_LBLCR_DEST);
	if (!conn_find4(k->a, k->key1, now, &scratch->lblc.lookup))
		lblc_insert(scratch, dest, order, keep);
	return dest;
}

#endif
