/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Keys of the connection table, their hash, and handles of entries. */
#ifndef EVENKEEL_CONN_KEY_H
#define EVENKEEL_CONN_KEY_H

#define CONN_STATE(status) ((status) & 0xff)
#define CONN_FLAGS(status) (((status) >> 8) & 0xff)
#define CONN_ROUTE(status) ((status) >> 16)
#define CONN_STATUS(state, flags, route) ((__u32)(state) | (__u32)(flags) << 8 | (__u32)(route) << 16)

#define KEY_CLIENT_PORT 0xffffull
#define KEY_PROTOCOL (0xffull << 32)
#define KEY_KIND (0x7full << 40)

/* The key of an entry. IPv4: `a` is key0; b, c and d are 0. IPv6: a and b are the client, c and d the service. */
struct conn_key {
	__u64 a, b;
	__u64 c, d;
	__u64 key1;
};

/* A new entry's contents. User space writes it too: see conn/import.h. */
struct new_conn {
	struct conn_key key;
	__u32 dest;
	__u32 status;
	__u32 control;
	__u32 timeout; /* jiffies */
};

static __always_inline __u64 conn_key0(__be32 client, __be32 vip)
{
	return (__u64)client | (__u64)vip << 32;
}

static __always_inline __u64 conn_key1(__be16 cport, __be16 vport, __u8 protocol, __u8 kind)
{
	return (__u64)cport | (__u64)vport << 16 | (__u64)protocol << 32 | (__u64)kind << 40;
}

static __always_inline __u32 key_kind(__u64 key1)
{
	return key1 >> 40 & 0x7f;
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

/* Is it a key, and none of KEY_FREE, KEY_BUSY and KEY_TAIL? */
static __always_inline int is_key(__u64 key1)
{
	return key1 != KEY_FREE && key1 != KEY_BUSY && key1 != KEY_TAIL;
}

/* Keyed by the secret, so that clients cannot aim flows at one bucket. */
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

/* The same for IPv6. An address is two words, in network byte order. */
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

/* The handle of one of a line's two entries. */
static __always_inline conn_handle conn_handle_of(__u32 line, __u32 half)
{
	return line * 2 + half + 1;
}

static __always_inline struct conn_line *line_at(__u32 line)
{
	return bpf_map_lookup_elem(&conns, &line);
}

/* An entry by its index. */
static __always_inline struct conn *conn_at(__u32 index)
{
	struct conn_line *l = line_at(index >> 1);
	if (!l)
		return 0;
	asm volatile("" : "+r"(l)); /* the verifier requires the test before the addition */
	return &l->entry[index & 1];
}

/* 0 if there is none. */
static __always_inline struct conn *conn_get(conn_handle conn)
{
	return conn ? conn_at(conn - 1) : 0;
}

/* The line that an entry is in. */
static __always_inline struct conn_line *conn_line_get(conn_handle conn)
{
	return conn ? line_at((conn - 1) >> 1) : 0;
}

static __always_inline struct conn *conn_in_line(struct conn_line *l, conn_handle conn)
{
	return &l->entry[(conn - 1) & 1];
}

#endif
