/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Fast path: lookups in the flow cache and in the connection table, where nearly all entries are found at once. */
#ifndef EVENKEEL_FAST_LOOKUP_H
#define EVENKEEL_FAST_LOOKUP_H

/*
 * Results of the fast path that are no actions of XDP or tc. SLOW_PATH: nothing was done. FORWARD_TO + destination:
 * everything was done but forwarding.
 */
#define SLOW_PATH (~0u)
#define FORWARD_TO 0x100u

/* The connection of a packet. */
struct fast_flow {
	__u32 index;        /* of its entry */
	struct conn *entry; /* 0: the flow is cached, and the entry was not read */
	__u32 service;
	__u32 dest;
	__u32 route;  /* reply route; 0: not known */
	__u32 cached; /* the result of the flow cache; FLOW_LINE_FULL also if its tag is in use for another service */
};

/* conn_key0() of a packet, whose addresses are in this order. Reading it twice is cheaper than keeping it. */
static __always_inline __u64 packet_key0(struct iphdr *ip)
{
	return READ_ONCE(*(__u64 *)&ip->saddr);
}

/* conn_key1() of a packet, whose ports are in this order. */
static __always_inline __u64 packet_key1(void *l4, __u8 protocol)
{
	return READ_ONCE(*(__u32 *)l4) | (__u64)protocol << 32 | (__u64)KIND_CONN << 40;
}

/* The entry with a key in this line. No template has the key of a connection. */
static __always_inline struct conn *line_lookup4(__u32 line, __u64 key0, __u64 key1, __u32 *index)
{
	struct conn_line *l = line_at(line);
	if (!l)
		return 0;
	/*
	 * no branch: which of the two entries it is cannot be predicted, and the CPU would notice only when it has
	 * the line
	 */
	__u64 other = (READ_ONCE(l->entry[0].key1) ^ key1) | (READ_ONCE(l->entry[0].key0) ^ key0);
	asm volatile("" : "+r"(other));
	__u32 second = (other | -other) >> 63;
	asm volatile("" : "+r"(second));
	struct conn *e = &l->entry[second & 1];
	other = (READ_ONCE(e->key1) ^ key1) | (READ_ONCE(e->key0) ^ key0);
	*index = line * 2 + second;
	return other ? 0 : e;
}

/* Reads two lines. In a table that is half full, one IPv4 entry in eight is not in its first line. */
static __always_inline struct conn *fast_conn_lookup4(__u32 line, __u64 key0, __u64 key1, __u32 *index)
{
	struct conn *e = line_lookup4(line, key0, key1, index);
	return e ? e : line_lookup4((line + 1) & settings.conn_mask, key0, key1, index);
}

/* Reads three lines. One IPv6 entry in four, which takes a whole line, is not in its first line. */
static __always_inline struct conn *fast_conn_lookup6(const __u64 *client, const __u64 *vip, __u64 key1)
{
	__u32 line = conn_hash6(client, vip, key1);
	for (int i = 0; i < 3; i++) {
		struct conn_line *l = line_at((line + i) & settings.conn_mask);
		if (!l)
			return 0;
		if (line_matches6(l, client, vip, key1))
			return &l->entry[0];
	}
	return 0;
}

static __always_inline int is_conn_established(struct conn *e, __u8 protocol)
{
	return is_established(CONN_STATE(READ_ONCE(e->status)), protocol);
}

/* Looks up an IPv4 flow in the flow cache. The destination may belong to another service of the same client. */
static __always_inline int fast_lookup_cached(struct fast_flow *k, __be32 client, __be16 port)
{
	struct flow_cache_key key;
	flow_cache_key_make(&key, client, port);
	__u32 is = flow_cache_lookup(&key);
	k->entry = 0;
	k->index = 0;
	k->cached = is;
	k->dest = flow_cache_dest(is);
	return is & FLOW_HIT;
}

/* Looks up an IPv4 flow in the connection table. */
static __always_inline int fast_lookup4(struct fast_flow *k, __u64 key0, __u64 key1, __u32 protocol)
{
	k->entry = fast_conn_lookup4(conn_hash(key0, key1) & settings.conn_mask, key0, key1, &k->index);
	return k->entry && is_conn_established(k->entry, protocol);
}

/*
 * The connection is in use. Its entry is renewed by the first packet of an epoch; the second one inserts the flow
 * into the flow cache, where flows with few packets would only take space.
 */
static __always_inline void fast_conn_refresh(struct fast_flow *k, int v6, __u32 protocol)
{
	struct conn *e = k->entry;
	if (!e)
		return;
	__u32 expires = established_expiry(protocol);
	if (READ_ONCE(e->expires) != expires) {
		e->expires = expires;
		return;
	}
	if (v6 || k->cached == FLOW_LINE_FULL || !is_long_timeout(established_timeout(protocol)))
		return;
	__u32 value = flow_cache_value(k->dest, k->route);
	if (value < FLOW_HIT && (value | FLOW_HIT) != k->cached)
		flow_cache_insert(k->index, value);
}

/* Does the packet change no state? `l4` has the bytes of a TCP header. */
static __always_inline int keeps_state(__u8 *l4, __u32 protocol)
{
	return protocol == IPPROTO_TCP ? (l4[13] & (FIN | SYN | RST | ACK)) == ACK : protocol == IPPROTO_UDP;
}

#endif
