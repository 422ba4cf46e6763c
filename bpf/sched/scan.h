/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * lc, wlc, sed, nq, fo, ovf: a scan over all servers for the least overhead / weight. If servers are equal, the newer
 * one wins, which comes first in the list.
 *
 * A long list is scanned by blocks of 16 servers, each of which caches its best server (struct block).
 */
#ifndef EVENKEEL_SCAN_H
#define EVENKEEL_SCAN_H

/*
 * A rule says what is added up to a server's overhead. A rule is a number and not a name: a branch for each scheduler
 * would multiply the paths that the verifier walks, for each server.
 */
enum rule {
	RULE_ACTIVE = 511,             /* this many times the active connections */
	RULE_INACTIVE = 1 << 9,        /* the inactive connections */
	RULE_ONE = 1 << 10,            /* one */
	RULE_IGNORE_WEIGHT = 1 << 11,  /* all weights count as one */
	RULE_IDLE_FIRST = 1 << 12,     /* the first server without connections is chosen at once */
	RULE_WITHIN_WEIGHT = 1 << 13,  /* no server with more connections than its weight */

	RULE_WLC = 256 | RULE_INACTIVE,          /* ip_vs_wlc_schedule() */
	RULE_LC = RULE_WLC | RULE_IGNORE_WEIGHT, /* ip_vs_lc_schedule() */
	RULE_SED = 1 | RULE_ONE,                 /* ip_vs_sed_schedule() */
	RULE_NQ = RULE_SED | RULE_IDLE_FIRST,    /* ip_vs_nq_schedule() */
	RULE_FO = RULE_ONE,                      /* ip_vs_fo_schedule(): the greatest weight */
	RULE_OVF = RULE_FO | RULE_WITHIN_WEIGHT, /* ip_vs_ovf_schedule() */
};

static __always_inline __u32 rule_flag(__u32 rule, __u32 flag)
{
	__u32 is_set = !!(rule & flag);
	asm volatile("" : "+r"(is_set)); /* a number to calculate with, and not a reason to branch */
	return is_set;
}

/* The best server so far. */
struct best {
	__s64 overhead;
	__s32 weight;
	__u32 dest;
};

struct scan {
	__u32 base, len; /* the list */
	__u32 rule;
	__u32 at; /* how many servers are done */
	struct best best;
	__u32 version; /* of the block that is scanned */
};

static __always_inline int is_better(struct best *b, __s64 oh, __s32 weight)
{
	return b->dest == NO_DEST || b->overhead * weight > oh * b->weight;
}

/* Compares a server with the best one so far. 1: the scan ends here. */
static __always_inline int consider(struct best *b, __u32 rule, __u32 index, struct dest *d)
{
	if (!is_eligible(d))
		return 0;
	__s64 weight = READ_ONCE(d->weight), active = READ_ONCE(d->active);
	if (active * rule_flag(rule, RULE_WITHIN_WEIGHT) > weight)
		return 0;
	__s64 oh = active * (rule & RULE_ACTIVE) + (__s64)READ_ONCE(d->inactive) * rule_flag(rule, RULE_INACTIVE) +
		   rule_flag(rule, RULE_ONE);
	weight -= (weight - 1) * rule_flag(rule, RULE_IGNORE_WEIGHT);
	int idle = (active | !rule_flag(rule, RULE_IDLE_FIRST)) == 0;
	if (idle || is_better(b, oh, weight)) {
		b->dest = index;
		b->overhead = oh;
		b->weight = weight;
	}
	return idle;
}

/* Scans a block. One turn of bpf_loop() costs as much as some servers, so that a turn handles a whole block. */
static __always_inline int scan_block(struct scan *w, __u32 from, struct best *b)
{
	for (__u32 i = 0; i < EK_BLOCK; i++) {
		__u32 at = from + i, index;
		if (at >= w->len)
			return 1;
		struct dest *d = dest_in_list(w->base + at, &index);
		if (d && consider(b, w->rule, index, d))
			return 1;
	}
	return 0;
}

static long scan_turn(__u32 turn, struct scan *w)
{
	return scan_block(w, turn * EK_BLOCK, &w->best);
}

#define CACHED_BLOCKS_PER_TURN 16 /* blocks whose cached result holds that one turn passes */

/* The same with cached results: passes blocks whose result holds, and scans the next one. */
static long scan_cached_turn(__u32 turn, struct scan *w)
{
	__u32 at = w->at, number;
	struct block *b;
	struct dest *d;
	for (int i = 0;; i++) {
		number = (w->base + at) / EK_BLOCK;
		b = bpf_map_lookup_elem(&blocks, &number);
		if (!b || at >= w->len)
			return 1;
		__u64 best = READ_ONCE(b->best);
		number = (__u32)best;
		d = dest_at(number);
		/* a server that is not eligible any more is about to increment the version */
		if (best >> 32 != READ_ONCE(b->version) || (d ? !is_eligible(d) : number != NO_DEST))
			break;
		if (d && consider(&w->best, w->rule, number, d))
			return 1;
		at += EK_BLOCK;
		w->at = at;
		if (i + 1 == CACHED_BLOCKS_PER_TURN)
			return 0;
	}
	struct best within = { .dest = NO_DEST };
	/* atomic, so that no server is read before the version */
	w->version = __sync_fetch_and_add(&b->version, 0);
	scan_block(w, at, &within);
	w->at = at + EK_BLOCK;
	b->best = (__u64)w->version << 32 | within.dest;
	d = dest_at(within.dest);
	return d ? consider(&w->best, w->rule, within.dest, d) : 0;
}

__noinline __u32 schedule_scan(__u32 service, __u32 rule)
{
	struct service *s = service_at(service);
	if (!s)
		return NO_DEST;
	struct service_half *half = &s->half[READ_ONCE(s->generation) & 1];
	__u32 none = no_dest();
	struct scan w = { .base = half->list_base, .len = half->list_len, .rule = rule, .at = none + 1 };
	w.best = (struct best){ .overhead = none, .weight = none, .dest = none };
	__u32 turns = w.len / EK_BLOCK + 1;
	if (half->blocks == EK_BLOCK)
		bpf_loop(turns, scan_cached_turn, &w, 0);
	else
		bpf_loop(turns, scan_turn, &w, 0);
	return w.best.dest;
}

#endif
