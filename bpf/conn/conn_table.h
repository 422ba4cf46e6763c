/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The connection table: its rules, and lookups. conn/conn_insert.h inserts and removes.
 *
 * key1 says whether an entry is free, busy or valid. A CPU claims a free entry by compare-and-swap, writes it, and
 * publishes it by storing the key. If two CPUs insert the same flow at the same time, both publish, then both look
 * again: a CPU that sees a duplicate removes the one that is later in the bucket, so that one entry and one count
 * remain. An entry whose timeout is over does not exist for lookups; the expiry timer frees it, or a CPU that needs
 * its slot.
 *
 * A line holds two IPv4 entries or one IPv6 entry. The latter is claimed by its first half, then by its second. While
 * it exists the second half is KEY_TAIL, and only the owner of the first half changes it.
 *
 * Functions pass entries as handles and not as pointers, so that they can be global: the verifier then checks each of
 * them once, and not on every path that leads to it.
 */
#ifndef EVENKEEL_CONN_TABLE_H
#define EVENKEEL_CONN_TABLE_H

/* The result of a lookup: the entry, and the slot for a new entry if there is none. */
struct lookup_result {
	__u64 slot_key1; /* the slot's key1 at that moment */
	__u64 tail_key1; /* IPv6: that of its second half */
	conn_handle conn; /* a valid entry with this key that has not expired */
	conn_handle slot; /* free, or expired for longer than settings.grace; if `conn` is EVICT, an entry to evict */
};

#define EVICT (~0u)

static __always_inline __u64 *overflow_word(__u32 line)
{
	__u32 word = line >> 6;
	return bpf_map_lookup_elem(&conn_overflow, &word);
}

/* May there be entries behind this line that belong to it or before it? */
static __always_inline int has_overflow(__u32 line)
{
	__u64 *w = overflow_word(line);
	return w && (READ_ONCE(*w) >> (line & 63) & 1);
}

/* A template that controls connections does not expire: the expiry timer renews it. */
static __always_inline int controls_conns(struct conn *e)
{
	return (CONN_FLAGS(READ_ONCE(e->status)) & CONN_TEMPLATE) && READ_ONCE(e->control);
}

static __always_inline int is_alive(struct conn *e, __u32 now)
{
	return controls_conns(e) || !is_past(READ_ONCE(e->expires), now);
}

/* May the slot be used for another flow? */
static __always_inline int is_reusable(struct conn *e, __u64 k, __u32 now, __u32 grace)
{
	return k == KEY_FREE || (is_key(k) && !controls_conns(e) && is_past(READ_ONCE(e->expires) + grace, now));
}

static __always_inline int conn_check(struct conn *e, conn_handle conn, __u64 key0, __u64 key1, __u32 now, __u32 grace,
				      struct lookup_result *r)
{
	__u64 k = READ_ONCE(e->key1);
	if (k == key1 && READ_ONCE(e->key0) == key0) {
		if (is_alive(e, now)) {
			r->conn = conn;
			return 1;
		}
		/* the expired entry of this very flow is the best slot */
		r->slot = conn;
		r->slot_key1 = k;
	} else if (!r->slot && is_reusable(e, k, now, grace)) {
		r->slot = conn;
		r->slot_key1 = k;
	}
	return 0;
}

/* Looks up an IPv4 key. */
__noinline conn_handle conn_find4(__u64 key0, __u64 key1, __u32 now, struct lookup_result *r)
{
	if (!r)
		return 0;
	__u32 h = conn_hash(key0, key1), mask = settings.conn_mask, grace = settings.grace;
	r->conn = r->slot = 0;
	for (int i = 0; i < EK_BUCKET_LINES; i++) {
		__u32 line = (h + i) & mask;
		struct conn_line *l = line_at(line);
		if (!l)
			return 0;
		if (conn_check(&l->entry[0], conn_handle_of(line, 0), key0, key1, now, grace, r))
			return r->conn;
		if (conn_check(&l->entry[1], conn_handle_of(line, 1), key0, key1, now, grace, r))
			return r->conn;
		if (r->slot && !has_overflow(line))
			break;
	}
	return 0;
}

static __always_inline int line_matches6(struct conn_line *l, const __u64 *client, const __u64 *vip, __u64 key1)
{
	struct conn *e = &l->entry[0];
	struct conn_tail *t = (struct conn_tail *)&l->entry[1];
	return READ_ONCE(e->key1) == key1 && READ_ONCE(e->key0) == READ_ONCE(client[0]) &&
	       READ_ONCE(t->client) == READ_ONCE(client[1]) && READ_ONCE(t->vip[0]) == READ_ONCE(vip[0]) &&
	       READ_ONCE(t->vip[1]) == READ_ONCE(vip[1]);
}

static __always_inline int line_has_key6(struct conn_line *l, const struct conn_key *k)
{
	return line_matches6(l, &k->a, &k->c, k->key1);
}

/* Looks up an IPv6 key. Its slot is a whole line. */
__noinline conn_handle conn_find6(const struct conn_key *k, __u32 now, struct lookup_result *r)
{
	if (!r || !k)
		return 0;
	__u32 h = key_hash6(k), mask = settings.conn_mask, grace = settings.grace;
	r->conn = r->slot = 0;
	for (int i = 0; i < EK_BUCKET_LINES; i++) {
		__u32 line = (h + i) & mask;
		struct conn_line *l = line_at(line);
		if (!l)
			return 0;
		struct conn *e = &l->entry[0], *tail = &l->entry[1];
		__u64 first = READ_ONCE(e->key1), second = READ_ONCE(tail->key1);
		int same = line_has_key6(l, k);
		if (same && is_alive(e, now)) {
			r->conn = conn_handle_of(line, 0);
			return r->conn;
		}
		if (same || (!r->slot && is_reusable(e, first, now, grace) &&
			     (second == KEY_TAIL ? first & KEY_V6 : is_reusable(tail, second, now, grace)))) {
			r->slot = conn_handle_of(line, 0);
			r->slot_key1 = first;
			r->tail_key1 = second;
		}
		if (r->slot && !has_overflow(line))
			break;
	}
	return 0;
}

/* Looks up a key. Returns the entry, or 0; `r` also says where a new one would go. */
static __always_inline conn_handle conn_find(const struct conn_key *k, __u32 now, struct lookup_result *r)
{
	return k->key1 & KEY_V6 ? conn_find6(k, now, r) : conn_find4(k->a, k->key1, now, r);
}

#endif
