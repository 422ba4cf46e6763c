/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Flows without an entry: they began while their bucket was full. Such a flow is one of a class, by hash of its addresses and
 * ports, and rendezvous hashing says where a class goes: the same for every packet and on every director, and a server that
 * comes or goes moves only the classes that are its own. What it says is remembered for each class, so that a flood costs
 * among a thousand servers what it costs among two; and so is when the class was last in use, so that its flows go on when
 * there is room again.
 */
#ifndef EVENKEEL_STATELESS_H
#define EVENKEEL_STATELESS_H

/* `classes`: destination | generation of its service << 16 | service + 1 << 32 | when << 48 */
#define CLASS_DEST(word) ((word) & 0xffff)
#define CLASS_GENERATION(word) ((word) >> 16 & 0xffff)
#define CLASS_SERVICE(word) ((word) >> 32 & 0xffff)
#define CLASS_LAST_USED(word) ((word) >> 48)
#define CLASS_TIME(jiffies) ((__u16)((jiffies) >> 10)) /* one to four seconds */

/* A client's flow to a service. No secret: other directors have to find the same. */
static __always_inline __u32 flow_class(const __be32 *client, const __be32 *vip, int v6, __be16 cport, __be16 vport)
{
	__u64 flow = conn_key0(fold(client, v6), fold(vip, v6)) ^ ((__u64)cport << 16 | vport) * 0x9e3779b97f4a7c15ull;
	flow = (flow ^ flow >> 32) * 0xd6e8feb86659fd93ull;
	flow = (flow ^ flow >> 32) * 0x9e3779b97f4a7c15ull;
	return flow >> 48;
}

static __always_inline __u64 *flow_class_get(__u32 service, __u32 class)
{
	__u32 at = (class ^ service * 0x9e3779b1u) & (EK_FLOW_CLASSES - 1);
	return bpf_map_lookup_elem(&flow_classes, &at);
}

/* Has a flow of this class been without an entry, for no longer ago than connections live? */
static __always_inline int flow_class_in_use(__u64 word, __u32 service)
{
	__u16 ago = CLASS_TIME(bpf_jiffies64()) - CLASS_LAST_USED(word);
	return CLASS_SERVICE(word) == service + 1 && ago <= settings.timeout_tcp[TCP_ESTABLISHED] >> 10;
}

/*
 * What a server pays for a hash of it and of a class: -log2(hash / 2^32), in 20 bits behind the point; by its weight, it pays
 * less. Whoever pays least has it: each as often as it is heavy (Efraimidis and Spirakis, 2006). A parabola between powers
 * of two is within 0.008 of the logarithm.
 */
static __always_inline __u32 rendezvous_score(__u32 hash)
{
	hash |= 1;
	__u32 whole = 31 - __builtin_clz(hash);
	__u64 part = (hash << (31 - whole) << 1) >> 12;
	part += (part * ((1u << 20) - part) >> 20) * 11 >> 5;
	return (32u << 20) - (whole << 20) - (__u32)part;
}

static __always_inline void rendezvous_consider(__u32 at, struct list_walk *w)
{
	__u32 index;
	struct dest *d = dest_in_list(w->base + at, &index);
	if (!d || !is_eligible(d))
		return;
	__u64 h = (w->flow ^ ((__u64)(d->addr[0] ^ d->addr[1] ^ d->addr[2] ^ d->addr[3]) << 16 | d->port)) *
		  0x9e3779b97f4a7c15ull;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ull;
	__u32 score = rendezvous_score(h >> 32), weight = READ_ONCE(d->weight);
	if (w->dest == NO_DEST || (__u64)score * w->weight < (__u64)w->score * weight) {
		w->dest = index;
		w->score = score;
		w->weight = weight;
	}
}

static long rendezvous_scan(__u32 turn, struct list_walk *w)
{
	for (__u32 i = 0; i < DESTS_PER_TURN; i++) {
		__u32 at = turn * DESTS_PER_TURN + i;
		if (at >= w->len)
			return 1;
		rendezvous_consider(at, w);
	}
	return 0;
}

__noinline __u32 rendezvous(__u32 service, __u32 class)
{
	struct service *s = service_at(service);
	if (!s)
		return NO_DEST;
	struct list_walk w = list_walk_init(&s->half[READ_ONCE(s->generation) & 1]);
	w.flow = (class + 1ull) * 0xbf58476d1ce4e5b9ull;
	bpf_loop(w.len / DESTS_PER_TURN + 1, rendezvous_scan, &w, 0);
	return w.dest;
}

/* dh, sh, mh: they need no entries to say the same again. */
static __always_inline int is_hash_scheduler(struct service *s)
{
	return s->scheduler == SCHED_DH || s->scheduler == SCHED_SH || s->scheduler == SCHED_MH;
}

/* Where the template of a flow's client leads; NO_DEST without one. */
static __always_inline __u32 template_dest(struct service *s, struct packet *p, struct scratch *scratch)
{
	struct conn_key *k = &scratch->persistence.conn.key;
	template_key(k, s, p);
	__u32 t = conn_find(k, (__u32)bpf_jiffies64(), &scratch->persistence.lookup);
	struct conn *e = t ? conn_at(t - 1) : 0;
	__u32 dest = e ? READ_ONCE(e->dest) : NO_DEST;
	struct dest *d = dest_at(dest);
	return d && (READ_ONCE(d->flags) & DEST_AVAILABLE) ? dest : NO_DEST;
}

/*
 * Where a flow without an entry goes: to its template's server, to its hash's, or to its class's. `room`: there would be a place
 * for an entry, so that it is one of ours only if its class is in use. NO_DEST: it is none, or nobody can take it.
 */
__noinline __u32 stateless_dest(__u32 service, struct packet *p, __u32 room)
{
	struct service *s = service_at(service);
	struct scratch *scratch = scratch_get();
	if (!s || !p || !scratch)
		return NO_DEST;
	__u32 class = flow_class(p->saddr, p->daddr, p->family == 6, p->sport, p->dport);
	__u64 *word = flow_class_get(service, class), was = word ? READ_ONCE(*word) : 0;
	if (!word || (room && !flow_class_in_use(was, service)))
		return NO_DEST;
	__u32 dest = s->flags & SERVICE_PERSISTENT ? template_dest(s, p, scratch) : NO_DEST, generation = READ_ONCE(s->generation);
	/* what is remembered of another time, or another service, is not so now */
	__u32 says = CLASS_SERVICE(was) == service + 1 ? (__u32)was : ~generation << 16;
	if (dest == NO_DEST && is_hash_scheduler(s)) {
		sched_request_init(&scratch->create.request, service, p);
		dest = schedule_hash(&scratch->create.request);
	} else if (dest == NO_DEST) {
		struct dest *d = dest_at(CLASS_DEST(says));
		dest = CLASS_DEST(says);
		if (CLASS_GENERATION(says) != (generation & 0xffff) || !d || d->service != service || !is_eligible(d)) {
			dest = rendezvous(service, class);
			says = (dest & 0xffff) | generation << 16;
		}
	}
	if (dest == NO_DEST)
		return NO_DEST;
	count_reason(REASON_TABLE_FULL);
	__u64 now = says | (service + 1ull) << 32 | (__u64)CLASS_TIME(bpf_jiffies64()) << 48;
	if (now != was)
		*word = now;
	return dest;
}

/* In a crowded bucket: a place for this flow, of somebody who is closed, or was half-open for a second, if there is one. */
__noinline int conn_evict_insert(__u32 service, __u32 dest, struct packet *p, struct lookup_result *f)
{
	struct scratch *scratch = scratch_get();
	if (!scratch || !p || !f)
		return 0;
	struct new_conn *n = &scratch->create.conn;
	if (!find_half_open(&n->key, f))
		return 0;
	struct dest *d = dest_at(dest);
	if (!d)
		return 0;
	__u32 flags = CONN_FLAGS(n->status) & ~CONN_NO_OUTPUT, one_way = d->method == FORWARD_NAT ? 0 : CONN_NO_OUTPUT;
	n->dest = dest;
	n->control = 0;
	n->status = CONN_STATUS(CONN_STATE(n->status), flags | one_way, 0);
	__u32 number = conn_insert(f, n);
	struct service *s = service_at(service);
	if (!number || !s)
		return 0;
	count_reason(REASON_EVICTED);
	if (s->mark && !(CONN_FLAGS(n->status) & CONN_NO_OUTPUT))
		reply_tuple_insert(p, dest, number);
	return 1;
}

#endif
