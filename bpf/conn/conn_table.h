/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The connection table: find, claim, free.
 *
 * An entry is free, busy or whole, by its key1. Any CPU takes a free entry by compare-and-swap, writes it, and publishes
 * it by storing the key. Two CPUs that insert the same flow at once both publish, then both look again: whoever sees a
 * twin frees the one that stands later in the bucket, so that one entry and one count remain. An entry past its time is
 * absent for whoever meets it; the sweep, or whoever needs the place, frees it.
 *
 * A line holds two entries of IPv4 or one of IPv6. The latter is claimed by its first half, then by its second; while it
 * is there the second half says KEY_TAIL, which nobody but the first half's holder touches.
 *
 * Entries go by their numbers + 1, 0 for none, and not by pointers, so that the functions here can be global: the
 * verifier then checks each of them once, and not on every path that leads to it.
 */
#ifndef EVENKEEL_CONN_TABLE_H
#define EVENKEEL_CONN_TABLE_H

#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))

#define CONN_STATE(status) ((status) & 0xff)
#define CONN_FLAGS(status) (((status) >> 8) & 0xff)
#define CONN_ROUTE(status) ((status) >> 16)
#define CONN_STATUS(state, flags, way) ((__u32)(state) | (__u32)(flags) << 8 | (__u32)(way) << 16)

/* What an entry is found by. IPv4: a is key0, and the rest 0. */
struct conn_key {
	__u64 a, b; /* the client; IPv4: client | service << 32, and nothing */
	__u64 c, d; /* IPv6: the service */
	__u64 key1;
};

/* What a look into the table finds. */
struct lookup_result {
	__u64 slot_key1; /* what room's key1 was */
	__u64 tail_key1; /* IPv6: what its second half's was */
	__u32 conn;    /* whole, of this key, not past its time */
	__u32 slot;     /* a place for it: free, or long past its time; if `entry` is FORCED, not even that */
};

#define EVICT (~0u)

/* What a new entry is made of. */
struct new_conn {
	struct conn_key key;
	__u32 dest;
	__u32 status;
	__u32 control;
	__u32 timeout;
};

static __always_inline int is_past(__u32 when, __u32 now)
{
	return (__s32)(now - when) >= 0;
}

/* Keyed, so that nobody outside can aim flows at one bucket. */
static __always_inline __u32 conn_hash(__u64 key0, __u64 key1)
{
	__u64 h = (key0 ^ settings.secret[0]) * 0x9e3779b97f4a7c15ull;
	h ^= h >> 32;
	h = (h + (key1 ^ settings.secret[1])) * 0xd6e8feb86659fd93ull;
	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9ull;
	h ^= h >> 32;
	return (__u32)h;
}

/* Of IPv6; the addresses in two words each, as they lie in a packet. */
static __always_inline __u32 conn_hash6(const __u64 *client, const __u64 *vip, __u64 key1)
{
	__u64 h = (READ_ONCE(client[0]) ^ settings.secret[1]) * 0x9e3779b97f4a7c15ull;
	h ^= h >> 32;
	h = (h + READ_ONCE(client[1])) * 0xd6e8feb86659fd93ull;
	h ^= h >> 29;
	h = (h + READ_ONCE(vip[0])) * 0xbf58476d1ce4e5b9ull;
	h ^= h >> 32;
	h = (h + READ_ONCE(vip[1])) * 0x9e3779b97f4a7c15ull;
	h ^= h >> 31;
	return conn_hash(h, key1);
}

static __always_inline __u32 key_hash6(const struct conn_key *k)
{
	return conn_hash6(&k->a, &k->c, k->key1);
}

static __always_inline __u32 key_hash(const struct conn_key *k)
{
	return k->key1 & KEY_V6 ? key_hash6(k) : conn_hash(k->a, k->key1);
}

static __always_inline __u64 conn_key0(__be32 client, __be32 vip)
{
	return (__u64)client | (__u64)vip << 32;
}

static __always_inline __u64 conn_key1(__be16 cport, __be16 vport, __u8 protocol, __u8 kind)
{
	return (__u64)cport | (__u64)vport << 16 | (__u64)protocol << 32 | (__u64)kind << 40;
}

static __always_inline __u64 addr_words(const __be32 *w)
{
	return (__u64)w[0] | (__u64)w[1] << 32;
}

static __always_inline void key_make(struct conn_key *k, const __be32 *client, const __be32 *vip, int v6, __u64 key1)
{
	if (v6) {
		k->a = addr_words(client);
		k->b = addr_words(client + 2);
		k->c = addr_words(vip);
		k->d = addr_words(vip + 2);
		k->key1 = key1 | KEY_V6;
	} else {
		k->a = conn_key0(client[0], vip[0]);
		k->b = k->c = k->d = 0;
		k->key1 = key1;
	}
}

static __always_inline int is_key(__u64 key1)
{
	return key1 != KEY_FREE && key1 != KEY_BUSY && key1 != KEY_TAIL;
}

static __always_inline struct conn_line *line_at(__u32 line)
{
	return bpf_map_lookup_elem(&conns, &line);
}

static __always_inline struct conn *conn_at(__u32 entry)
{
	struct conn_line *l = line_at(entry >> 1);
	if (!l)
		return 0;
	asm volatile("" : "+r"(l)); /* the verifier wants to see the test before the addition */
	return &l->entry[entry & 1];
}

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

/* A template that controls connections does not expire: the sweep renews it. */
static __always_inline int controls_conns(struct conn *e)
{
	return (CONN_FLAGS(READ_ONCE(e->status)) & CONN_TEMPLATE) && READ_ONCE(e->control);
}

static __always_inline int is_alive(struct conn *e, __u32 now)
{
	return controls_conns(e) || !is_past(READ_ONCE(e->expires), now);
}

/* Free, or expired long enough to be somebody else's place. */
static __always_inline int is_reusable(struct conn *e, __u64 k, __u32 now, __u32 grace)
{
	return k == KEY_FREE || (is_key(k) && !controls_conns(e) && is_past(READ_ONCE(e->expires) + grace, now));
}

static __always_inline int conn_look(struct conn *e, __u32 number, __u64 key0, __u64 key1, __u32 now, __u32 grace,
				     struct lookup_result *f)
{
	__u64 k = READ_ONCE(e->key1);
	if (k == key1 && READ_ONCE(e->key0) == key0) {
		if (is_alive(e, now)) {
			f->conn = number;
			return 1;
		}
		/* this very flow, too old: its own place is the best one */
		f->slot = number;
		f->slot_key1 = k;
	} else if (!f->slot && is_reusable(e, k, now, grace)) {
		f->slot = number;
		f->slot_key1 = k;
	}
	return 0;
}

/* Looks a key of IPv4 up. Returns the entry's number + 1; `f` says as much, and where there is room. */
__noinline __u32 conn_find4(__u64 key0, __u64 key1, __u32 now, struct lookup_result *f)
{
	if (!f)
		return 0;
	__u32 h = conn_hash(key0, key1), mask = settings.conn_mask, grace = settings.grace;
	f->conn = f->slot = 0;
	for (int i = 0; i < EK_BUCKET_LINES; i++) {
		__u32 line = (h + i) & mask;
		struct conn_line *l = line_at(line);
		if (!l)
			return 0;
		if (conn_look(&l->entry[0], line * 2 + 1, key0, key1, now, grace, f))
			return f->conn;
		if (conn_look(&l->entry[1], line * 2 + 2, key0, key1, now, grace, f))
			return f->conn;
		if (f->slot && !has_overflow(line))
			break;
	}
	return 0;
}

static __always_inline int conn_is6(struct conn_line *l, const __u64 *client, const __u64 *vip, __u64 key1)
{
	struct conn *e = &l->entry[0];
	struct conn_tail *t = (struct conn_tail *)&l->entry[1];
	return READ_ONCE(e->key1) == key1 && READ_ONCE(e->key0) == READ_ONCE(client[0]) && READ_ONCE(t->client) == READ_ONCE(client[1]) &&
	       READ_ONCE(t->vip[0]) == READ_ONCE(vip[0]) && READ_ONCE(t->vip[1]) == READ_ONCE(vip[1]);
}

static __always_inline int key_is6(struct conn_line *l, const struct conn_key *k)
{
	return conn_is6(l, &k->a, &k->c, k->key1);
}

/* The same for IPv6, which needs a whole line. */
__noinline __u32 conn_find6(const struct conn_key *k, __u32 now, struct lookup_result *f)
{
	if (!f || !k)
		return 0;
	__u32 h = key_hash6(k), mask = settings.conn_mask, grace = settings.grace;
	f->conn = f->slot = 0;
	for (int i = 0; i < EK_BUCKET_LINES; i++) {
		__u32 line = (h + i) & mask;
		struct conn_line *l = line_at(line);
		if (!l)
			return 0;
		struct conn *e = &l->entry[0], *tail = &l->entry[1];
		__u64 first = READ_ONCE(e->key1), second = READ_ONCE(tail->key1);
		int mine = key_is6(l, k);
		if (mine && is_alive(e, now)) {
			f->conn = line * 2 + 1;
			return f->conn;
		}
		if (mine || (!f->slot && is_reusable(e, first, now, grace) &&
			     (second == KEY_TAIL ? first & KEY_V6 : is_reusable(tail, second, now, grace)))) {
			f->slot = line * 2 + 1;
			f->slot_key1 = first;
			f->tail_key1 = second;
		}
		if (f->slot && !has_overflow(line))
			break;
	}
	return 0;
}

static __always_inline __u32 conn_find(const struct conn_key *k, __u32 now, struct lookup_result *f)
{
	return k->key1 & KEY_V6 ? conn_find6(k, now, f) : conn_find4(k->a, k->key1, now, f);
}

#endif
