/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Server lists, as schedulers read them: an entry's destination, its load, and walks through a list. */
#ifndef EVENKEEL_LIST_H
#define EVENKEEL_LIST_H

#define DESTS_PER_TURN 8 /* servers that one turn of bpf_loop() handles in the simpler walks */

static __always_inline void sched_request_init(struct sched_request *r, __u32 service, struct packet *p)
{
	int v6 = p->family == 6;
	r->service = service;
	r->client = fold(p->saddr, v6);
	r->vip = fold(p->daddr, v6);
	r->port = bpf_ntohs(p->sport);
	r->target = addr_words(p->daddr) ^ (v6 ? rotl(addr_words(p->daddr + 2), 32) : 0);
}

/* Neither removed, nor quiesced (weight 0), nor overloaded. */
static __always_inline int is_eligible(struct dest *d)
{
	return (READ_ONCE(d->flags) & DEST_AVAILABLE) && READ_ONCE(d->weight) > 0 && !READ_ONCE(d->overload);
}

/* ip_vs_dest_conn_overhead() */
static __always_inline __s64 overhead(struct dest *d)
{
	return ((__s64)READ_ONCE(d->active) << 8) + READ_ONCE(d->inactive);
}

/* The destination at a position of `lists`, and its index. */
static __always_inline struct dest *dest_in_list(__u32 at, __u32 *index)
{
	__u32 *word = TABLE_GET(lists, at);
	if (!word)
		return 0;
	*index = READ_ONCE(*word);
	return bpf_map_lookup_elem(&dests, index);
}

/* The state of a walk through a service's list or table. */
struct list_walk {
	struct service_half *half;
	__u32 base, len;
	__u32 dest; /* the result */
	__u32 hash, port; /* sh, mh: the hash at which the walk begins */
	__u64 flow;
	__u32 score, weight; /* rendezvous(): of the best server so far */
};

/*
 * NO_DEST, read from a map. Verifiers before Linux 6.7 check a bpf_loop() callback as if it were called once, and
 * remove every branch that the state of the first call cannot take. They know nothing about a value from a map.
 */
static __always_inline __u32 no_dest(void)
{
	return READ_ONCE(settings.no_dest);
}

/* A walk through a service's list that has not begun yet. */
static __always_inline struct list_walk list_walk_init(struct service_half *half)
{
	__u32 none = no_dest();
	return (struct list_walk){
		.half = half,
		.base = half->list_base,
		.len = half->list_len,
		.dest = none,
		.score = none,
		.weight = none,
	};
}

#endif
