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
#ifndef EVENKEEL_RECENT_H
#define EVENKEEL_RECENT_H

#define RECENT_FREE 0u

/* A value: a destination of 15 bits; or WAYS, two bits of a second, a way's number less 1 in three, a destination in ten. */
#define RECENT_WAYS 0x8000u
#define RECENT_WAY 8u /* the last that can be noted */
#define RECENT_FOUND 0x10000u
#define RECENT_FULL 0x20000u

/* Where a flow's note is, and what it is called there. */
struct recently {
	__u32 flow;
	__u32 line;
};

static __always_inline __u32 second_of(__u32 jiffies)
{
	return jiffies >> (settings.second_shift & 31);
}

/* As a line says it. */
static __always_inline __u32 spell_now(void)
{
	return (__u32)(bpf_jiffies64() >> (settings.epoch_shift & 31)) << 1;
}

/* Is it the state of a connection in which nothing happens? UDP knows no other. */
static __always_inline int is_settled(__u32 state, __u8 protocol)
{
	return protocol == IPPROTO_TCP ? state == TCP_ESTABLISHED : protocol == IPPROTO_UDP;
}

/* Sixteen spells or more: else four seconds matter. */
static __always_inline int is_long(__u32 timeout)
{
	return timeout >> (settings.epoch_shift & 31) >= 16;
}

/* When a settled connection ends that is used now, and lives so long without use. */
static __always_inline __u32 renewed(__u32 now, __u32 timeout)
{
	return (is_long(timeout) ? now | ((1u << (settings.epoch_shift & 31)) - 1) : now) + timeout;
}

static __always_inline __u32 settled_timeout(__u32 protocol)
{
	return protocol == IPPROTO_TCP ? settings.timeout_tcp[TCP_ESTABLISHED] : settings.timeout_udp;
}

static __always_inline __u32 settled_until(__u32 protocol)
{
	return renewed((__u32)bpf_jiffies64(), settled_timeout(protocol));
}

/* Lines are 65,536 at least: what the line does not say of a flow has 32 bits. */
static __always_inline void flow_cache_key_make(struct recently *r, __be32 client, __be16 port)
{
	__u32 bits = settings.flow_cache_bits & 31;
	__u64 flow = client | (__u64)port << 32, h;
	r->flow = flow >> bits;
	h = (r->flow ^ settings.secret[0]) * 0x9e3779b97f4a7c15ull;
	h ^= h >> 32;
	h = (h + settings.secret[1]) * 0xd6e8feb86659fd93ull;
	r->line = ((__u32)flow ^ (__u32)(h >> 32)) & settings.flow_cache_mask;
}

/* Where a flow goes, in 16 bits, and the way to its client, which is of this second; 0: none. ~0 if it cannot be said so. */
static __always_inline __u32 recent_value(__u32 dest, __u32 way)
{
	__u32 second = second_of((__u32)bpf_jiffies64()) & 3;
	if (way && way <= RECENT_WAY && dest < 1 << 10)
		return RECENT_WAYS | second << 13 | (way - 1) << 10 | dest;
	return dest < RECENT_WAYS ? dest : ~0u;
}

static __always_inline __u32 recent_dest(__u32 value)
{
	return value & (value & RECENT_WAYS ? 0x3ff : 0x7fff);
}

/* Of a value with WAYS: the way to the client, with the stamp of this second, or with another if it was not looked up in it. */
static __always_inline __u32 recent_way(__u32 value, __u32 stamp)
{
	return (value >> 13 ^ stamp >> 10) & 3 ? stamp ^ 0x400 : ((value >> 10 & 7) + 1) | stamp;
}

/* Where in its line a flow is first looked for, and put if there is room: one of eight places, so that the last is taken last. */
static __always_inline __u32 recent_home(__u32 flow)
{
	return flow * 0x9e3779b1u >> 29;
}

/* A flow's value and FOUND, if it is there; else FULL, if there is no place for it, or 0. */
static __always_inline __u32 recent_look(const struct recently *r)
{
	__u32 line = r->line;
	struct flow_cache_line *l = bpf_map_lookup_elem(&recent, &line);
	__u64 flow = r->flow, at = recent_home(flow);
	if (!l || READ(l->spell) != spell_now() || flow <= EK_FLOW_CACHE_DELETED)
		return 0;
	if (READ(l->flow[at]) != flow) {
		at = 0;
		/* which of them it is nobody can guess: see conn_in() */
#pragma unroll
		for (int i = 0; i < EK_FLOW_CACHE_ENTRIES; i++) {
			__u64 mine = (__s64)((READ(l->flow[i]) ^ flow) - 1) >> 63;
			asm volatile("" : "+r"(mine));
			at |= mine & (i + 1);
		}
		at--;
	}
	asm volatile("" : "+r"(at)); /* the verifier wants to see its bounds here */
	if (at >= EK_FLOW_CACHE_ENTRIES)
		return READ(l->flow[EK_FLOW_CACHE_ENTRIES - 1]) == RECENT_FREE ? 0 : RECENT_FULL;
	__u32 value = READ(l->value[at]);
	/* emptied meanwhile, the place might be another's */
	return READ(l->flow[at]) == r->flow ? value | RECENT_FOUND : 0;
}

/* Gets hold of a line in this spell; empties it if it is of one before. */
static __always_inline int recent_hold(struct flow_cache_line *l, __u32 spell)
{
	__u32 was = READ(l->spell);
	if ((was & EK_FLOW_CACHE_LOCKED) || (__s32)(was - spell) > 0 ||
	    __sync_val_compare_and_swap(&l->spell, was, spell | EK_FLOW_CACHE_LOCKED) != was)
		return 0;
	if (was == spell)
		return 1;
#pragma unroll
	for (int i = 0; i < EK_FLOW_CACHE_ENTRIES; i++)
		l->flow[i] = RECENT_FREE;
	return 1;
}

/* Puts a flow into a line that is held; returns its place + 1, or 0. Who is there and goes elsewhere is another service's. */
static __always_inline __u32 recent_put(struct flow_cache_line *l, __u32 flow, __u32 value)
{
	__u32 at = recent_home(flow);
	if (READ(l->flow[at]) != RECENT_FREE)
		at = EK_FLOW_CACHE_ENTRIES;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < EK_FLOW_CACHE_ENTRIES; i++) {
		__u32 is = READ(l->flow[i]);
		if (is == flow) {
			if (recent_dest(READ(l->value[i])) != recent_dest(value))
				return 0;
			l->value[i] = value;
			return i + 1;
		}
		if (is == RECENT_FREE && at >= EK_FLOW_CACHE_ENTRIES)
			at = i;
	}
	if (at >= EK_FLOW_CACHE_ENTRIES)
		return 0;
	l->value[at] = value;
	__sync_lock_test_and_set(&l->flow[at], flow);
	return at + 1;
}

/* Takes a client's notes away, of whichever service. */
__noinline int recent_drop(__u32 client, __u32 port)
{
	struct recently r;
	flow_cache_key_make(&r, client, port);
	struct flow_cache_line *l = bpf_map_lookup_elem(&recent, &r.line);
	if (!l || r.flow <= EK_FLOW_CACHE_DELETED)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < EK_FLOW_CACHE_ENTRIES; i++)
		if (READ(l->flow[i]) == r.flow)
			__sync_val_compare_and_swap(&l->flow[i], r.flow, EK_FLOW_CACHE_DELETED);
	return 0;
}

/* Of an entry, after it ceased to be settled. */
static __always_inline void recent_forget(__u64 key0, __u64 key1)
{
	if (!(key1 & KEY_V6) && (key1 >> 40 & 0x7f) == KIND_CONN)
		recent_drop((__u32)key0, (__u16)key1);
}

/*
 * A flow was found again, in this entry, and goes where `value` says. The service of the entry's key is its destination's, so
 * that it is the same flow if its client is the same.
 */
__noinline int recent_learn(__u32 entry, __u32 value)
{
	struct conn *e = conn_at(entry);
	struct recently r;
	if (!e)
		return 0;
	__u64 key0 = READ(e->key0), key1 = READ(e->key1);
	__u8 protocol = key1 >> 32;
	flow_cache_key_make(&r, key0, key1 & 0xffff);
	struct flow_cache_line *l = bpf_map_lookup_elem(&recent, &r.line);
	if (!l || r.flow <= EK_FLOW_CACHE_DELETED || (key1 >> 40 & 0xff) != KIND_CONN || !recent_hold(l, spell_now()))
		return 0;
	__u32 at = recent_put(l, r.flow, value) - 1;
	__sync_fetch_and_sub(&l->spell, EK_FLOW_CACHE_LOCKED);
	if (at >= EK_FLOW_CACHE_ENTRIES)
		return 0;
	if (READ(e->key1) != key1 || READ(e->key0) != key0 || READ(e->dest) != recent_dest(value) ||
	    !is_settled(CONN_STATE(READ(e->life)), protocol) || READ(e->expires) != settled_until(protocol))
		__sync_val_compare_and_swap(&l->flow[at], r.flow, EK_FLOW_CACHE_DELETED);
	return 0;
}

#endif
