/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What a connection is to its destination and its template, and what a packet does to it. */
#ifndef EVENKEEL_CONN_H
#define EVENKEEL_CONN_H

static __always_inline struct dest *dest_at(__u32 index)
{
	return bpf_map_lookup_elem(&dests, &index);
}

/*
 * The overload flag with its hysteresis: ip_vs_bind_dest() sets it at u_threshold; ip_vs_dest_update_overload() clears it
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

/* After a change of what schedulers compare: what was found best before does not hold any more. */
static __always_inline void dest_changed(__u32 dest)
{
	struct block_refs *p = TABLE_GET(block_refs, dest);
	if (!p || !READ_ONCE(*(__u64 *)p))
		return;
	for (int half = 0; half < 2; half++) {
		__u32 at = READ_ONCE(p->block[half]) - 1;
		struct block *b = bpf_map_lookup_elem(&blocks, &at); /* there is none for ~0 */
		if (!b)
			continue;
		/* its result is asked for: only then it is ordered after the change (Documentation/atomic_t.txt) */
		__u32 was = __sync_fetch_and_add(&b->version, 1);
		asm volatile("" : : "r"(was));
	}
}

/* A connection or template begins (1) or ceases (-1) to count at its destination. */
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

/* Takes a busy entry out of every count. The caller holds it. */
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

/* A template that controls connections, one of which has been established, is assured (ip_vs_control_assure_ct()). */
static __always_inline void template_assure(__u32 template)
{
	struct conn *t = template ? conn_at(template - 1) : 0;
	if (t && !(CONN_FLAGS(READ_ONCE(t->status)) & CONN_ASSURED))
		__sync_fetch_and_or(&t->status, CONN_ASSURED << 8);
}

/* Other processors may have the line; they keep it if nothing changes. */
static __always_inline void conn_refresh(struct conn *e, __u32 expires)
{
	if (READ_ONCE(e->expires) != expires)
		e->expires = expires;
}

/* A packet of a known connection: next state, activity, timeout. As set_tcp_state(), udp_state_transition(). */
static __always_inline void conn_touch(struct conn *e, struct dest *d, struct packet *p, __u32 direction, __u32 now)
{
	__u32 status = READ_ONCE(e->status);
	__u32 flags = CONN_FLAGS(status), was = CONN_STATE(status);
	if (direction == FROM_CLIENT && (flags & CONN_NO_OUTPUT))
		direction = CLIENT_ONLY;
	struct state_transition o = state_transition(direction, was, p);
	if (o.state != was) {
		__u32 next = o.active ? flags & ~CONN_INACTIVE : flags | CONN_INACTIVE;
		/* Only the CPU whose swap succeeds moves the counts; a packet that loses leaves the state as it is. */
		if (__sync_val_compare_and_swap(&e->status, status, CONN_STATUS(o.state, next, CONN_ROUTE(status))) == status) {
			if (is_established(was, p->protocol))
				flow_cache_delete_conn(READ_ONCE(e->key0), READ_ONCE(e->key1));
			if (next != flags) {
				__s32 up = next & CONN_INACTIVE ? -1 : 1;
				__sync_fetch_and_add(&d->active, up);
				__sync_fetch_and_add(&d->inactive, -up);
				dest_changed(READ_ONCE(e->dest));
			}
			if (o.active && e->control &&
			    o.state == (p->protocol == IPPROTO_TCP ? TCP_ESTABLISHED : SCTP_ESTABLISHED))
				template_assure(e->control);
		}
	}
	/* udp_state_transition(): an answer assures */
	if (direction == FROM_SERVER && p->protocol == IPPROTO_UDP && e->control)
		template_assure(e->control);
	conn_refresh(e, is_established(o.state, p->protocol) ? renewed_expiry(now, o.timeout) : now + o.timeout);
}

#endif
