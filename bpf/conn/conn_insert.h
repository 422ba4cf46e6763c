/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* How an entry comes into the connection table, and how it goes. */
#ifndef EVENKEEL_CONN_INSERT_H
#define EVENKEEL_CONN_INSERT_H

/* Gives a busy entry's place back. The caller holds it and has taken it out of the counts. */
static __always_inline void conn_free(struct conn *e, struct conn *tail, __u64 key1)
{
	if (key1 & KEY_V6)
		__sync_lock_test_and_set(&tail->key1, KEY_FREE);
	__sync_lock_test_and_set(&e->key1, KEY_FREE);
}

/* Frees an entry now (ip_vs_conn_expire_now()); somebody else may have done it already. `recent` may still know it. */
__noinline int conn_expire(__u32 number)
{
	if (!number)
		return 0;
	struct conn_line *l = line_at((number - 1) >> 1);
	if (!l)
		return 0;
	struct conn *e = &l->entry[(number - 1) & 1];
	__u64 key1 = READ_ONCE(e->key1);
	if (!is_key(key1) || __sync_val_compare_and_swap(&e->key1, key1, KEY_BUSY) != key1)
		return 0;
	conn_uncount(e);
	conn_free(e, &l->entry[1], key1);
	return 1;
}

/* Before publishing: says of every line from the key's own to the entry's that it has spilled. */
static __always_inline void mark_overflow(const struct conn_key *k, __u32 line)
{
	__u32 h = key_hash(k) & settings.conn_mask, mask = settings.conn_mask;
	for (int i = 0; i < EK_BUCKET_LINES; i++) {
		__u32 at = (h + i) & mask;
		if (at == line)
			return;
		__u64 *w = overflow_word(at), bit = 1ull << (at & 63);
		if (w && !(READ_ONCE(*w) & bit))
			__sync_fetch_and_or(w, bit);
	}
}

/*
 * After publishing: is there a twin? Frees all but the first in the bucket's order.
 * Returns the number + 1 of the one that remains.
 */
__noinline __u32 conn_dedup(const struct conn_key *k)
{
	__u32 first = 0;
	if (!k)
		return 0;
	__u32 line = key_hash(k) & settings.conn_mask;
	for (int i = 0; i < EK_BUCKET_LINES * 2; i++) {
		if (i && !(i & 1)) {
			/* a twin behind a line has marked it before it was published */
			if (!has_overflow(line))
				break;
			line = (line + 1) & READ_ONCE(settings.conn_mask);
		}
		struct conn_line *l = line_at(line);
		if (!l)
			break;
		struct conn *e = &l->entry[i & 1];
		int mine = k->key1 & KEY_V6 ? !(i & 1) && key_is6(l, k)
					    : READ_ONCE(e->key1) == k->key1 && READ_ONCE(e->key0) == k->a;
		if (!mine)
			continue;
		if (!first) {
			first = line * 2 + (i & 1) + 1;
			continue;
		}
		count_reason(REASON_INSERT_RACE);
		conn_expire(line * 2 + (i & 1) + 1);
		flow_cache_delete_conn(k->a, k->key1);
	}
	return first;
}

/*
 * Has a connection not begun within a second, or ended? What worked is neither, and a handshake under way is let finish.
 */
static __always_inline int is_half_open(struct conn *e, __u64 key1, __u32 now)
{
	__u32 state = CONN_STATE(READ_ONCE(e->status)), protocol = key1 >> 32 & 0xff, timeout;
	if (!is_key(key1) || (key1 >> 40 & 0x7f) != KIND_CONN)
		return 0;
	if (protocol == IPPROTO_TCP) {
		timeout = settings.timeout_tcp[state & 15];
		if (state == TCP_TIME_WAIT || state == TCP_CLOSE)
			return 1;
		if (state != TCP_SYN_RECV && state != TCP_SYN_SENT && state != TCP_SYNACK && state != TCP_NONE)
			return 0;
	} else if (protocol == IPPROTO_SCTP) {
		timeout = settings.timeout_sctp[state & 15];
		if (state == SCTP_REJECTED || state == SCTP_CLOSED)
			return 1;
		if (state >= SCTP_ESTABLISHED)
			return 0;
	} else {
		return 0;
	}
	return is_past(READ_ONCE(e->expires) - timeout + settings.hz, now);
}

/* Takes the place that a look found. 0 if somebody else was first, or its owner came back. */
static __always_inline int conn_claim(struct conn *e, struct conn *tail, const struct lookup_result *f, int v6, __u32 now)
{
	__u64 key = f->slot_key1;
	int forced = f->conn == EVICT;
	if (__sync_val_compare_and_swap(&e->key1, key, KEY_BUSY) != key)
		return 0;
	/* it may be established by now, or used again */
	if (key != KEY_FREE && (forced ? !is_half_open(e, key, now) : is_alive(e, now))) {
		__sync_lock_test_and_set(&e->key1, key);
		return 0;
	}
	if (v6 && f->tail_key1 != KEY_TAIL) {
		__u64 second = f->tail_key1;
		int lost = __sync_val_compare_and_swap(&tail->key1, second, KEY_BUSY) != second;
		if (!lost && second != KEY_FREE && !forced && is_alive(tail, now)) {
			__sync_lock_test_and_set(&tail->key1, second);
			lost = 1;
		}
		if (lost) {
			__sync_lock_test_and_set(&e->key1, key);
			return 0;
		}
		if (second != KEY_FREE)
			conn_uncount(tail);
	}
	if (key != KEY_FREE) {
		conn_uncount(e);
		if (!v6 && (key & KEY_V6))
			__sync_lock_test_and_set(&tail->key1, KEY_FREE);
	}
	return 1;
}

/*
 * Puts a new entry into the place that a look found, and counts it. Returns the number + 1 of the entry that the flow has
 * now, which another CPU may have made; 0 if the place was lost, or there was none.
 */
__noinline __u32 conn_insert(const struct lookup_result *f, const struct new_conn *n)
{
	if (!f || !n || !f->slot)
		return 0;
	__u32 now = (__u32)bpf_jiffies64(), at = f->slot - 1;
	int v6 = (n->key.key1 & KEY_V6) != 0;
	struct conn_line *l = line_at(at >> 1);
	struct dest *d = dest_at(n->dest);
	if (!l || (!d && !(CONN_FLAGS(n->status) & CONN_AUX)))
		return 0;
	struct conn *e = &l->entry[at & 1], *tail = &l->entry[1];
	if (!conn_claim(e, tail, f, v6, now))
		return 0;
	e->key0 = n->key.a;
	e->dest = n->dest;
	e->expires = now + n->timeout;
	e->status = n->status;
	e->control = n->control;
	if (v6) {
		struct conn_tail *t = (struct conn_tail *)tail;
		t->client = n->key.b;
		t->vip[0] = n->key.c;
		t->vip[1] = n->key.d;
		__sync_lock_test_and_set(&t->key1, KEY_TAIL);
	}
	mark_overflow(&n->key, at >> 1);
	if (d)
		dest_count(d, n->dest, CONN_FLAGS(n->status), 1);
	__sync_lock_test_and_set(&e->key1, n->key.key1);
	return conn_dedup(&n->key);
}

/* In a full bucket: the place of a half-open connection; the one that would expire first, of the nearest four lines with any. */
__noinline int find_half_open(const struct conn_key *k, struct lookup_result *f)
{
	if (!k || !f)
		return 0;
	__u32 h = key_hash(k), mask = settings.conn_mask, soonest = 0, now = (__u32)bpf_jiffies64();
	int v6 = (k->key1 & KEY_V6) != 0;
	f->slot = 0;
	for (int i = 0; i < EK_BUCKET_LINES * 2; i++) {
		__u32 line = (h + (i >> 1)) & mask;
		if (!(i & 7) && f->slot)
			break;
		struct conn_line *l = line_at(line);
		if (!l)
			break;
		struct conn *e = &l->entry[i & 1];
		__u64 key1 = READ_ONCE(e->key1);
		/* one of IPv6 needs a line, as another one has it */
		if (!is_half_open(e, key1, now) || (v6 && !(key1 & KEY_V6)))
			continue;
		__u32 expires = READ_ONCE(e->expires);
		if (f->slot && !is_past(expires, soonest))
			continue;
		soonest = expires;
		f->slot = line * 2 + (i & 1) + 1;
		f->slot_key1 = key1;
		f->tail_key1 = KEY_TAIL;
	}
	f->conn = EVICT;
	return f->slot != 0;
}

/* As conn_insert(), looking again if another CPU took the place. */
static __always_inline __u32 conn_insert_retry(struct lookup_result *f, const struct new_conn *n)
{
	__u32 number = conn_insert(f, n);
	if (!number && f->slot) {
		number = conn_find(&n->key, (__u32)bpf_jiffies64(), f);
		if (!number)
			number = conn_insert(f, n);
	}
	return number;
}

#endif
