/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Stateless fallback: forwarding without an entry, of flows that began while their bucket was full. A hash of its
 * addresses and ports makes a flow a member of one of 65,536 flow classes, and rendezvous hashing gives each class a
 * server. The result is the same for every packet and on every director, and a server that is added or removed moves
 * only its own classes.
 *
 * The server of a class is cached, so that a flood costs the same among a thousand servers as among two. When a class
 * was last used is stored with it, so that its flows are forwarded too when there are free slots again.
 */
#ifndef EVENKEEL_STATELESS_H
#define EVENKEEL_STATELESS_H

/* flow_classes: destination | the service's generation << 16 | service + 1 << 32 | time of the last use << 48 */
#define CLASS_DEST(word) ((word) & 0xffff)
#define CLASS_GENERATION(word) ((word) >> 16 & 0xffff)
#define CLASS_SERVICE(word) ((word) >> 32 & 0xffff)
#define CLASS_LAST_USED(word) ((word) >> 48)
#define CLASS_TIME(jiffies) ((__u16)((jiffies) >> 10)) /* units of one to ten seconds, by the kernel's HZ */

/* The class of a client's flow to a service. Without a secret: other directors have to compute the same. */
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

/* Was a flow of this class forwarded without an entry, within the timeout of an established connection? */
static __always_inline int flow_class_in_use(__u64 word, __u32 service)
{
	__u16 ago = CLASS_TIME(bpf_jiffies64()) - CLASS_LAST_USED(word);
	return CLASS_SERVICE(word) == service + 1 && ago <= settings.timeout_tcp[TCP_ESTABLISHED] >> 10;
}

/*
 * A server's score for a class: -log2(hash / 2^32) of a hash of both, with 20 binary digits after the point. The
 * lowest score / weight wins, which is each server as often as its weight says (Efraimidis and Spirakis, 2006).
 * Between powers of two a parabola is within 0.008 of the logarithm.
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

static long rendezvous_turn(__u32 turn, struct list_walk *w)
{
	for (__u32 i = 0; i < DESTS_PER_TURN; i++) {
		__u32 at = turn * DESTS_PER_TURN + i;
		if (at >= w->len)
			return 1;
		rendezvous_consider(at, w);
	}
	return 0;
}

/* The server of a class. */
__noinline __u32 rendezvous(__u32 service, __u32 class)
{
	struct service *s = service_at(service);
	if (!s)
		return NO_DEST;
	struct list_walk w = list_walk_init(&s->half[READ_ONCE(s->generation) & 1]);
	w.flow = (class + 1ull) * 0xbf58476d1ce4e5b9ull;
	bpf_loop(w.len / DESTS_PER_TURN + 1, rendezvous_turn, &w, 0);
	return w.dest;
}

/*
 * The destination of a flow without an entry: its template's, its hash scheduler's, or its class's. `slot`: there is
 * a free slot, so that the flow is one of ours only if its class is in use. NO_DEST: it is none, or no server is
 * available.
 */
__noinline __u32 stateless_dest(__u32 service, struct packet *p, conn_handle slot)
{
	struct service *s = service_at(service);
	struct scratch *scratch = scratch_get();
	if (!s || !p || !scratch)
		return NO_DEST;
	__u32 class = flow_class(p->saddr, p->daddr, p->family == 6, p->sport, p->dport);
	__u64 *word = flow_class_get(service, class), was = word ? READ_ONCE(*word) : 0;
	if (!word || (slot && !flow_class_in_use(was, service)))
		return NO_DEST;
	__u32 dest = s->flags & SERVICE_PERSISTENT ? template_dest(s, p, scratch) : NO_DEST;
	__u32 generation = READ_ONCE(s->generation);
	/* a cached result of another generation or service does not hold */
	__u32 cached = CLASS_SERVICE(was) == service + 1 ? (__u32)was : ~generation << 16;
	if (dest == NO_DEST && is_hash_scheduler(s->scheduler)) {
		sched_request_init(&scratch->create.request, service, p);
		dest = schedule_hash(&scratch->create.request);
	} else if (dest == NO_DEST) {
		struct dest *d = dest_at(CLASS_DEST(cached));
		dest = CLASS_DEST(cached);
		if (CLASS_GENERATION(cached) != (generation & 0xffff) || !d || d->service != service ||
		    !is_eligible(d)) {
			dest = rendezvous(service, class);
			cached = (dest & 0xffff) | generation << 16;
		}
	}
	if (dest == NO_DEST)
		return NO_DEST;
	count_reason(REASON_TABLE_FULL);
	__u64 now = cached | (service + 1ull) << 32 | (__u64)CLASS_TIME(bpf_jiffies64()) << 48;
	if (now != was)
		*word = now;
	return dest;
}

/* In a full bucket: inserts the new connection into the slot of a closed or half-open one, if there is one. */
__noinline int conn_insert_evicting(__u32 service, __u32 dest, struct packet *p, struct lookup_result *r)
{
	struct scratch *scratch = scratch_get();
	if (!scratch || !p || !r)
		return 0;
	struct new_conn *n = &scratch->create.conn;
	if (!find_half_open(&n->key, r))
		return 0;
	struct dest *d = dest_at(dest);
	if (!d)
		return 0;
	__u32 flags = CONN_FLAGS(n->status) & ~CONN_NO_OUTPUT;
	__u32 no_output = d->method == FORWARD_NAT ? 0 : CONN_NO_OUTPUT;
	n->dest = dest;
	n->control = 0;
	n->status = CONN_STATUS(CONN_STATE(n->status), flags | no_output, 0);
	conn_handle conn = conn_insert(r, n);
	struct service *s = service_at(service);
	if (!conn || !s)
		return 0;
	count_reason(REASON_EVICTED);
	if (s->mark && !(CONN_FLAGS(n->status) & CONN_NO_OUTPUT))
		reply_tuple_insert(p, dest, conn);
	return 1;
}

#endif
