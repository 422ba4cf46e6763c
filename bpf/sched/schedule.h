/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Which real server takes a new connection. Table schedulers walk or look into a table that user space made; scan
 * schedulers look at every server. crates/core/src/schedulers has the twins in plain Rust.
 */
#ifndef EVENKEEL_SCHEDULE_H
#define EVENKEEL_SCHEDULE_H

#define NO_DEST (~0u)

static __always_inline void sched_request_init(struct sched_request *k, __u32 service, struct packet *p)
{
	int v6 = p->family == 6;
	k->service = service;
	k->client = fold(p->saddr, v6);
	k->vip = fold(p->daddr, v6);
	k->port = bpf_ntohs(p->sport);
	k->target = addr_words(p->daddr) ^ (v6 ? rotl(addr_words(p->daddr + 2), 32) : 0);
}

/* Neither removed, nor quiesced (weight 0), nor over its threshold. */
static __always_inline int is_eligible(struct dest *d)
{
	return (READ_ONCE(d->flags) & DEST_AVAILABLE) && READ_ONCE(d->weight) > 0 && !READ_ONCE(d->overload);
}

static __always_inline struct dest *dest_in_list(__u32 at, __u32 *index)
{
	__u32 *word = TABLE_GET(lists, at);
	if (!word)
		return 0;
	*index = READ_ONCE(*word);
	return bpf_map_lookup_elem(&dests, index);
}

struct list_walk {
	struct service_half *half;
	__u32 base, len;
	__u32 dest;
	__u32 hash, port; /* sh, mh: where the walk began */
	__u64 flow;
	__u32 score, weight; /* auction(): of the best server so far */
};

/*
 * What a walk begins with comes out of a map: verifiers before Linux 6.7 look at a bpf_loop() callback as if it were called
 * once, and cut out every branch that the state of its first call cannot take. Of what is in a map they know nothing.
 */
static __always_inline __u32 no_dest(void)
{
	return READ_ONCE(settings.no_dest);
}

/* A walk through a service's list, before its first server. */
static __always_inline struct list_walk list_walk_init(struct service_half *half)
{
	__u32 none = no_dest();
	return (struct list_walk){ .half = half, .base = half->list_base, .len = half->list_len, .dest = none, .score = none, .weight = none };
}

/* rr, wrr: the next one in the table that can take it; ip_vs_rr_schedule(), ip_vs_wrr_schedule() skip in the same way. */
static long walk_next(__u32 i, struct list_walk *w)
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

/* rr, wrr */
__noinline __u32 schedule_walk(__u32 service)
{
	struct service *s = service_at(service);
	if (!s)
		return NO_DEST;
	struct service_half *half = &s->half[READ_ONCE(s->generation) & 1];
	struct list_walk w = list_walk_init(half);
	w.base = half->table_base;
	w.len = half->table_len;
	if (walk_next(0, &w)) /* nearly always the first */
		return w.dest;
	bpf_loop(w.len - 1, walk_next, &w, 0);
	return w.dest;
}

/*
 * How a scan compares: least overhead / weight; on equal terms the newer server stays. A rule says of what the overhead is
 * the sum, in numbers and not by name: branches for names are as many ways for the verifier to walk, for each server.
 */
enum rule {
	RULE_ACTIVE = 511,          /* so many times the active connections, */
	RULE_INACTIVE = 1 << 9,     /* the inactive ones, */
	RULE_ONE = 1 << 10,         /* one */
	RULE_IGNORE_WEIGHT = 1 << 11,       /* weights are ignored */
	RULE_IDLE_FIRST = 1 << 12,   /* the first one without connections is taken at once */
	RULE_WITHIN_WEIGHT = 1 << 13, /* none that has more connections than weight */

	RULE_WLC = 256 | RULE_INACTIVE,              /* ip_vs_wlc_schedule() */
	RULE_LC = RULE_WLC | RULE_IGNORE_WEIGHT,             /* ip_vs_lc_schedule() */
	RULE_SED = 1 | RULE_ONE,                     /* ip_vs_sed_schedule() */
	RULE_NQ = RULE_SED | RULE_IDLE_FIRST,         /* ip_vs_nq_schedule() */
	RULE_FO = RULE_ONE,                          /* ip_vs_fo_schedule(): greatest weight */
	RULE_OVF = RULE_FO | RULE_WITHIN_WEIGHT,       /* ip_vs_ovf_schedule() */
};

static __always_inline __u32 rule_flag(__u32 rule, __u32 what)
{
	__u32 says = !!(rule & what);
	asm volatile("" : "+r"(says)); /* a number to reckon with, and no reason to branch */
	return says;
}

/* ip_vs_dest_conn_overhead() */
static __always_inline __s64 overhead(struct dest *d)
{
	return ((__s64)READ_ONCE(d->active) << 8) + READ_ONCE(d->inactive);
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
	__u32 at; /* how many servers are behind it */
	struct best best;
	__u32 version; /* of the block that is looked through */
};

static __always_inline int is_better(struct best *b, __s64 oh, __s32 weight)
{
	return b->dest == NO_DEST || b->overhead * weight > oh * b->weight;
}

/* Compares a server with the best one. 1: no other one need be looked at. */
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

/* A turn of bpf_loop() costs as much as the look at some servers; so it looks at as many as stand in a block. */
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

static long scan(__u32 turn, struct scan *w)
{
	return scan_block(w, turn * EK_BLOCK, &w->best);
}

/* How many blocks of which what they remember holds are passed in one turn. */
#define PASSED_BLOCKS_PER_TURN 16

/* The same over blocks that remember their best server: passes some of which it still holds, and looks through the next. */
static long scan_blocks(__u32 turn, struct scan *w)
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
		/* one that cannot take a connection any more will have raised the version in a moment */
		if (best >> 32 != READ_ONCE(b->version) || (d ? !is_eligible(d) : number != NO_DEST))
			break;
		if (d && consider(&w->best, w->rule, number, d))
			return 1;
		at += EK_BLOCK;
		w->at = at;
		if (i + 1 == PASSED_BLOCKS_PER_TURN)
			return 0;
	}
	struct best within = { .dest = NO_DEST };
	/* atomic, so that nothing of what it is the version of is read before it */
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
		bpf_loop(turns, scan_blocks, &w, 0);
	else
		bpf_loop(turns, scan, &w, 0);
	return w.best.dest;
}

/* How many servers a turn of the simpler walks looks at. */
#define DESTS_PER_TURN 8

/* Where the walks of sh and mh look: at the hash of an offset, the client's address and, if wished, its port. */
static __always_inline __u32 hash_index(struct list_walk *w, __u32 offset)
{
	__u32 v = w->port + (__u32)w->flow;
	return w->len == EK_MH_SIZE ? mh_hash(offset + v) % EK_MH_SIZE : (offset + hash_32(v, 8)) & (EK_SH_SIZE - 1);
}

/* ip_vs_sh_get_fallback(), ip_vs_mh_get_fallback(): through the table, each place rehashed. */
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

/* ip_vs_dh_schedule(), ip_vs_sh_schedule(), ip_vs_mh_schedule() */
__noinline __u32 schedule_hash(const struct sched_request *p)
{
	struct service *s = p ? service_at(p->service) : 0;
	if (!s)
		return NO_DEST;
	struct service_half *half = &s->half[READ_ONCE(s->generation) & 1];
	struct list_walk w = list_walk_init(half);
	__u32 index, scheduler = s->scheduler, flags = s->flags;
	w.base = half->table_base;
	w.len = half->table_len;
	if (!w.len)
		return NO_DEST;
	w.flow = p->client;
	w.port = flags & SERVICE_PORT ? p->port : 0;
	w.hash = scheduler == SCHED_DH ? hash_32(p->vip, 8) : hash_index(&w, 0);
	struct dest *d = dest_in_list(w.base + w.hash % w.len, &index);
	if (d && is_eligible(d))
		return index;
	if (scheduler == SCHED_DH || !(flags & SERVICE_FALLBACK))
		return NO_DEST;
	bpf_loop(w.len, hash_fallback, &w, 0);
	return w.dest;
}

/* twos: two servers at random, each as likely as it is heavy; the less loaded of them (ip_vs_twos_schedule()). */
struct twos_walk {
	__u32 base, len, total;
	__u32 first, second; /* how much weight is still to be passed */
	__u32 dest[2];
};

/* What so many servers of the list weigh together, a block of them at most. */
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

/* The same of a block, which remembers it in place of its best server; as in scan_blocks(). */
static __always_inline __u32 twos_block_weight(struct twos_walk *w, __u32 nth)
{
	__u32 number = w->base / EK_BLOCK + nth;
	struct block *b = bpf_map_lookup_elem(&blocks, &number);
	if (!b || nth * EK_BLOCK >= w->len)
		return 0;
	__u64 known = READ_ONCE(b->best);
	if (known >> 32 == READ_ONCE(b->version))
		return known;
	__u32 version = __sync_fetch_and_add(&b->version, 0), sum = twos_weight(w, nth * EK_BLOCK, EK_BLOCK);
	b->best = (__u64)version << 32 | sum;
	return sum;
}

static long twos_sum(__u32 turn, struct twos_walk *w)
{
	w->total += twos_weight(w, turn * DESTS_PER_TURN, DESTS_PER_TURN);
	return 0;
}

/* How many blocks are weighed in one turn. */
#define TWOS_BLOCKS_PER_TURN 4

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

/* Draws among these. 1: both are found, or there are no more servers. */
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
	return twos_sample_some(w, turn * DESTS_PER_TURN, DESTS_PER_TURN) & 1; /* as the verifier wants to see it */
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
	__u32 none = READ_ONCE(settings.no_dest), by_blocks = half->blocks == EK_BLOCK;
	struct twos_walk w = { .base = half->list_base, .len = half->list_len, .total = none + 1, .dest = { none, none } };
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
	return (__s64)READ_ONCE(b->weight) * overhead(a) > (__s64)READ_ONCE(a->weight) * overhead(b) ? w.dest[1] : w.dest[0];
}

#endif
