/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Insertion into the connection table, removal from it, and eviction from a full bucket. */
#ifndef EVENKEEL_CONN_INSERT_H
#define EVENKEEL_CONN_INSERT_H

/* Frees a busy entry's slot. The caller owns it, and has removed it from the counts. */
static __always_inline void conn_free(struct conn *e, struct conn *tail, __u64 key1)
{
	if (key1 & KEY_V6)
		__sync_lock_test_and_set(&tail->key1, KEY_FREE);
	__sync_lock_test_and_set(&e->key1, KEY_FREE);
}

/*
 * Removes an entry at once (ip_vs_conn_expire_now()). Its flow cache entry is the caller's business. 0: it is gone
 * already.
 */
__noinline int conn_expire(conn_handle conn)
{
	struct conn_line *l = conn_line_get(conn);
	if (!l)
		return 0;
	struct conn *e = conn_in_line(l, conn);
	__u64 key1 = READ_ONCE(e->key1);
	if (!is_key(key1) || __sync_val_compare_and_swap(&e->key1, key1, KEY_BUSY) != key1)
		return 0;
	conn_uncount(e);
	conn_free(e, &l->entry[1], key1);
	return 1;
}

/* Before an entry is published: sets the overflow bits of the lines between its key's own line and the entry. */
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

/* After an entry was published: removes all entries with its key but the first one of the bucket, which it returns. */
__noinline conn_handle conn_dedup(const struct conn_key *k)
{
	conn_handle first = 0;
	if (!k)
		return 0;
	__u32 line = key_hash(k) & settings.conn_mask;
	for (int i = 0; i < EK_BUCKET_LINES * 2; i++) {
		if (i && !(i & 1)) {
			/* a duplicate behind a line has set the line's overflow bit before it was published */
			if (!has_overflow(line))
				break;
			line = (line + 1) & READ_ONCE(settings.conn_mask);
		}
		struct conn_line *l = line_at(line);
		if (!l)
			break;
		struct conn *e = &l->entry[i & 1];
		int same = k->key1 & KEY_V6 ? !(i & 1) && line_has_key6(l, k)
					    : READ_ONCE(e->key1) == k->key1 && READ_ONCE(e->key0) == k->a;
		if (!same)
			continue;
		if (!first) {
			first = conn_handle_of(line, i & 1);
			continue;
		}
		count_reason(REASON_INSERT_RACE);
		conn_expire(conn_handle_of(line, i & 1));
		flow_cache_delete_conn(k->a, k->key1);
	}
	return first;
}

/*
 * May the connection be evicted? It was not established within a second, or it is closed. A handshake that is younger
 * than a second is left alone.
 */
static __always_inline int is_half_open(struct conn *e, __u64 key1, __u32 now)
{
	__u32 state = CONN_STATE(READ_ONCE(e->status)), protocol = key1 >> 32 & 0xff, timeout;
	if (!is_key(key1) || key_kind(key1) != KIND_CONN)
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

/* Claims the slot that a lookup found. 0: another CPU was first, or the slot's connection is in use again. */
static __always_inline int conn_claim(struct conn *e, struct conn *tail, const struct lookup_result *r, int v6,
				      __u32 now)
{
	__u64 key = r->slot_key1;
	int evict = r->conn == EVICT;
	if (__sync_val_compare_and_swap(&e->key1, key, KEY_BUSY) != key)
		return 0;
	/* it may be established by now, or used again */
	if (key != KEY_FREE && (evict ? !is_half_open(e, key, now) : is_alive(e, now))) {
		__sync_lock_test_and_set(&e->key1, key);
		return 0;
	}
	if (v6 && r->tail_key1 != KEY_TAIL) {
		__u64 second = r->tail_key1;
		int lost = __sync_val_compare_and_swap(&tail->key1, second, KEY_BUSY) != second;
		if (!lost && second != KEY_FREE && !evict && is_alive(tail, now)) {
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
 * Inserts an entry into the slot that a lookup found, and counts it. Returns the entry that the flow has now, which
 * may be another CPU's. 0: there was no slot, or another CPU took it.
 */
__noinline conn_handle conn_insert(const struct lookup_result *r, const struct new_conn *n)
{
	if (!r || !n || !r->slot)
		return 0;
	__u32 now = (__u32)bpf_jiffies64(), at = r->slot - 1;
	int v6 = (n->key.key1 & KEY_V6) != 0;
	struct conn_line *l = line_at(at >> 1);
	struct dest *d = dest_at(n->dest);
	if (!l || (!d && !(CONN_FLAGS(n->status) & CONN_AUX)))
		return 0;
	struct conn *e = &l->entry[at & 1], *tail = &l->entry[1];
	if (!conn_claim(e, tail, r, v6, now))
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

/*
 * Finds an entry to evict from a full bucket: of the nearest four lines that have half-open connections, the connection
 * that would expire first. 0: there is none.
 */
__noinline int find_half_open(const struct conn_key *k, struct lookup_result *r)
{
	if (!k || !r)
		return 0;
	__u32 h = key_hash(k), mask = settings.conn_mask, soonest = 0, now = (__u32)bpf_jiffies64();
	int v6 = (k->key1 & KEY_V6) != 0;
	r->slot = 0;
	for (int i = 0; i < EK_BUCKET_LINES * 2; i++) {
		__u32 line = (h + (i >> 1)) & mask;
		if (!(i & 7) && r->slot)
			break;
		struct conn_line *l = line_at(line);
		if (!l)
			break;
		struct conn *e = &l->entry[i & 1];
		__u64 key1 = READ_ONCE(e->key1);
		/* an IPv6 entry needs a whole line: that of another one */
		if (!is_half_open(e, key1, now) || (v6 && !(key1 & KEY_V6)))
			continue;
		__u32 expires = READ_ONCE(e->expires);
		if (r->slot && !is_past(expires, soonest))
			continue;
		soonest = expires;
		r->slot = conn_handle_of(line, i & 1);
		r->slot_key1 = key1;
		r->tail_key1 = KEY_TAIL;
	}
	r->conn = EVICT;
	return r->slot != 0;
}

/* conn_insert(), with a second lookup if another CPU took the slot. */
static __always_inline conn_handle conn_insert_retry(struct lookup_result *r, const struct new_conn *n)
{
	conn_handle conn = conn_insert(r, n);
	if (!conn && r->slot) {
		conn = conn_find(&n->key, (__u32)bpf_jiffies64(), r);
		if (!conn)
			conn = conn_insert(r, n);
	}
	return conn;
}

#endif
