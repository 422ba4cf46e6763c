/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Flows that have been seen of late. What a known connection's packet costs is the wait for its entry, and many entries do not
 * fit into a processor's cache. A packet in which nothing happens needs little of its entry, and here that little is kept: six
 * bytes a flow, ten flows in a cache line. Who was found twice in the connection table within a spell (four seconds by the
 * clock) is noted here, with where its packets go until the spell is over.
 *
 * A note speaks for an entry that is there, and settled. So whatever ends that (a FIN, a RST, the entry's end) takes the note
 * away after it, and whoever puts a note looks at the entry again thereafter: one of the two sees the other. The timeout of an
 * entry counts from the end of the spell in which its packet came (see renewed()), so that it never ends early, and at most by
 * a sixteenth late.
 *
 * Nothing is guessed: a client's address and port are 48 bits, of which some choose the line, by way of a keyed hash of the rest,
 * and the rest is in the note. The service is its destination's.
 *
 * A line is of one spell, which it says itself; the first note of another empties it. Within a spell a place is used once, so
 * that who has found a flow reads its value and no other's, though the two are not one word. (Loads come in their order on
 * x86-64.)
 */
#ifndef EVENKEEL_FLOW_CACHE_H
#define EVENKEEL_FLOW_CACHE_H

#define FLOW_TAG_EMPTY 0u

/* A value: a destination of 15 bits; or WAYS, two bits of a second, a way's number less 1 in three, a destination in ten. */
#define FLOW_HAS_ROUTE 0x8000u
#define FLOW_MAX_ROUTE 8u /* the last that can be noted */
#define FLOW_HIT 0x10000u
#define FLOW_LINE_FULL 0x20000u

/* Where a flow's note is, and what it is called there. */
struct flow_cache_key {
	__u32 tag;
	__u32 line;
};

static __always_inline __u32 to_seconds(__u32 jiffies)
{
	return jiffies >> (settings.second_shift & 31);
}

/* As a line says it. */
static __always_inline __u32 epoch_now(void)
{
	return (__u32)(bpf_jiffies64() >> (settings.epoch_shift & 31)) << 1;
}

/* Is it the state of a connection in which nothing happens? UDP knows no other. */
static __always_inline int is_established(__u32 state, __u8 protocol)
{
	return protocol == IPPROTO_TCP ? state == TCP_ESTABLISHED : protocol == IPPROTO_UDP;
}

/* Sixteen spells or more: else four seconds matter. */
static __always_inline int is_long_timeout(__u32 timeout)
{
	return timeout >> (settings.epoch_shift & 31) >= 16;
}

/* When a settled connection ends that is used now, and lives so long without use. */
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

/* Lines are 65,536 at least: what the line does not say of a flow has 32 bits. */
static __always_inline void flow_cache_key_make(struct flow_cache_key *r, __be32 client, __be16 port)
{
	__u32 bits = settings.flow_cache_bits & 31;
	__u64 flow = client | (__u64)port << 32, h;
	r->tag = flow >> bits;
	h = (r->tag ^ settings.secret[0]) * 0x9e3779b97f4a7c15ull;
	h ^= h >> 32;
	h = (h + settings.secret[1]) * 0xd6e8feb86659fd93ull;
	r->line = ((__u32)flow ^ (__u32)(h >> 32)) & settings.flow_cache_mask;
}

/* Where a flow goes, in 16 bits, and the way to its client, which is of this second; 0: none. ~0 if it cannot be said so. */
static __always_inline __u32 flow_cache_value(__u32 dest, __u32 way)
{
	__u32 second = to_seconds((__u32)bpf_jiffies64()) & 3;
	if (way && way <= FLOW_MAX_ROUTE && dest < 1 << 10)
		return FLOW_HAS_ROUTE | second << 13 | (way - 1) << 10 | dest;
	return dest < FLOW_HAS_ROUTE ? dest : ~0u;
}

static __always_inline __u32 flow_cache_dest(__u32 value)
{
	return value & (value & FLOW_HAS_ROUTE ? 0x3ff : 0x7fff);
}

/* Of a value with WAYS: the way to the client, with the stamp of this second, or with another if it was not looked up in it. */
static __always_inline __u32 flow_cache_route(__u32 value, __u32 stamp)
{
	return (value >> 13 ^ stamp >> 10) & 3 ? stamp ^ 0x400 : ((value >> 10 & 7) + 1) | stamp;
}

/* Where in its line a flow is first looked for, and put if there is room: one of eight places, so that the last is taken last. */
static __always_inline __u32 flow_cache_home(__u32 flow)
{
	return flow * 0x9e3779b1u >> 29;
}

/* A flow's value and FOUND, if it is there; else FULL, if there is no place for it, or 0. */
static __always_inline __u32 flow_cache_lookup(const struct flow_cache_key *r)
{
	__u32 line = r->line;
	struct flow_cache_line *l = bpf_map_lookup_elem(&flow_cache, &line);
	__u64 flow = r->tag, at = flow_cache_home(flow);
	if (!l || READ_ONCE(l->epoch) != epoch_now() || flow <= EK_FLOW_CACHE_DELETED)
		return 0;
	if (READ_ONCE(l->tag[at]) != flow) {
		at = 0;
		/* which of them it is nobody can guess: see conn_in() */
#pragma unroll
		for (int i = 0; i < EK_FLOW_CACHE_ENTRIES; i++) {
			__u64 mine = (__s64)((READ_ONCE(l->tag[i]) ^ flow) - 1) >> 63;
			asm volatile("" : "+r"(mine));
			at |= mine & (i + 1);
		}
		at--;
	}
	asm volatile("" : "+r"(at)); /* the verifier wants to see its bounds here */
	if (at >= EK_FLOW_CACHE_ENTRIES)
		return READ_ONCE(l->tag[EK_FLOW_CACHE_ENTRIES - 1]) == FLOW_TAG_EMPTY ? 0 : FLOW_LINE_FULL;
	__u32 value = READ_ONCE(l->value[at]);
	/* emptied meanwhile, the place might be another's */
	return READ_ONCE(l->tag[at]) == r->tag ? value | FLOW_HIT : 0;
}

/* Gets hold of a line in this spell; empties it if it is of one before. */
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

/* Puts a flow into a line that is held; returns its place + 1, or 0. Who is there and goes elsewhere is another service's. */
static __always_inline __u32 flow_cache_put(struct flow_cache_line *l, __u32 flow, __u32 value)
{
	__u32 at = flow_cache_home(flow);
	if (READ_ONCE(l->tag[at]) != FLOW_TAG_EMPTY)
		at = EK_FLOW_CACHE_ENTRIES;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < EK_FLOW_CACHE_ENTRIES; i++) {
		__u32 is = READ_ONCE(l->tag[i]);
		if (is == flow) {
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
	__sync_lock_test_and_set(&l->tag[at], flow);
	return at + 1;
}

/* Takes a client's notes away, of whichever service. */
__noinline int flow_cache_delete(__u32 client, __u32 port)
{
	struct flow_cache_key r;
	flow_cache_key_make(&r, client, port);
	struct flow_cache_line *l = bpf_map_lookup_elem(&flow_cache, &r.line);
	if (!l || r.tag <= EK_FLOW_CACHE_DELETED)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < EK_FLOW_CACHE_ENTRIES; i++)
		if (READ_ONCE(l->tag[i]) == r.tag)
			__sync_val_compare_and_swap(&l->tag[i], r.tag, EK_FLOW_CACHE_DELETED);
	return 0;
}

/* Of an entry, after it ceased to be settled. */
static __always_inline void flow_cache_delete_conn(__u64 key0, __u64 key1)
{
	if (!(key1 & KEY_V6) && (key1 >> 40 & 0x7f) == KIND_CONN)
		flow_cache_delete((__u32)key0, (__u16)key1);
}

/*
 * A flow was found again, in this entry, and goes where `value` says. The service of the entry's key is its destination's, so
 * that it is the same flow if its client is the same.
 */
__noinline int flow_cache_insert(__u32 entry, __u32 value)
{
	struct conn *e = conn_at(entry);
	struct flow_cache_key r;
	if (!e)
		return 0;
	__u64 key0 = READ_ONCE(e->key0), key1 = READ_ONCE(e->key1);
	__u8 protocol = key1 >> 32;
	flow_cache_key_make(&r, key0, key1 & 0xffff);
	struct flow_cache_line *l = bpf_map_lookup_elem(&flow_cache, &r.line);
	if (!l || r.tag <= EK_FLOW_CACHE_DELETED || (key1 >> 40 & 0xff) != KIND_CONN || !flow_cache_lock(l, epoch_now()))
		return 0;
	__u32 at = flow_cache_put(l, r.tag, value) - 1;
	__sync_fetch_and_sub(&l->epoch, EK_FLOW_CACHE_LOCKED);
	if (at >= EK_FLOW_CACHE_ENTRIES)
		return 0;
	if (READ_ONCE(e->key1) != key1 || READ_ONCE(e->key0) != key0 || READ_ONCE(e->dest) != flow_cache_dest(value) ||
	    !is_established(CONN_STATE(READ_ONCE(e->status)), protocol) || READ_ONCE(e->expires) != established_expiry(protocol))
		__sync_val_compare_and_swap(&l->tag[at], r.tag, EK_FLOW_CACHE_DELETED);
	return 0;
}

#endif
