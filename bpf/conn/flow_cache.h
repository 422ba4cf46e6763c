/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The flow cache: destinations of flows that were seen in this epoch, in six bytes each, ten in a cache line.
 *
 * A packet of a known connection costs mostly the wait for its entry, since many entries do not fit into a CPU's
 * cache. A packet that changes no state needs little of the entry; the flow cache has just that. An epoch is four
 * seconds. A flow of IPv4 whose entry is found for the second time in an epoch is cached until the end of the epoch.
 *
 * Rules:
 * - A cached flow has an established entry. A change that ends this (a FIN, a RST, the entry's removal) deletes the
 *   cache entry afterwards; an insertion into the cache reads the connection again afterwards. So one of the two CPUs
 *   sees what the other one did.
 * - Packets of a cached flow do not touch the connection. Its timeout therefore counts from the end of the epoch of
 *   the last packet that did (see renewed_expiry()): it is never too short, and at most a sixteenth too long.
 * - A hit is exact. A client's address and port have 48 bits: a keyed hash and some of the bits choose the line, and
 *   the other bits are the tag. The cached destination belongs to one service, which the caller compares.
 * - A line belongs to one epoch. The first insertion of another epoch empties it. Within an epoch an entry is used
 *   once, so that a lookup that finds a tag reads the value of the same flow, though the two are not one word. (This
 *   needs the order of loads on x86-64.)
 */
#ifndef EVENKEEL_FLOW_CACHE_H
#define EVENKEEL_FLOW_CACHE_H

#define FLOW_TAG_EMPTY 0u

/*
 * A value: a destination of 15 bits; or FLOW_HAS_ROUTE, the last two bits of the second in which the reply route was
 * looked up, the reply route's index in three bits, and a destination of ten.
 */
#define FLOW_HAS_ROUTE 0x8000u
#define FLOW_MAX_ROUTE 8u /* the highest reply route (index + 1) that a value can have */

/* The result of a lookup: a value and FLOW_HIT, or FLOW_LINE_FULL, or 0. */
#define FLOW_HIT 0x10000u
#define FLOW_LINE_FULL 0x20000u

/* The line of a flow, and its tag there. */
struct flow_cache_key {
	__u32 tag;
	__u32 line;
};

/* The present epoch, in the form of flow_cache_line.epoch. */
static __always_inline __u32 epoch_now(void)
{
	return (__u32)(bpf_jiffies64() >> (settings.epoch_shift & 31)) << 1;
}

/* May packets of a connection in this state be handled without a state transition? UDP has no other state. */
static __always_inline int is_established(__u32 state, __u8 protocol)
{
	return protocol == IPPROTO_TCP ? state == TCP_ESTABLISHED : protocol == IPPROTO_UDP;
}

/* At least sixteen epochs; four seconds matter in a shorter timeout. */
static __always_inline int is_long_timeout(__u32 timeout)
{
	return timeout >> (settings.epoch_shift & 31) >= 16;
}

/* The expiry of an established connection that is used now. */
static __always_inline __u32 renewed_expiry(__u32 now, __u32 timeout)
{
	return (is_long_timeout(timeout) ? now | ((1u << (settings.epoch_shift & 31)) - 1) : now) + timeout;
}

static __always_inline __u32 established_timeout(__u32 protocol)
{
	return protocol == IPPROTO_TCP ? settings.timeout_tcp[TCP_ESTABLISHED] : settings.timeout_udp;
}

static __always_inline __u32 established_expiry(__u32 protocol)
{
	return renewed_expiry((__u32)bpf_jiffies64(), established_timeout(protocol));
}

/* There are 65,536 lines at least, so that the tag has 32 bits. */
static __always_inline void flow_cache_key_make(struct flow_cache_key *k, __be32 client, __be16 port)
{
	__u32 bits = settings.flow_cache_bits & 31;
	__u64 flow = client | (__u64)port << 32, h;
	k->tag = flow >> bits;
	h = (k->tag ^ settings.secret[0]) * 0x9e3779b97f4a7c15ull;
	h ^= h >> 32;
	h = (h + settings.secret[1]) * 0xd6e8feb86659fd93ull;
	k->line = ((__u32)flow ^ (__u32)(h >> 32)) & settings.flow_cache_mask;
}

/* The value for a destination and a reply route of this second (0: none); ~0 if they do not fit. */
static __always_inline __u32 flow_cache_value(__u32 dest, __u32 route)
{
	__u32 second = to_seconds((__u32)bpf_jiffies64()) & 3;
	if (route && route <= FLOW_MAX_ROUTE && dest < 1 << 10)
		return FLOW_HAS_ROUTE | second << 13 | (route - 1) << 10 | dest;
	return dest < FLOW_HAS_ROUTE ? dest : ~0u;
}

static __always_inline __u32 flow_cache_dest(__u32 value)
{
	return value & (value & FLOW_HAS_ROUTE ? 0x3ff : 0x7fff);
}

/*
 * The reply route of a value with FLOW_HAS_ROUTE, with the stamp of this second; with another stamp if it is too old.
 */
static __always_inline __u32 flow_cache_route(__u32 value, __u32 stamp)
{
	return (value >> 13 ^ stamp >> 10) & 3 ? stamp ^ 0x400 : ((value >> 10 & 7) + 1) | stamp;
}

/* The entry of a line that a tag is stored in if it is free: one of eight, so that the last entry is used last. */
static __always_inline __u32 flow_cache_home(__u32 tag)
{
	return tag * 0x9e3779b1u >> 29;
}

/* A flow's value and FLOW_HIT; else FLOW_LINE_FULL if the line has no free entry, or 0. */
static __always_inline __u32 flow_cache_lookup(const struct flow_cache_key *k)
{
	__u32 line = k->line;
	struct flow_cache_line *l = bpf_map_lookup_elem(&flow_cache, &line);
	__u64 tag = k->tag, at = flow_cache_home(tag);
	if (!l || READ_ONCE(l->epoch) != epoch_now() || tag <= EK_FLOW_CACHE_DELETED)
		return 0;
	if (READ_ONCE(l->tag[at]) != tag) {
		at = 0;
		/* no CPU can predict which entry it is: see line_lookup4() */
#pragma unroll
		for (int i = 0; i < EK_FLOW_CACHE_ENTRIES; i++) {
			__u64 same = (__s64)((READ_ONCE(l->tag[i]) ^ tag) - 1) >> 63;
			asm volatile("" : "+r"(same));
			at |= same & (i + 1);
		}
		at--;
	}
	asm volatile("" : "+r"(at)); /* the verifier requires the bounds check here */
	if (at >= EK_FLOW_CACHE_ENTRIES)
		return READ_ONCE(l->tag[EK_FLOW_CACHE_ENTRIES - 1]) == FLOW_TAG_EMPTY ? 0 : FLOW_LINE_FULL;
	__u32 value = READ_ONCE(l->value[at]);
	/* if the line was emptied meanwhile, the value may be another flow's */
	return READ_ONCE(l->tag[at]) == k->tag ? value | FLOW_HIT : 0;
}

/* Locks a line in this epoch, and empties it if it belongs to an older one. 0: another CPU has it. */
static __always_inline int flow_cache_lock(struct flow_cache_line *l, __u32 epoch)
{
	__u32 was = READ_ONCE(l->epoch);
	if ((was & EK_FLOW_CACHE_LOCKED) || (__s32)(was - epoch) > 0 ||
	    __sync_val_compare_and_swap(&l->epoch, was, epoch | EK_FLOW_CACHE_LOCKED) != was)
		return 0;
	if (was == epoch)
		return 1;
#pragma unroll
	for (int i = 0; i < EK_FLOW_CACHE_ENTRIES; i++)
		l->tag[i] = FLOW_TAG_EMPTY;
	return 1;
}

/*
 * Stores a flow in a locked line. Returns its entry + 1; 0: the line is full, or the tag is in use for another
 * service.
 */
static __always_inline __u32 flow_cache_put(struct flow_cache_line *l, __u32 tag, __u32 value)
{
	__u32 at = flow_cache_home(tag);
	if (READ_ONCE(l->tag[at]) != FLOW_TAG_EMPTY)
		at = EK_FLOW_CACHE_ENTRIES;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < EK_FLOW_CACHE_ENTRIES; i++) {
		__u32 is = READ_ONCE(l->tag[i]);
		if (is == tag) {
			if (flow_cache_dest(READ_ONCE(l->value[i])) != flow_cache_dest(value))
				return 0;
			l->value[i] = value;
			return i + 1;
		}
		if (is == FLOW_TAG_EMPTY && at >= EK_FLOW_CACHE_ENTRIES)
			at = i;
	}
	if (at >= EK_FLOW_CACHE_ENTRIES)
		return 0;
	l->value[at] = value;
	__sync_lock_test_and_set(&l->tag[at], tag);
	return at + 1;
}

/* Deletes all cache entries of a client's address and port, whatever their service. */
__noinline int flow_cache_delete(__u32 client, __u32 port)
{
	struct flow_cache_key k;
	flow_cache_key_make(&k, client, port);
	struct flow_cache_line *l = bpf_map_lookup_elem(&flow_cache, &k.line);
	if (!l || k.tag <= EK_FLOW_CACHE_DELETED)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < EK_FLOW_CACHE_ENTRIES; i++)
		if (READ_ONCE(l->tag[i]) == k.tag)
			__sync_val_compare_and_swap(&l->tag[i], k.tag, EK_FLOW_CACHE_DELETED);
	return 0;
}

/* Deletes a connection's cache entry; called after the connection ceased to be established. */
static __always_inline void flow_cache_delete_conn(__u64 key0, __u64 key1)
{
	if (!(key1 & KEY_V6) && key_kind(key1) == KIND_CONN)
		flow_cache_delete((__u32)key0, (__u16)key1);
}

/*
 * Caches the flow of a connection (by its index), which was found for the second time in this epoch. The service in the
 * connection's key is that of its destination, so that an equal client means the same flow.
 */
__noinline int flow_cache_insert(__u32 index, __u32 value)
{
	struct conn *e = conn_at(index);
	struct flow_cache_key k;
	if (!e)
		return 0;
	__u64 key0 = READ_ONCE(e->key0), key1 = READ_ONCE(e->key1);
	__u8 protocol = key1 >> 32;
	flow_cache_key_make(&k, key0, key1 & 0xffff);
	struct flow_cache_line *l = bpf_map_lookup_elem(&flow_cache, &k.line);
	if (!l || k.tag <= EK_FLOW_CACHE_DELETED || (key1 >> 40 & 0xff) != KIND_CONN ||
	    !flow_cache_lock(l, epoch_now()))
		return 0;
	__u32 at = flow_cache_put(l, k.tag, value) - 1;
	__sync_fetch_and_sub(&l->epoch, EK_FLOW_CACHE_LOCKED);
	if (at >= EK_FLOW_CACHE_ENTRIES)
		return 0;
	if (READ_ONCE(e->key1) != key1 || READ_ONCE(e->key0) != key0 || READ_ONCE(e->dest) != flow_cache_dest(value) ||
	    !is_established(CONN_STATE(READ_ONCE(e->status)), protocol) ||
	    READ_ONCE(e->expires) != established_expiry(protocol))
		__sync_val_compare_and_swap(&l->tag[at], k.tag, EK_FLOW_CACHE_DELETED);
	return 0;
}

#endif
