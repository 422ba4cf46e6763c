/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Connection entries: the counts of their destinations and templates, and what a packet changes in an entry. */
#ifndef EVENKEEL_CONN_H
#define EVENKEEL_CONN_H

/*
 * The overload flag, with hysteresis. ip_vs_bind_dest() sets it at u_threshold; ip_vs_dest_update_overload() clears it
 * below l_threshold, or below three quarters of u_threshold.
 */
static __always_inline void dest_overload(struct dest *d, int grew)
{
	__u32 u = READ_ONCE(d->u_threshold), l = READ_ONCE(d->l_threshold);
	if (!u && !READ_ONCE(d->overload))
		return;
	__u32 n = READ_ONCE(d->active) + READ_ONCE(d->inactive);
	if (grew) {
		if (u && n >= u)
			d->overload = 1;
	} else if (l ? n < l : u ? (__u64)n * 4 < (__u64)u * 3 : 1) {
		d->overload = 0;
	}
}

/* After something changed that schedulers compare: invalidates the cached results of the destination's blocks. */
static __always_inline void dest_changed(__u32 dest)
{
	struct block_refs *refs = TABLE_GET(block_refs, dest);
	if (!refs || !READ_ONCE(*(__u64 *)refs))
		return;
	for (int half = 0; half < 2; half++) {
		__u32 block = READ_ONCE(refs->block[half]) - 1;
		struct block *b = bpf_map_lookup_elem(&blocks, &block); /* none for ~0 */
		if (!b)
			continue;
		/* the result is used: only then it is ordered after the change (Documentation/atomic_t.txt) */
		__u32 was = __sync_fetch_and_add(&b->version, 1);
		asm volatile("" : : "r"(was));
	}
}

/* Counts a connection or template at its destination: `by` is 1 or -1. */
static __always_inline void dest_count(struct dest *d, __u32 dest, __u32 flags, __s32 by)
{
	if (flags & CONN_AUX)
		return;
	if (flags & CONN_TEMPLATE) {
		__sync_fetch_and_add(&d->persistent, by);
		return;
	}
	if (flags & CONN_INACTIVE)
		__sync_fetch_and_add(&d->inactive, by);
	else
		__sync_fetch_and_add(&d->active, by);
	dest_overload(d, by > 0);
	dest_changed(dest);
}

/* Removes an entry from all counts. The caller owns the entry, which is busy. */
static __always_inline void conn_uncount(struct conn *e)
{
	__u32 flags = CONN_FLAGS(e->status);
	if (flags & CONN_AUX)
		return;
	__u32 dest = e->dest;
	struct dest *d = dest_at(dest);
	if (d)
		dest_count(d, dest, flags, -1);
	if (!(flags & CONN_TEMPLATE) && e->control) {
		struct conn *t = conn_at(e->control - 1);
		if (t)
			__sync_fetch_and_add(&t->control, -1);
	}
}

/* One of the template's connections was established (ip_vs_control_assure_ct()). */
static __always_inline void template_assure(conn_handle template)
{
	struct conn *t = conn_get(template);
	if (t && !(CONN_FLAGS(READ_ONCE(t->status)) & CONN_ASSURED))
		__sync_fetch_and_or(&t->status, CONN_ASSURED << 8);
}

/* Sets the expiry. Does not write an equal value: other CPUs may have the cache line. */
static __always_inline void conn_refresh(struct conn *e, __u32 expires)
{
	if (READ_ONCE(e->expires) != expires)
		e->expires = expires;
}

/* A packet of a connection: its next state, activity and timeout, as set_tcp_state() and udp_state_transition(). */
static __always_inline void conn_touch(struct conn *e, struct dest *d, struct packet *p, __u32 direction, __u32 now)
{
	if (READ_ONCE(p->protocol) != IPPROTO_UDP && !(CONN_FLAGS(READ_ONCE(e->status)) & CONN_ANSWERED))
		count_answered(e, p, direction);
	__u32 status = READ_ONCE(e->status);
	__u32 flags = CONN_FLAGS(status), was = CONN_STATE(status);
	if (direction == FROM_CLIENT && (flags & CONN_NO_OUTPUT))
		direction = CLIENT_ONLY;
	struct state_transition t = state_transition(direction, was, p);
	if (t.state != was) {
		__u32 next = t.active ? flags & ~CONN_INACTIVE : flags | CONN_INACTIVE;
		/* Only the CPU whose swap succeeds changes the counts; after a lost swap the state stays as it is. */
		__u32 changed = CONN_STATUS(t.state, next, CONN_ROUTE(status));
		if (__sync_val_compare_and_swap(&e->status, status, changed) == status) {
			if (is_established(was, p->protocol))
				flow_cache_delete_conn(READ_ONCE(e->key0), READ_ONCE(e->key1));
			if (next != flags) {
				__s32 up = next & CONN_INACTIVE ? -1 : 1;
				__sync_fetch_and_add(&d->active, up);
				__sync_fetch_and_add(&d->inactive, -up);
				dest_changed(READ_ONCE(e->dest));
			}
			if (t.active && e->control &&
			    t.state == (p->protocol == IPPROTO_TCP ? TCP_ESTABLISHED : SCTP_ESTABLISHED))
				template_assure(e->control);
		}
	}
	/* udp_state_transition(): a reply assures the template */
	if (direction == FROM_SERVER && p->protocol == IPPROTO_UDP && e->control)
		template_assure(e->control);
	conn_refresh(e, is_established(t.state, p->protocol) ? renewed_expiry(now, t.timeout) : now + t.timeout);
}

#endif
