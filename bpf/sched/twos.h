/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * twos: two random servers, each as likely as its weight says; the less loaded one of them is chosen
 * (ip_vs_twos_schedule()). A first pass adds up the weights, a second one finds the two servers. In a long list both
 * use the cached weights of blocks.
 */
#ifndef EVENKEEL_TWOS_H
#define EVENKEEL_TWOS_H

#define TWOS_BLOCKS_PER_TURN 4

struct twos_walk {
	__u32 base, len, total;
	__u32 first, second; /* the weight to pass before the first and the second server */
	__u32 dest[2];
};

/* The weight of `count` servers of the list, at most those of a block. */
__noinline __u32 twos_weight(struct twos_walk *w, __u32 from, __u32 count)
{
	__u32 sum = 0;
	for (__u32 i = 0; i < EK_BLOCK && w; i++) {
		__u32 at = from + i, index;
		if (at >= w->len || i >= count)
			break;
		struct dest *d = dest_in_list(w->base + at, &index);
		if (d && is_eligible(d))
			sum += READ_ONCE(d->weight);
	}
	return sum;
}

/* The weight of a block, which caches it instead of its best server; see scan_cached_turn(). */
static __always_inline __u32 twos_block_weight(struct twos_walk *w, __u32 nth)
{
	__u32 number = w->base / EK_BLOCK + nth;
	struct block *b = bpf_map_lookup_elem(&blocks, &number);
	if (!b || nth * EK_BLOCK >= w->len)
		return 0;
	__u64 cached = READ_ONCE(b->best);
	if (cached >> 32 == READ_ONCE(b->version))
		return cached;
	__u32 version = __sync_fetch_and_add(&b->version, 0), sum = twos_weight(w, nth * EK_BLOCK, EK_BLOCK);
	b->best = (__u64)version << 32 | sum;
	return sum;
}

static long twos_sum(__u32 turn, struct twos_walk *w)
{
	w->total += twos_weight(w, turn * DESTS_PER_TURN, DESTS_PER_TURN);
	return 0;
}

static long twos_sum_blocks(__u32 turn, struct twos_walk *w)
{
	for (__u32 i = 0; i < TWOS_BLOCKS_PER_TURN; i++)
		w->total += twos_block_weight(w, turn * TWOS_BLOCKS_PER_TURN + i);
	return 0;
}

static __always_inline void twos_sample_dest(__u32 at, struct twos_walk *w)
{
	__u32 index;
	struct dest *d = dest_in_list(w->base + at, &index);
	if (!d || !is_eligible(d))
		return;
	__u32 weight = READ_ONCE(d->weight);
	if (w->first < weight && w->dest[0] == NO_DEST)
		w->dest[0] = index;
	w->first -= weight;
	if (w->second < weight && w->dest[1] == NO_DEST)
		w->dest[1] = index;
	w->second -= weight;
}

/* Searches the two servers among `count` ones. 1: both are found, or the list ends. */
__noinline int twos_sample_some(struct twos_walk *w, __u32 from, __u32 count)
{
	for (__u32 i = 0; i < EK_BLOCK && w; i++) {
		__u32 at = from + i;
		if (i >= count)
			break;
		if (at >= w->len || (w->dest[0] != NO_DEST && w->dest[1] != NO_DEST))
			return 1;
		twos_sample_dest(at, w);
	}
	return 0;
}

static long twos_sample(__u32 turn, struct twos_walk *w)
{
	return twos_sample_some(w, turn * DESTS_PER_TURN, DESTS_PER_TURN) & 1; /* the verifier requires 0 or 1 */
}

static long twos_sample_blocks(__u32 turn, struct twos_walk *w)
{
	for (__u32 i = 0; i < TWOS_BLOCKS_PER_TURN; i++) {
		__u32 at = turn * TWOS_BLOCKS_PER_TURN + i, weight = twos_block_weight(w, at);
		if ((w->first < weight && w->dest[0] == NO_DEST) || (w->second < weight && w->dest[1] == NO_DEST)) {
			if (twos_sample_some(w, at * EK_BLOCK, EK_BLOCK))
				return 1;
			continue;
		}
		w->first -= weight;
		w->second -= weight;
	}
	return 0;
}

__noinline __u32 schedule_twos(__u32 service)
{
	struct service *s = service_at(service);
	if (!s)
		return NO_DEST;
	struct service_half *half = &s->half[READ_ONCE(s->generation) & 1];
	__u32 none = no_dest(), by_blocks = half->blocks == EK_BLOCK;
	struct twos_walk w = {
		.base = half->list_base, .len = half->list_len, .total = none + 1, .dest = { none, none },
	};
	if (by_blocks)
		bpf_loop(w.len / (EK_BLOCK * TWOS_BLOCKS_PER_TURN) + 1, twos_sum_blocks, &w, 0);
	else
		bpf_loop(w.len / DESTS_PER_TURN + 1, twos_sum, &w, 0);
	if (!w.total)
		return NO_DEST;
	w.first = bpf_get_prandom_u32() % w.total;
	w.second = bpf_get_prandom_u32() % w.total;
	if (by_blocks)
		bpf_loop(w.len / (EK_BLOCK * TWOS_BLOCKS_PER_TURN) + 1, twos_sample_blocks, &w, 0);
	else
		bpf_loop(w.len / DESTS_PER_TURN + 1, twos_sample, &w, 0);
	struct dest *a = dest_at(w.dest[0]), *b = dest_at(w.dest[1]);
	if (!a || !b)
		return a ? w.dest[0] : b ? w.dest[1] : NO_DEST;
	__s64 cost_a = (__s64)READ_ONCE(b->weight) * overhead(a);
	__s64 cost_b = (__s64)READ_ONCE(a->weight) * overhead(b);
	return cost_a > cost_b ? w.dest[1] : w.dest[0];
}

#endif
