/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The hash functions of the kernel's schedulers dh, sh and mh. crates/core/src/schedulers/hash.rs computes the same. */
#ifndef EVENKEEL_HASH_H
#define EVENKEEL_HASH_H

/* hash_32() of include/linux/hash.h */
static __always_inline __u32 hash_32(__u32 v, __u32 bits)
{
	return (v * 0x61C88647u) >> (32 - bits);
}

/* An address as one number in host byte order; of IPv6 the exclusive or of its four words (ip_vs_mh.c). */
static __always_inline __u32 fold(const __be32 *a, int v6)
{
	return bpf_ntohl(v6 ? a[0] ^ a[1] ^ a[2] ^ a[3] : a[0]);
}

static __always_inline __u64 rotl(__u64 x, int b)
{
	return x << b | x >> (64 - b);
}

static __always_inline void sip_round(__u64 *v)
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

/* mh: hsiphash() of four bytes with its first key, on a 64-bit kernel: SipHash-1-3, cut to 32 bits. */
__noinline __u32 mh_hash(__u32 value)
{
	const __u64 key = 2654435761ull, last = 4ull << 56 | value;
	__u64 v[4] = { 0x736f6d6570736575ull ^ key, 0x646f72616e646f6dull ^ key, 0x6c7967656e657261ull ^ key,
		       0x7465646279746573ull ^ key };
	v[3] ^= last;
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	sip_round(v);
	sip_round(v);
	sip_round(v);
	return (__u32)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

#endif
