/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Expiry: frees entries whose timeout is over. One timer for the whole table checks a number of lines in each turn
 * and re-arms itself, so that it runs on without any process. (A timer for each connection is not possible: the
 * kernel does not allow hundreds of thousands of them.)
 */
#ifndef EVENKEEL_EXPIRE_H
#define EVENKEEL_EXPIRE_H

#define EK_CLOCK_MONOTONIC 1

struct expire_walk {
	__u32 cursor, mask, now, grace, rearm, freed;
};

static __always_inline void expire_entry(struct conn *e, struct conn *tail, struct expire_walk *w)
{
	__u64 key1 = READ_ONCE(e->key1);
	if (!is_key(key1) || !is_past(READ_ONCE(e->expires) + w->grace, w->now))
		return;
	if (__sync_val_compare_and_swap(&e->key1, key1, KEY_BUSY) != key1)
		return;
	if (!is_past(READ_ONCE(e->expires) + w->grace, w->now)) {
		__sync_lock_test_and_set(&e->key1, key1);
		return;
	}
	/*
	 * ip_vs_conn_expire(): a template that controls connections lives on; so does the reply tuple of a connection
	 */
	__u32 flags = CONN_FLAGS(e->status);
	if ((flags & CONN_TEMPLATE) &&
	    (flags & CONN_AUX ? reply_tuple_conn(e, tail, key1, w->now) != 0 : READ_ONCE(e->control) != 0)) {
		e->expires = w->now + w->rearm;
		__sync_lock_test_and_set(&e->key1, key1);
		return;
	}
	conn_uncount(e);
	conn_free(e, tail, key1);
	w->freed++;
}

static long expire_line(__u32 i, struct expire_walk *w)
{
	__u32 line = (w->cursor + i) & w->mask;
	struct conn_line *l = bpf_map_lookup_elem(&conns, &line);
	if (!l)
		return 1;
	expire_entry(&l->entry[0], &l->entry[1], w);
	expire_entry(&l->entry[1], &l->entry[1], w);
	return 0;
}

static int expire_turn(void *map, __u32 *key, struct expire_state *state)
{
	struct expire_walk w = {
		.cursor = state->cursor,
		.mask = settings.conn_mask,
		.now = (__u32)bpf_jiffies64(),
		.grace = settings.grace,
		.rearm = settings.control_rearm,
	};
	bpf_loop(settings.expire_lines, expire_line, &w, 0);
	state->cursor = (w.cursor + settings.expire_lines) & w.mask;
	state->turns++;
	state->freed += w.freed;
	bpf_timer_start(&state->timer, settings.expire_interval_ns, 0);
	return 0;
}

/* Run by the loader on a frame of its own, into which it writes jiffies and CLOCK_MONOTONIC. */
SEC("xdp")
int evenkeel_read_clocks(struct xdp_md *ctx)
{
	__u64 *word = (void *)(long)ctx->data;
	if ((void *)(word + 2) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	word[0] = bpf_jiffies64();
	word[1] = bpf_ktime_get_ns();
	return XDP_PASS;
}

/*
 * Run once by every loader. The timer then calls this program's expire_turn(), and no longer that of an older
 * program.
 */
SEC("xdp")
int evenkeel_start_expiry(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct expire_state *state = bpf_map_lookup_elem(&expiry, &zero);
	if (!state)
		return XDP_ABORTED;
	bpf_timer_init(&state->timer, &expiry, EK_CLOCK_MONOTONIC); /* -EBUSY if an older program did it */
	if (bpf_timer_set_callback(&state->timer, expire_turn) ||
	    bpf_timer_start(&state->timer, settings.expire_interval_ns, 0))
		return XDP_DROP;
	return XDP_PASS;
}

#endif
