/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The connection table: find, claim, count, free.
 *
 * An entry is free, busy or whole, by its key1. Any CPU takes a free entry by compare-and-swap, writes it, and publishes
 * it by storing the key. Two CPUs that insert the same flow at once both publish, then both look again: whoever sees a
 * twin frees the one that stands later in the bucket, so that one entry and one count remain. An entry past its time is
 * absent for whoever meets it; the sweep, or whoever needs the place, frees it.
 */
#ifndef EVENKEEL_CONNECTION_H
#define EVENKEEL_CONNECTION_H

#define READ(x) (*(volatile typeof(x) *)&(x))

#define CONN_STATE(life) ((life) & 0xff)
#define CONN_FLAGS(life) (((life) >> 8) & 0xff)
#define CONN_LIFE(state, flags) ((__u32)(state) | (__u32)(flags) << 8)

static __always_inline int passed(__u32 when, __u32 now)
{
	return (__s32)(now - when) >= 0;
}

/* Keyed, so that nobody outside can aim flows at one bucket. crates/sys/src/bpf/conns.rs has the same function. */
static __always_inline __u32 conn_hash(struct settings *set, __u64 key0, __u64 key1)
{
	__u64 h = (key0 ^ set->secret[0]) * 0x9e3779b97f4a7c15ull;
	h ^= h >> 32;
	h = (h + (key1 ^ set->secret[1])) * 0xd6e8feb86659fd93ull;
	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9ull;
	h ^= h >> 32;
	return (__u32)h;
}

static __always_inline __u64 conn_key0(__be32 client, __be32 vip)
{
	return (__u64)client | (__u64)vip << 32;
}

static __always_inline __u64 conn_key1(__be16 cport, __be16 vport, __u8 protocol, __u8 kind)
{
	return (__u64)cport | (__u64)vport << 16 | (__u64)protocol << 32 | (__u64)kind << 40;
}

/*
 * What the kernel's set_tcp_state() does to a connection of which only the client's half is seen (DR, TUN): the
 * INPUT-ONLY rows of tcp_states[]. Rows: SYN, FIN, ACK, RST; the first flag set of RST, SYN, FIN, ACK counts.
 */
static const __u8 tcp_input_only[4][16] = {
	/*        NONE             ESTABLISHED      SYN_SENT         SYN_RECV        FIN_WAIT       TIME_WAIT      CLOSE           CLOSE_WAIT      LAST_ACK       LISTEN      SYNACK */
	/*syn*/ { TCP_SYN_RECV,    TCP_ESTABLISHED, TCP_ESTABLISHED, TCP_SYN_RECV,   TCP_SYN_RECV,  TCP_SYN_RECV,  TCP_SYN_RECV,   TCP_SYN_RECV,   TCP_SYN_RECV,  TCP_SYN_RECV, TCP_SYN_RECV },
	/*fin*/ { TCP_CLOSE,       TCP_FIN_WAIT,    TCP_SYN_SENT,    TCP_TIME_WAIT,  TCP_FIN_WAIT,  TCP_TIME_WAIT, TCP_CLOSE,      TCP_CLOSE_WAIT, TCP_LAST_ACK,  TCP_LISTEN, TCP_TIME_WAIT },
	/*ack*/ { TCP_ESTABLISHED, TCP_ESTABLISHED, TCP_SYN_SENT,    TCP_ESTABLISHED, TCP_FIN_WAIT, TCP_TIME_WAIT, TCP_CLOSE,      TCP_CLOSE_WAIT, TCP_CLOSE,     TCP_LISTEN, TCP_ESTABLISHED },
	/*rst*/ { TCP_CLOSE,       TCP_CLOSE,       TCP_CLOSE,       TCP_SYN_RECV,   TCP_CLOSE,     TCP_CLOSE,     TCP_CLOSE,      TCP_CLOSE,      TCP_LAST_ACK,  TCP_LISTEN, TCP_CLOSE },
};

static __always_inline __u32 tcp_next(__u32 state, struct packet *p)
{
	__u32 row = p->rst ? 3 : p->syn ? 0 : p->fin ? 1 : p->ack ? 2 : 4;
	if (row == 4) /* tcp_state_fail: a segment with none of them */
		return TCP_CLOSE;
	return tcp_input_only[row & 3][state & 15];
}

/* tcp_state_active_table[] */
static __always_inline int tcp_active(__u32 state)
{
	return state == TCP_ESTABLISHED || (state >= TCP_SYN_SENT && state <= TCP_SYN_RECV) || state == TCP_SYNACK;
}

/*
 * The overload flag with its hysteresis: ip_vs_bind_dest() sets it at u_threshold; ip_vs_dest_update_overload() clears it
 * below l_threshold, or below three quarters of u_threshold.
 */
static __always_inline void dest_overload(struct dest *d, int grew)
{
	__u32 u = READ(d->u_threshold), l = READ(d->l_threshold);
	if (!u && !READ(d->overload))
		return;
	__u32 n = READ(d->active) + READ(d->inactive);
	if (grew) {
		if (u && n >= u)
			d->overload = 1;
	} else if (l ? n < l : u ? (__u64)n * 4 < (__u64)u * 3 : 1) {
		d->overload = 0;
	}
}

/* A connection (or template) begins to count at its destination. */
static __always_inline void dest_bind(struct dest *d, __u32 flags)
{
	if (flags & CONN_TEMPLATE) {
		__sync_fetch_and_add(&d->persistent, 1);
		return;
	}
	if (flags & CONN_INACTIVE)
		__sync_fetch_and_add(&d->inactive, 1);
	else
		__sync_fetch_and_add(&d->active, 1);
	dest_overload(d, 1);
}

static __always_inline void dest_unbind(struct dest *d, __u32 flags)
{
	if (flags & CONN_TEMPLATE) {
		__sync_fetch_and_add(&d->persistent, -1);
		return;
	}
	if (flags & CONN_INACTIVE)
		__sync_fetch_and_add(&d->inactive, -1);
	else
		__sync_fetch_and_add(&d->active, -1);
	dest_overload(d, 0);
}

static __always_inline struct conn *conn_at(__u32 entry)
{
	__u32 line = entry >> 1;
	struct conn_line *l = bpf_map_lookup_elem(&conns, &line);
	return l ? &l->entry[entry & 1] : 0;
}

/* Takes a busy entry out of every count. The caller holds it. */
static __always_inline void conn_uncount(struct conn *e)
{
	__u32 dest = e->dest;
	struct dest *d = bpf_map_lookup_elem(&dests, &dest);
	if (d)
		dest_unbind(d, CONN_FLAGS(e->life));
	if (!(CONN_FLAGS(e->life) & CONN_TEMPLATE) && e->control) {
		struct conn *t = conn_at(e->control - 1);
		if (t)
			__sync_fetch_and_add(&t->control, -1);
	}
}

/*
 * What a look into the table finds. Entries go by their numbers + 1, 0 for none, and not by pointers, so that the
 * functions below can be global: the verifier then checks each of them once, and not on every path that leads to it.
 */
struct found {
	__u64 room_key; /* what room's key1 was */
	__u32 entry;    /* whole, of this key, not past its time */
	__u32 room;     /* a place for it: free, or long past its time */
};

static __always_inline int conn_look(struct conn *e, __u32 number, __u64 key0, __u64 key1, __u32 now, __u32 grace,
				     struct found *f)
{
	__u64 k = READ(e->key1);
	int controls = (CONN_FLAGS(READ(e->life)) & CONN_TEMPLATE) && READ(e->control);
	if (k == key1 && READ(e->key0) == key0) {
		/* A template that controls connections does not expire: the sweep renews it. */
		if (controls || !passed(READ(e->expires), now)) {
			f->entry = number;
			return 1;
		}
		/* this very flow, too old: its own place is the best one */
		f->room = number;
		f->room_key = k;
	} else if (!f->room &&
		   (k == KEY_FREE || (k != KEY_BUSY && !controls && passed(READ(e->expires) + grace, now)))) {
		f->room = number;
		f->room_key = k;
	}
	return 0;
}

/* Looks a key up. Returns the entry's number + 1; `f` says as much, and where there is room. */
__noinline __u32 conn_find(__u64 key0, __u64 key1, __u32 now, struct found *f)
{
	struct settings *set = settings_get();
	if (!set || !f)
		return 0;
	__u32 h = conn_hash(set, key0, key1), mask = set->conn_mask, grace = set->grace;
	f->entry = f->room = 0;
	for (int i = 0; i < EK_BUCKET_LINES; i++) {
		__u32 line = (h + i) & mask;
		struct conn_line *l = bpf_map_lookup_elem(&conns, &line);
		if (!l)
			return 0;
		if (conn_look(&l->entry[0], line * 2 + 1, key0, key1, now, grace, f))
			return f->entry;
		if (conn_look(&l->entry[1], line * 2 + 2, key0, key1, now, grace, f))
			return f->entry;
	}
	return 0;
}

/*
 * After publishing: is there a twin? Frees all but the first in the bucket's order.
 * Returns the number + 1 of the one that remains.
 */
__noinline __u32 conn_settle(__u64 key0, __u64 key1)
{
	struct settings *set = settings_get();
	__u32 first = 0;
	if (!set)
		return 0;
	__u32 h = conn_hash(set, key0, key1), mask = set->conn_mask;
	for (int i = 0; i < EK_BUCKET_LINES * 2; i++) {
		__u32 line = (h + (i >> 1)) & mask;
		struct conn_line *l = bpf_map_lookup_elem(&conns, &line);
		if (!l)
			break;
		struct conn *e = &l->entry[i & 1];
		if (READ(e->key1) != key1 || READ(e->key0) != key0)
			continue;
		if (!first) {
			first = line * 2 + (i & 1) + 1;
			continue;
		}
		count_reason(REASON_RACE);
		if (__sync_val_compare_and_swap(&e->key1, key1, KEY_BUSY) == key1) {
			conn_uncount(e);
			__sync_lock_test_and_set(&e->key1, KEY_FREE);
		}
	}
	return first;
}

/* What a new entry is made of. */
struct fresh {
	__u64 key0, key1;
	__u32 dest;
	__u32 life;
	__u32 control;
	__u32 timeout;
};

/*
 * Puts a new entry into the place that conn_find() found, and counts it. Returns the number + 1 of the entry that the
 * flow has now, which another CPU may have made; 0 if the place was lost, or there was none.
 */
__noinline __u32 conn_insert(__u32 room, __u64 room_key, struct fresh *n)
{
	if (!room || !n)
		return 0;
	__u32 now = (__u32)bpf_jiffies64(), dest = n->dest;
	struct conn *e = conn_at(room - 1);
	struct dest *d = bpf_map_lookup_elem(&dests, &dest);
	if (!e || !d || __sync_val_compare_and_swap(&e->key1, room_key, KEY_BUSY) != room_key)
		return 0;
	if (room_key != KEY_FREE) {
		if (!passed(READ(e->expires), now)) { /* its owner came back between our look and our claim */
			__sync_lock_test_and_set(&e->key1, room_key);
			return 0;
		}
		conn_uncount(e);
	}
	e->key0 = n->key0;
	e->dest = dest;
	e->expires = now + n->timeout;
	e->life = n->life;
	e->control = n->control;
	dest_bind(d, CONN_FLAGS(n->life));
	__sync_lock_test_and_set(&e->key1, n->key1);
	return conn_settle(n->key0, n->key1);
}

/* Frees an entry now (ip_vs_conn_expire_now()); somebody else may have done it already. */
static __always_inline void conn_expire(struct conn *e, __u64 key1)
{
	if (__sync_val_compare_and_swap(&e->key1, key1, KEY_BUSY) != key1)
		return;
	conn_uncount(e);
	__sync_lock_test_and_set(&e->key1, KEY_FREE);
}

/*
 * A packet of a known connection: next state, activity, timeout. As set_tcp_state(), udp_state_transition().
 */
static __always_inline void conn_touch(struct settings *set, struct conn *e, struct dest *d, struct packet *p, __u32 now)
{
	__u32 timeout = set->timeout_udp;
	if (p->protocol == IPPROTO_TCP) {
		__u32 life = READ(e->life);
		__u32 flags = CONN_FLAGS(life), was = CONN_STATE(life);
		__u32 state = tcp_next(was, p);
		if (state != was) {
			__u32 next = tcp_active(state) ? flags & ~CONN_INACTIVE : flags | CONN_INACTIVE;
			/* Only the CPU whose swap succeeds moves the counts; a packet that loses leaves the state as it is. */
			if (__sync_val_compare_and_swap(&e->life, life, CONN_LIFE(state, next)) == life) {
				if (next != flags) {
					__s32 up = next & CONN_INACTIVE ? -1 : 1;
					__sync_fetch_and_add(&d->active, up);
					__sync_fetch_and_add(&d->inactive, -up);
				}
				/* ip_vs_control_assure_ct() */
				if (state == TCP_ESTABLISHED && e->control) {
					struct conn *t = conn_at(e->control - 1);
					if (t && !(CONN_FLAGS(READ(t->life)) & CONN_ASSURED))
						__sync_fetch_and_or(&t->life, CONN_ASSURED << 8);
				}
			}
		}
		timeout = set->timeout_tcp[state & 15];
	}
	__u32 expires = now + timeout;
	if (READ(e->expires) != expires)
		e->expires = expires;
}

#endif
