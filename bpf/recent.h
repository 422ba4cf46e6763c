/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Flows that have been seen of late. What a known connection's packet costs is the wait for its entry, and many entries do not
 * fit into a processor's cache. A packet in which nothing happens needs little of its entry, and here that little is kept:
 * eight bytes a flow, four flows in half a cache line. Who was found twice in the connection table within a spell (four seconds
 * by the clock) leaves a word here, which says where its packets go until the spell is over.
 *
 * A word speaks for an entry that is there, and settled. So whatever ends that (a FIN, a RST, the entry's end) takes the word
 * away after it, and whoever puts a word looks at the entry again thereafter: one of the two sees the other. The timeout of an
 * entry counts from the end of the spell in which its packet came (see renewed()), so that it never ends early, and at most by
 * a sixteenth late.
 *
 * Nothing is guessed: a client's address and port are 48 bits, of which some choose the line, by way of a keyed hash of the rest,
 * and the rest is in the word. The service is its destination's. Spells have few bits: the sweep removes words long before their
 * spell's number comes again.
 */
#ifndef EVENKEEL_RECENT_H
#define EVENKEEL_RECENT_H

#define RECENT_TAKEN 0x80u
#define RECENT_WAY 0x1fu
#define RECENT_DEST(value) ((value) >> 8 & 0xffff)
#define RECENT_SECOND(value) ((value) >> 5 & 3)

/* Where a flow's word is, and what it says in its high 40 bits. */
struct recently {
	__u64 says;
	__u32 line;
};

static __always_inline __u32 second_of(struct settings *set, __u32 jiffies)
{
	return jiffies >> (set->second_shift & 31);
}

static __always_inline __u64 spell_of(struct settings *set, __u32 jiffies)
{
	return jiffies >> (set->spell_shift & 31);
}

/* Is it the state of a connection in which nothing happens? UDP knows no other. */
static __always_inline int is_settled(__u32 state, __u8 protocol)
{
	return protocol == IPPROTO_TCP ? state == TCP_ESTABLISHED : protocol == IPPROTO_UDP;
}

/* Sixteen spells or more: else four seconds matter. */
static __always_inline int is_long(struct settings *set, __u32 timeout)
{
	return timeout >> (set->spell_shift & 31) >= 16;
}

/* When a settled connection ends that is used now, and lives so long without use. */
static __always_inline __u32 renewed(struct settings *set, __u32 now, __u32 timeout)
{
	return (is_long(set, timeout) ? now | ((1u << (set->spell_shift & 31)) - 1) : now) + timeout;
}

/* The line of a flow; and what the line does not say of it. */
static __always_inline __u32 recent_place(struct settings *set, __be32 client, __be16 port, __u64 *rest)
{
	__u32 bits = set->recent_bits & 31;
	__u64 flow = client | (__u64)port << 32, h;
	*rest = flow >> bits;
	h = (*rest ^ set->secret[0]) * 0x9e3779b97f4a7c15ull;
	h ^= h >> 32;
	h = (h + set->secret[1]) * 0xd6e8feb86659fd93ull;
	return ((__u32)flow ^ (__u32)(h >> 32)) & ((1u << bits) - 1);
}

static __always_inline void recent_of(struct recently *r, struct settings *set, __be32 client, __be16 port)
{
	r->line = recent_place(set, client, port, &r->says);
	r->says = (r->says | spell_of(set, (__u32)bpf_jiffies64()) << (48 - (set->recent_bits & 31))) << 24;
}

/* The low 24 bits of a flow's word, if it is there; or 0. */
static __always_inline __u32 recent_look(const struct recently *r)
{
	__u32 line = r->line;
	struct recent_line *l = bpf_map_lookup_elem(&recent, &line);
	__u64 found = 0;
	if (!l)
		return 0;
	/* which of them it is nobody can guess: see conn_in() */
#pragma unroll
	for (int i = 0; i < EK_RECENT_WAYS; i++) {
		__u64 is = READ(l->flow[i]) ^ r->says, mine = (__s64)((is >> 24) - 1) >> 63;
		asm volatile("" : "+r"(mine));
		found ^= (found ^ is) & mine;
	}
	return found;
}

/* Puts a flow's word into its line: over its own, or one of another spell. There may be none such. */
static __always_inline int recent_put(struct settings *set, __u64 says, __u32 line, __u32 value)
{
	struct recent_line *l = bpf_map_lookup_elem(&recent, &line);
	if (!l)
		return 0;
	__u32 spell = 72 - (set->recent_bits & 31); /* the bit at which it begins */
	int at = -1;
#pragma clang loop unroll(disable)
	for (int i = 0; i < EK_RECENT_WAYS; i++) {
		__u64 is = READ(l->flow[i]);
		if (!((is ^ says) >> 24)) {
			at = i;
			break;
		}
		if (!is || (is ^ says) >> (spell & 63))
			at = i;
	}
	if (at < 0)
		return 0;
	__sync_lock_test_and_set(&l->flow[at & (EK_RECENT_WAYS - 1)], says | value | RECENT_TAKEN);
	return 1;
}

/* Takes a flow's words away, of whichever service and spell they are. */
__noinline int recent_drop(__u32 client, __u32 port)
{
	struct settings *set = settings_get();
	__u64 rest;
	if (!set)
		return 0;
	__u32 line = recent_place(set, client, port, &rest);
	__u64 flow = (1ull << (48 - (set->recent_bits & 31))) - 1; /* a word's high bits, without its spell's */
	struct recent_line *l = bpf_map_lookup_elem(&recent, &line);
	if (!l)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < EK_RECENT_WAYS; i++) {
		__u64 is = READ(l->flow[i]);
		if (is && (is >> 24 & flow) == rest)
			__sync_val_compare_and_swap(&l->flow[i], is, 0);
	}
	return 0;
}

/* Of an entry, after it ceased to be settled. */
static __always_inline void recent_forget(__u64 key0, __u64 key1)
{
	if (!(key1 & KEY_V6) && (key1 >> 40 & 0x7f) == KIND_CONN)
		recent_drop((__u32)key0, (__u16)key1);
}

/*
 * A flow was found again, in this entry. The service of its key is its destination's, so that it is the same flow if its client
 * is the same, and where it goes.
 */
__noinline int recent_learn(__u32 entry, __u64 says, __u32 line, __u32 value)
{
	struct settings *set = settings_get();
	struct conn *e = conn_at(entry);
	struct recently r;
	if (!set || !e || !recent_put(set, says, line, value))
		return 0;
	__u64 key1 = READ(e->key1);
	__u32 client = READ(e->key0), port = key1 & 0xffff;
	recent_of(&r, set, client, port);
	if (r.line != line || r.says != says || (key1 >> 40 & 0xff) != KIND_CONN || READ(e->dest) != RECENT_DEST(value) ||
	    !is_settled(CONN_STATE(READ(e->life)), key1 >> 32))
		recent_drop(client, port);
	return 0;
}

/* What the sweep does with a line: what is not of this spell goes. */
static __always_inline void recent_clean(struct settings *set, __u32 line)
{
	struct recent_line *l = bpf_map_lookup_elem(&recent, &line);
	if (!l)
		return;
	__u32 bits = set->recent_bits & 31;
	__u64 spell = spell_of(set, (__u32)bpf_jiffies64()) << (48 - bits) << 24;
#pragma clang loop unroll(disable)
	for (int i = 0; i < EK_RECENT_WAYS; i++) {
		__u64 is = READ(l->flow[i]);
		if (is && (is ^ spell) >> ((72 - bits) & 63))
			__sync_val_compare_and_swap(&l->flow[i], is, 0);
	}
}

#endif
