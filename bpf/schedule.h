/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Which real server takes a new connection. Table schedulers walk a table that user space made (the kernel's own walk,
 * replayed); scan schedulers look at every server. crates/core/src/schedulers has the twin in plain Rust.
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
	__u32 unused;
	__s64 overhead, weight; /* of the best server so far */
	__u64 flow;
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
	return (struct walk){ .half = half, .base = half->list_base, .dest = none, .overhead = none, .weight = none };
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

/* ip_vs_wlc_schedule(): least overhead / weight; on equal terms the newer server stays. */
static long scan_wlc(__u32 i, struct walk *w)
{
	__u32 index;
	struct dest *d = dest_in_list(w->base + i, &index);
	if (!d || !eligible(d))
		return 0;
	/* ip_vs_dest_conn_overhead() */
	__s64 overhead = ((__s64)READ(d->active) << 8) + READ(d->inactive), weight = READ(d->weight);
	if (w->dest == NO_DEST || w->overhead * weight > overhead * w->weight) {
		w->dest = index;
		w->overhead = overhead;
		w->weight = weight;
	}
	return 0;
}

/* No room for an entry: the highest hash of (flow, server) wins, on every director and for every packet alike. */
static long scan_rendezvous(__u32 i, struct walk *w)
{
	__u32 index;
	struct dest *d = dest_in_list(w->base + i, &index);
	if (!d || !eligible(d))
		return 0;
	__u64 h = (w->flow ^ ((__u64)d->addr << 16 | d->port)) * 0x9e3779b97f4a7c15ull;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ull;
	__s64 rank = (__s64)(h >> 1);
	if (w->dest == NO_DEST || rank > w->overhead) {
		w->dest = index;
		w->overhead = rank;
	}
	return 0;
}

static __always_inline struct service *service_at(__u32 index)
{
	return bpf_map_lookup_elem(&services, &index);
}

__noinline __u32 schedule(__u32 service)
{
	struct service *s = service_at(service);
	if (!s)
		return NO_DEST;
	struct service_half *half = &s->half[READ(s->generation) & 1];
	struct walk w = scan_from(half);
	if (s->scheduler == SCHED_WLC) {
		bpf_loop(half->list_len, scan_wlc, &w, 0);
		return w.dest;
	}
	w.base = half->table_base;
	w.len = half->table_len;
	if (walk_table(0, &w)) /* nearly always the first */
		return w.dest;
	bpf_loop(w.len - 1, walk_table, &w, 0);
	return w.dest;
}

__noinline __u32 schedule_stateless(__u32 service, __u64 flow)
{
	struct service *s = service_at(service);
	if (!s)
		return NO_DEST;
	struct service_half *half = &s->half[READ(s->generation) & 1];
	struct walk w = scan_from(half);
	w.flow = flow;
	bpf_loop(half->list_len, scan_rendezvous, &w, 0);
	return w.dest;
}

static __always_inline struct dest *dest_at(__u32 index)
{
	return bpf_map_lookup_elem(&dests, &index);
}

/* Where a persistent connection goes, and the template's number + 1 (0 if there was no room for one). */
struct persistent {
	__u32 dest;
	__u32 template;
};

/*
 * The template of this client's network, made if there is none, as ip_vs_sched_persist(). dest is NO_DEST if no server
 * can take it.
 */
__noinline int schedule_persistent(__u32 service, __u64 key0, __u64 key1, struct persistent *p)
{
	struct service *s = service_at(service);
	if (!s || !p)
		return 0;
	__u32 now = (__u32)bpf_jiffies64();
	struct found f = {};
	p->dest = NO_DEST;
	p->template = 0;
	__u32 number = conn_find(key0, key1, now, &f);
	if (number) {
		struct conn *t = conn_at(number - 1);
		struct dest *d = t ? dest_at(t->dest) : 0;
		if (t && (!d || !(READ(d->flags) & DEST_AVAILABLE))) {
			/* ip_vs_check_template(): its server is gone; keep it out of sight for what it still controls */
			__u64 dead = (key1 & ~(0xffull << 40)) | (__u64)KIND_DEAD_TEMPLATE << 40;
			__sync_val_compare_and_swap(&t->key1, key1, dead);
			number = conn_find(key0, key1, now, &f);
		}
	}
	if (!number) {
		struct fresh n = {
			.key0 = key0,
			.key1 = key1,
			.dest = schedule(service),
			.life = CONN_LIFE(TCP_NONE, CONN_TEMPLATE),
			.timeout = s->persist_timeout,
		};
		if (n.dest == NO_DEST)
			return 0;
		p->dest = n.dest;
		number = conn_insert(f.room, f.room_key, &n);
	}
	struct conn *t = number ? conn_at(number - 1) : 0;
	if (!t)
		return 0;
	__sync_fetch_and_add(&t->control, 1);
	t->expires = now + s->persist_timeout; /* each new connection renews it */
	p->dest = t->dest;
	p->template = number;
	return 0;
}

#endif
