/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* How a connection begins: by its template, or by its service's scheduler; with an entry, or without room for one. */
#ifndef EVENKEEL_BEGIN_H
#define EVENKEEL_BEGIN_H

static __always_inline void pick_of(struct pick *k, __u32 service, struct packet *p)
{
	int v6 = p->family == 6;
	k->service = service;
	k->client = fold(p->client, v6);
	k->vip = fold(p->vip, v6);
	k->port = bpf_ntohs(p->client_port);
	k->target = words(p->vip) ^ (v6 ? rotl(words(p->vip + 2), 32) : 0);
}

/* The key of a client network's template. Port 21 and port 0 bind every port of the client to one server. */
static __always_inline void template_key(struct key *k, struct service *s, struct packet *p)
{
	__be32 net[4];
#pragma unroll
	for (int i = 0; i < 4; i++)
		net[i] = p->client[i] & s->persist_mask[i];
	__be16 port = s->port == bpf_htons(21) ? 0 : s->port;
	if (s->mark) {
		/* ip_vs_sched_persist(): the mark stands for address and port, in the protocol IPPROTO_IP */
		__be32 mark[4] = { bpf_htonl(s->mark) };
		key_make(k, net, mark, p->family == 6, conn_key1(0, 0, 0, KIND_TEMPLATE));
		return;
	}
	key_make(k, net, p->vip, p->family == 6, conn_key1(0, port, p->protocol, KIND_TEMPLATE));
}

/* Takes a connection under a template, and renews it. */
static __always_inline __u32 template_join(struct service *s, __u32 number, __u32 now)
{
	struct conn *t = number ? conn_at(number - 1) : 0;
	if (!t)
		return NO_DEST;
	__sync_fetch_and_add(&t->control, 1);
	t->expires = now + s->persist_timeout; /* each new connection renews it */
	return t->dest;
}

/*
 * The template of this client's network, as ip_vs_sched_persist() finds it: its number + 1, or 0. The place for one is
 * kept for template_make().
 */
__noinline __u32 template_find(__u32 service, struct packet *p)
{
	struct service *s = service_at(service);
	struct scratch *mine = scratch_get();
	if (!s || !p || !mine)
		return 0;
	__u32 now = (__u32)bpf_jiffies64();
	struct found *f = &mine->template.found;
	struct key *k = &mine->template.fresh.key;
	template_key(k, s, p);
	__u32 number = conn_find(k, now, f);
	struct conn *t = number ? conn_at(number - 1) : 0;
	struct dest *d = t ? dest_at(t->dest) : 0;
	struct settings *set = settings_get();
	int quiet = set && (set->tuning & EXPIRE_QUIESCENT_TEMPLATE) && d && READ(d->weight) == 0;
	if (t && (!d || !(READ(d->flags) & DEST_AVAILABLE) || quiet)) {
		/* ip_vs_check_template(): its server is gone; keep it out of sight for what it still controls */
		__u64 key1 = k->key1;
		__u64 dead = (key1 & ~(0x7full << 40)) | (__u64)KIND_DEAD_TEMPLATE << 40;
		__sync_val_compare_and_swap(&t->key1, key1, dead);
		number = conn_find(k, now, f);
	}
	return number;
}

/* A new template where template_find() found none. Its number + 1, which may be another CPU's; 0 without room. */
__noinline __u32 template_make(__u32 service, __u32 dest)
{
	struct service *s = service_at(service);
	struct scratch *mine = scratch_get();
	if (!s || !mine)
		return 0;
	struct fresh *n = &mine->template.fresh;
	n->dest = dest;
	n->life = CONN_LIFE(TCP_NONE, CONN_TEMPLATE, 0);
	n->timeout = s->persist_timeout;
	n->control = 0;
	return conn_insert(&mine->template.found, n);
}

/* A flow without an entry, and without room for one: its template's server, or the one that hashing finds. */
__noinline __u32 stateless(__u32 service, struct packet *p)
{
	struct service *s = service_at(service);
	if (!s || !p)
		return NO_DEST;
	count_reason(REASON_TABLE_FULL);
	if (s->flags & SERVICE_PERSISTENT) {
		struct found f = {};
		struct key k;
		template_key(&k, s, p);
		__u32 t = conn_find(&k, (__u32)bpf_jiffies64(), &f);
		struct conn *e = t ? conn_at(t - 1) : 0;
		struct dest *d = e ? dest_at(e->dest) : 0;
		if (d && (READ(d->flags) & DEST_AVAILABLE))
			return e->dest;
	}
	int v6 = p->family == 6;
	return schedule_stateless(service, conn_key0(fold(p->client, v6), fold(p->vip, v6)) ^
						   ((__u64)p->client_port << 16 | p->vport) * 31);
}

/*
 * A new connection whose bucket is full. It goes to the server that hashing finds, so that it can do without an entry; and
 * takes the place of one that is closed, or was half-open for a second, if there is one. So a flood pushes out its own like.
 */
__noinline __u32 crowded(__u32 service, struct packet *p, struct found *f)
{
	struct scratch *mine = scratch_get();
	if (!mine || !p || !f)
		return NO_DEST;
	__u32 dest = stateless(service, p);
	struct dest *d = dest == NO_DEST ? 0 : dest_at(dest);
	struct fresh *n = &mine->begin.fresh;
	if (!d || !half_open_room(&n->key, f))
		return dest;
	__u32 flags = CONN_FLAGS(n->life) & ~CONN_ONE_WAY, one_way = d->method == FORWARD_NAT ? 0 : CONN_ONE_WAY;
	n->dest = dest;
	n->control = 0;
	n->life = CONN_LIFE(CONN_STATE(n->life), flags | one_way, 0);
	__u32 number = conn_insert(f, n);
	struct service *s = service_at(service);
	if (!number || !s)
		return dest;
	count_reason(REASON_PUSHED_OUT);
	if (s->mark && !one_way)
		note_answers(p, dest, number);
	return dest;
}

/*
 * May this packet begin a connection? As tcp_conn_schedule(), udp_conn_schedule(), sctp_conn_schedule(); source port 20
 * (FTP data) never does.
 */
static __always_inline int may_begin(struct settings *set, struct packet *p)
{
	if (p->client_port == bpf_htons(20) || p->related)
		return 0;
	if (p->protocol == IPPROTO_TCP)
		return ((p->event & SYN) || (set->tuning & SLOPPY_TCP)) && !(p->event & RST);
	if (p->protocol == IPPROTO_SCTP)
		return p->event == SCTP_EV_INIT || ((set->tuning & SLOPPY_SCTP) && p->event != SCTP_ABORT);
	return 1;
}

/*
 * A packet that no entry is for: choose a server, make the entry at the place that `f` knows. Returns the destination.
 */
__noinline __u32 begin(__u32 service, struct packet *p, struct found *f)
{
	struct service *s = service_at(service);
	struct settings *set = settings_get();
	struct scratch *mine = scratch_get();
	if (!s || !set || !p || !f || !mine)
		return NO_DEST;
	__u32 flags = s->flags;
	__u32 template = flags & SERVICE_PERSISTENT ? template_find(service, p) : 0, dest = NO_DEST;
	if (!template) {
		struct pick *k = &mine->begin.pick;
		pick_of(k, service, p);
		dest = schedule(k);
		if (dest == NO_DEST)
			return NO_DEST;
		if (flags & SERVICE_PERSISTENT)
			template = template_make(service, dest);
	}
	if (template) {
		__u32 by = template_join(s, template, (__u32)bpf_jiffies64());
		dest = by == NO_DEST ? dest : by;
	}
	struct dest *d = dest_at(dest);
	if (!d)
		return NO_DEST;
	count_connection(service, dest);
	__u32 number = 0;
	if (!(flags & SERVICE_ONE_PACKET) || p->protocol != IPPROTO_UDP) {
		__u32 one_way = d->method == FORWARD_NAT ? 0 : CONN_ONE_WAY;
		struct outlook o = outlook(set, one_way ? CLIENT_ONLY : FROM_CLIENT, TCP_NONE, p);
		struct fresh *n = &mine->begin.fresh;
		n->dest = dest;
		n->life = CONN_LIFE(o.state, one_way | (o.active ? 0 : CONN_INACTIVE), 0);
		n->control = template;
		n->timeout = o.timeout;
		key_make(&n->key, p->client, p->vip, p->family == 6,
			 conn_key1(p->client_port, p->vport, p->protocol, KIND_CONN));
		number = conn_place(f, n);
		if (number) {
			struct conn *e = conn_at(number - 1);
			__u32 to = e ? e->dest : NO_DEST; /* ours, or the one of a CPU that was first */
			if (s->mark && !one_way && to == dest)
				note_answers(p, dest, number);
			return to;
		}
	}
	struct conn *t = template ? conn_at(template - 1) : 0;
	if (t)
		__sync_fetch_and_add(&t->control, -1);
	/* one-packet scheduling keeps no entry (IP_VS_CONN_F_ONE_PACKET) */
	if ((flags & SERVICE_ONE_PACKET) && p->protocol == IPPROTO_UDP)
		return dest;
	return crowded(service, p, f);
}

#endif
