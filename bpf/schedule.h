/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Which real server takes a new connection. Table schedulers walk or look into a table that user space made; scan
 * schedulers look at every server. crates/core/src/schedulers has the twins in plain Rust.
 */
#ifndef EVENKEEL_SCHEDULE_H
#define EVENKEEL_SCHEDULE_H

#define NO_DEST (~0u)

/* Neither removed, nor quiesced (weight 0), nor over its threshold. */
static __always_inline int eligible(struct dest *d)
{
	return (READ(d->flags) & DEST_AVAILABLE) && READ(d->weight) > 0 && !READ(d->overload);
}

static __always_inline struct dest *dest_in_list(__u32 at, __u32 *index)
{
	__u32 *word = bpf_map_lookup_elem(&lists, &at);
	if (!word)
		return 0;
	*index = READ(*word);
	return bpf_map_lookup_elem(&dests, index);
}

struct walk {
	struct service_half *half;
	__u32 base, len;
	__u32 dest;
	__u32 rule; /* enum rule */
	__s64 overhead, weight; /* of the best server so far */
	__u64 flow;
	__u32 hash, port; /* sh, mh: where the walk began */
};

/*
 * A scan over a service's list, before its first server.
 *
 * Verifiers before Linux 6.7 look at a bpf_loop() callback as if it were called once, and cut out every branch that the
 * state of its first call cannot take. So what a scan begins with comes out of a map, of which they know nothing.
 */
static __always_inline struct walk scan_from(struct service_half *half)
{
	struct settings *set = settings_get();
	__u32 none = set ? READ(set->no_dest) : NO_DEST;
	return (struct walk){
		.half = half, .base = half->list_base, .len = half->list_len, .dest = none, .overhead = none, .weight = none
	};
}

/* rr, wrr: the next one in the table that can take it; ip_vs_rr_schedule(), ip_vs_wrr_schedule() skip in the same way. */
static long walk_table(__u32 i, struct walk *w)
{
	__u32 len = w->len, index;
	if (!len)
		return 1;
	__u32 at = w->base + __sync_fetch_and_add(&w->half->next, 1) % len;
	struct dest *d = dest_in_list(at, &index);
	if (!d || !eligible(d))
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
	struct service_half *half = &s->half[READ(s->generation) & 1];
	struct walk w = scan_from(half);
	w.base = half->table_base;
	w.len = half->table_len;
	if (walk_table(0, &w)) /* nearly always the first */
		return w.dest;
	bpf_loop(w.len - 1, walk_table, &w, 0);
	return w.dest;
}

/* How a scan compares. All but RULE_WEIGHT: least overhead / weight; on equal terms the newer server stays. */
enum rule {
	RULE_WLC,    /* ip_vs_wlc_schedule(): active * 256 + inactive */
	RULE_LC,     /* ip_vs_lc_schedule(): the same, weights ignored */
	RULE_SED,    /* ip_vs_sed_schedule(): active + 1 */
	RULE_NQ,     /* ip_vs_nq_schedule(): as sed, but an idle server wins at once */
	RULE_FO,     /* ip_vs_fo_schedule(): greatest weight */
	RULE_OVF,    /* ip_vs_ovf_schedule(): greatest weight of those with no more connections than weight */
};

/* ip_vs_dest_conn_overhead() */
static __always_inline __s64 overhead(struct dest *d)
{
	return ((__s64)READ(d->active) << 8) + READ(d->inactive);
}

static __always_inline int better(struct walk *w, __s64 oh, __s64 weight)
{
	return w->dest == NO_DEST || w->overhead * weight > oh * w->weight;
}

/* How many servers one turn of a scan looks at: a turn of bpf_loop() costs as much as the look at a server. */
#define SCAN_TURN 8

static __always_inline int scan_one(__u32 i, struct walk *w)
{
	__u32 index, rule = w->rule;
	struct dest *d = dest_in_list(w->base + i, &index);
	if (!d || !eligible(d))
		return 0;
	__s64 oh, weight = READ(d->weight);
	if (rule == RULE_WLC) {
		oh = overhead(d);
	} else if (rule == RULE_LC) {
		oh = overhead(d);
		weight = 1;
	} else if (rule == RULE_SED || rule == RULE_NQ) {
		oh = (__s64)READ(d->active) + 1;
		if (rule == RULE_NQ && oh == 1) {
			w->dest = index;
			return 1;
		}
	} else {
		if (rule == RULE_OVF && READ(d->active) > weight)
			return 0;
		oh = 1; /* greatest weight: least 1 / weight */
	}
	if (better(w, oh, weight)) {
		w->dest = index;
		w->overhead = oh;
		w->weight = weight;
	}
	return 0;
}

static long scan(__u32 turn, struct walk *w)
{
	for (__u32 i = 0; i < SCAN_TURN; i++) {
		__u32 at = turn * SCAN_TURN + i;
		if (at >= w->len || scan_one(at, w))
			return 1;
	}
	return 0;
}

__noinline __u32 schedule_scan(__u32 service, __u32 rule)
{
	struct service *s = service_at(service);
	if (!s)
		return NO_DEST;
	struct walk w = scan_from(&s->half[READ(s->generation) & 1]);
	w.rule = rule;
	bpf_loop(w.len / SCAN_TURN + 1, scan, &w, 0);
	return w.dest;
}

/* No room for an entry: the highest hash of (flow, server) wins, on every director and for every packet alike. */
static long scan_rendezvous(__u32 i, struct walk *w)
{
	__u32 index;
	struct dest *d = dest_in_list(w->base + i, &index);
	if (!d || !eligible(d))
		return 0;
	__u64 h = (w->flow ^ ((__u64)(d->addr[0] ^ d->addr[1] ^ d->addr[2] ^ d->addr[3]) << 16 | d->port)) *
		  0x9e3779b97f4a7c15ull;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ull;
	__s64 rank = (__s64)(h >> 1);
	if (w->dest == NO_DEST || rank > w->overhead) {
		w->dest = index;
		w->overhead = rank;
	}
	return 0;
}

__noinline __u32 schedule_stateless(__u32 service, __u64 flow)
{
	struct service *s = service_at(service);
	if (!s)
		return NO_DEST;
	struct walk w = scan_from(&s->half[READ(s->generation) & 1]);
	w.flow = flow;
	bpf_loop(w.len, scan_rendezvous, &w, 0);
	return w.dest;
}

/* Where the walks of sh and mh look: at the hash of an offset, the client's address and, if wished, its port. */
static __always_inline __u32 look_at(struct walk *w, __u32 offset)
{
	__u32 v = w->port + (__u32)w->flow;
	return w->len == EK_MH_SIZE ? mh_hash(offset + v) % EK_MH_SIZE : (offset + hash_32(v, 8)) & (EK_SH_SIZE - 1);
}

/* ip_vs_sh_get_fallback(), ip_vs_mh_get_fallback(): through the table, each place rehashed. */
static long walk_fallback(__u32 i, struct walk *w)
{
	__u32 index, len = w->len;
	if (!len)
		return 1;
	__u32 at = look_at(w, (i + w->hash) % len);
	struct dest *d = dest_in_list(w->base + at % len, &index);
	if (!d || !eligible(d))
		return 0;
	w->dest = index;
	return 1;
}

/* ip_vs_dh_schedule(), ip_vs_sh_schedule(), ip_vs_mh_schedule() */
__noinline __u32 schedule_hash(const struct pick *p)
{
	struct service *s = p ? service_at(p->service) : 0;
	if (!s)
		return NO_DEST;
	struct service_half *half = &s->half[READ(s->generation) & 1];
	struct walk w = scan_from(half);
	__u32 index, scheduler = s->scheduler, flags = s->flags;
	w.base = half->table_base;
	w.len = half->table_len;
	if (!w.len)
		return NO_DEST;
	w.flow = p->client;
	w.port = flags & SERVICE_PORT ? p->port : 0;
	w.hash = scheduler == SCHED_DH ? hash_32(p->vip, 8) : look_at(&w, 0);
	struct dest *d = dest_in_list(w.base + w.hash % w.len, &index);
	if (d && eligible(d))
		return index;
	if (scheduler == SCHED_DH || !(flags & SERVICE_FALLBACK))
		return NO_DEST;
	bpf_loop(w.len, walk_fallback, &w, 0);
	return w.dest;
}

/* twos: two servers at random, each as likely as it is heavy; the less loaded of them (ip_vs_twos_schedule()). */
struct two {
	__u32 base, total;
	__u32 first, second; /* how much weight is still to be passed */
	__u32 dest[2];
};

static long weigh(__u32 i, struct two *w)
{
	__u32 index;
	struct dest *d = dest_in_list(w->base + i, &index);
	if (d && eligible(d))
		w->total += READ(d->weight);
	return 0;
}

static long draw(__u32 i, struct two *w)
{
	__u32 index;
	struct dest *d = dest_in_list(w->base + i, &index);
	if (!d || !eligible(d))
		return 0;
	__u32 weight = READ(d->weight);
	if (w->first < weight && w->dest[0] == NO_DEST)
		w->dest[0] = index;
	w->first -= weight;
	if (w->second < weight && w->dest[1] == NO_DEST)
		w->dest[1] = index;
	w->second -= weight;
	return 0;
}

__noinline __u32 schedule_twos(__u32 service)
{
	struct service *s = service_at(service);
	struct settings *set = settings_get();
	if (!s || !set)
		return NO_DEST;
	struct service_half *half = &s->half[READ(s->generation) & 1];
	__u32 none = READ(set->no_dest);
	struct two w = { .base = half->list_base, .total = none + 1, .dest = { none, none } };
	bpf_loop(half->list_len, weigh, &w, 0);
	if (!w.total)
		return NO_DEST;
	w.first = bpf_get_prandom_u32() % w.total;
	w.second = bpf_get_prandom_u32() % w.total;
	bpf_loop(half->list_len, draw, &w, 0);
	struct dest *a = dest_at(w.dest[0]), *b = dest_at(w.dest[1]);
	if (!a || !b)
		return a ? w.dest[0] : b ? w.dest[1] : NO_DEST;
	return (__s64)READ(b->weight) * overhead(a) > (__s64)READ(a->weight) * overhead(b) ? w.dest[1] : w.dest[0];
}

#endif
