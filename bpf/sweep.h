/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Frees what has expired. One timer for the whole table, re-armed by itself, a slice each turn: it goes on when no
 * process of ours runs. (A timer for each connection cannot be had: the kernel refuses them by the hundred thousand.)
 */
#ifndef EVENKEEL_SWEEP_H
#define EVENKEEL_SWEEP_H

#define EK_CLOCK_MONOTONIC 1

struct sweep_walk {
	__u32 cursor, mask, now, grace, rearm, freed;
};

static __always_inline void sweep_entry(struct conn *e, struct conn *tail, struct sweep_walk *w)
{
	__u64 key1 = READ(e->key1);
	if (!is_key(key1) || !passed(READ(e->expires) + w->grace, w->now))
		return;
	if (__sync_val_compare_and_swap(&e->key1, key1, KEY_BUSY) != key1)
		return;
	if (!passed(READ(e->expires) + w->grace, w->now)) {
		__sync_lock_test_and_set(&e->key1, key1);
		return;
	}
	/* ip_vs_conn_expire(): what still controls others lives on for a while; so does a note that leads somewhere */
	__u32 flags = CONN_FLAGS(e->life);
	if ((flags & CONN_TEMPLATE) && (flags & CONN_AUX ? noted(e, tail, key1, w->now) != 0 : READ(e->control) != 0)) {
		e->expires = w->now + w->rearm;
		__sync_lock_test_and_set(&e->key1, key1);
		return;
	}
	conn_uncount(e);
	place_free(e, tail, key1);
	w->freed++;
}

static long sweep_line(__u32 i, struct sweep_walk *w)
{
	__u32 line = (w->cursor + i) & w->mask;
	struct conn_line *l = bpf_map_lookup_elem(&conns, &line);
	if (!l)
		return 1;
	sweep_entry(&l->entry[0], &l->entry[1], w);
	sweep_entry(&l->entry[1], &l->entry[1], w);
	return 0;
}

static int sweep_turn(void *map, __u32 *key, struct expire_state *state)
{
	struct sweep_walk w = {
		.cursor = state->cursor,
		.mask = settings.conn_mask,
		.now = (__u32)bpf_jiffies64(),
		.grace = settings.grace,
		.rearm = settings.control_rearm,
	};
	bpf_loop(settings.expire_lines, sweep_line, &w, 0);
	state->cursor = (w.cursor + settings.expire_lines) & w.mask;
	state->turns++;
	state->freed += w.freed;
	bpf_timer_start(&state->timer, settings.expire_interval_ns, 0);
	return 0;
}

/* What the kernel's clocks say: run by the loader on a frame of its own, which receives jiffies and CLOCK_MONOTONIC. */
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

/* Run once by every loader; the new program's sweep takes the timer over from the old one's. */
SEC("xdp")
int evenkeel_start_expiry(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct expire_state *state = bpf_map_lookup_elem(&sweep, &zero);
	if (!state)
		return XDP_ABORTED;
	bpf_timer_init(&state->timer, &sweep, EK_CLOCK_MONOTONIC); /* -EBUSY if an older program did it */
	if (bpf_timer_set_callback(&state->timer, sweep_turn) || bpf_timer_start(&state->timer, settings.expire_interval_ns, 0))
		return XDP_DROP;
	return XDP_PASS;
}

#endif
