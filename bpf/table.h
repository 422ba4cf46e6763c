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
#ifndef EVENKEEL_TABLE_H
#define EVENKEEL_TABLE_H

#define READ(x) (*(volatile typeof(x) *)&(x))

#define CONN_STATE(life) ((life) & 0xff)
#define CONN_FLAGS(life) (((life) >> 8) & 0xff)
#define CONN_ROUTE(life) ((life) >> 16)
#define CONN_STATUS(state, flags, way) ((__u32)(state) | (__u32)(flags) << 8 | (__u32)(way) << 16)

/* What an entry is found by. IPv4: a is key0, and the rest 0. */
struct key {
	__u64 a, b; /* the client; IPv4: client | service << 32, and nothing */
	__u64 c, d; /* IPv6: the service */
	__u64 key1;
};

/* What a look into the table finds. */
struct found {
	__u64 room_key; /* what room's key1 was */
	__u64 tail_key; /* IPv6: what its second half's was */
	__u32 entry;    /* whole, of this key, not past its time */
	__u32 room;     /* a place for it: free, or long past its time; if `entry` is FORCED, not even that */
};

#define FORCED (~0u)

/* What a new entry is made of. */
struct fresh {
	struct key key;
	__u32 dest;
	__u32 life;
	__u32 control;
	__u32 timeout;
};

static __always_inline int passed(__u32 when, __u32 now)
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
	__u64 h = (READ(client[0]) ^ settings.secret[1]) * 0x9e3779b97f4a7c15ull;
	h ^= h >> 32;
	h = (h + READ(client[1])) * 0xd6e8feb86659fd93ull;
	h ^= h >> 29;
	h = (h + READ(vip[0])) * 0xbf58476d1ce4e5b9ull;
	h ^= h >> 32;
	h = (h + READ(vip[1])) * 0x9e3779b97f4a7c15ull;
	h ^= h >> 31;
	return conn_hash(h, key1);
}

static __always_inline __u32 key_hash6(const struct key *k)
{
	return conn_hash6(&k->a, &k->c, k->key1);
}

static __always_inline __u32 key_hash(const struct key *k)
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

static __always_inline __u64 words(const __be32 *w)
{
	return (__u64)w[0] | (__u64)w[1] << 32;
}

static __always_inline void key_make(struct key *k, const __be32 *client, const __be32 *vip, int v6, __u64 key1)
{
	if (v6) {
		k->a = words(client);
		k->b = words(client + 2);
		k->c = words(vip);
		k->d = words(vip + 2);
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

static __always_inline __u64 *spill_word(__u32 line)
{
	__u32 word = line >> 6;
	return bpf_map_lookup_elem(&spills, &word);
}

/* May there be entries behind this line that belong to it or before it? */
static __always_inline int spilled(__u32 line)
{
	__u64 *w = spill_word(line);
	return w && (READ(*w) >> (line & 63) & 1);
}

/* A template that controls connections does not expire: the sweep renews it. */
static __always_inline int controls(struct conn *e)
{
	return (CONN_FLAGS(READ(e->life)) & CONN_TEMPLATE) && READ(e->control);
}

static __always_inline int alive(struct conn *e, __u32 now)
{
	return controls(e) || !passed(READ(e->expires), now);
}

/* Free, or expired long enough to be somebody else's place. */
static __always_inline int roomy(struct conn *e, __u64 k, __u32 now, __u32 grace)
{
	return k == KEY_FREE || (is_key(k) && !controls(e) && passed(READ(e->expires) + grace, now));
}

static __always_inline int conn_look(struct conn *e, __u32 number, __u64 key0, __u64 key1, __u32 now, __u32 grace,
				     struct found *f)
{
	__u64 k = READ(e->key1);
	if (k == key1 && READ(e->key0) == key0) {
		if (alive(e, now)) {
			f->entry = number;
			return 1;
		}
		/* this very flow, too old: its own place is the best one */
		f->room = number;
		f->room_key = k;
	} else if (!f->room && roomy(e, k, now, grace)) {
		f->room = number;
		f->room_key = k;
	}
	return 0;
}

/* Looks a key of IPv4 up. Returns the entry's number + 1; `f` says as much, and where there is room. */
__noinline __u32 conn_find4(__u64 key0, __u64 key1, __u32 now, struct found *f)
{
	if (!f)
		return 0;
	__u32 h = conn_hash(key0, key1), mask = settings.conn_mask, grace = settings.grace;
	f->entry = f->room = 0;
	for (int i = 0; i < EK_BUCKET_LINES; i++) {
		__u32 line = (h + i) & mask;
		struct conn_line *l = line_at(line);
		if (!l)
			return 0;
		if (conn_look(&l->entry[0], line * 2 + 1, key0, key1, now, grace, f))
			return f->entry;
		if (conn_look(&l->entry[1], line * 2 + 2, key0, key1, now, grace, f))
			return f->entry;
		if (f->room && !spilled(line))
			break;
	}
	return 0;
}

static __always_inline int conn_is6(struct conn_line *l, const __u64 *client, const __u64 *vip, __u64 key1)
{
	struct conn *e = &l->entry[0];
	struct conn_tail *t = (struct conn_tail *)&l->entry[1];
	return READ(e->key1) == key1 && READ(e->key0) == READ(client[0]) && READ(t->client) == READ(client[1]) &&
	       READ(t->vip[0]) == READ(vip[0]) && READ(t->vip[1]) == READ(vip[1]);
}

static __always_inline int key_is6(struct conn_line *l, const struct key *k)
{
	return conn_is6(l, &k->a, &k->c, k->key1);
}

/* The same for IPv6, which needs a whole line. */
__noinline __u32 conn_find6(const struct key *k, __u32 now, struct found *f)
{
	if (!f || !k)
		return 0;
	__u32 h = key_hash6(k), mask = settings.conn_mask, grace = settings.grace;
	f->entry = f->room = 0;
	for (int i = 0; i < EK_BUCKET_LINES; i++) {
		__u32 line = (h + i) & mask;
		struct conn_line *l = line_at(line);
		if (!l)
			return 0;
		struct conn *e = &l->entry[0], *tail = &l->entry[1];
		__u64 first = READ(e->key1), second = READ(tail->key1);
		int mine = key_is6(l, k);
		if (mine && alive(e, now)) {
			f->entry = line * 2 + 1;
			return f->entry;
		}
		if (mine || (!f->room && roomy(e, first, now, grace) &&
			     (second == KEY_TAIL ? first & KEY_V6 : roomy(tail, second, now, grace)))) {
			f->room = line * 2 + 1;
			f->room_key = first;
			f->tail_key = second;
		}
		if (f->room && !spilled(line))
			break;
	}
	return 0;
}

static __always_inline __u32 conn_find(const struct key *k, __u32 now, struct found *f)
{
	return k->key1 & KEY_V6 ? conn_find6(k, now, f) : conn_find4(k->a, k->key1, now, f);
}

#endif
