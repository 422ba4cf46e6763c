/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Checksums: the Internet checksum (RFC 1071), its incremental update (RFC 1624), and that of SCTP's CRC32c
 * (RFC 9260, appendix A).
 */
#ifndef EVENKEEL_CSUM_H
#define EVENKEEL_CSUM_H

/* Adds the change of a word from `from` to `to` to a ones' complement difference. */
static __always_inline __u64 csum_diff(__u64 diff, __be32 from, __be32 to)
{
	return diff + (__u32)~from + to;
}

static __always_inline __u16 csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

/* Updates a checksum by a difference. */
static __always_inline void csum_apply(__sum16 *check, __u64 diff)
{
	*check = ~csum_fold((__u64)(__u16)~*check + diff);
}

/* The sum of 16 bytes. */
static __always_inline __u64 csum_16_bytes(const __be32 *w)
{
	return (__u64)w[0] + w[1] + w[2] + w[3];
}

#define CRC32C 0x82f63b78u /* RFC 9260, appendix A, reflected */

/*
 * All ones if the bit is set. The compiler cannot see through it, so that it makes no branch of it, of which the
 * verifier would walk both sides.
 */
static __always_inline __u32 mask_if(__u32 bit)
{
	__u32 mask = 0 - bit;
	asm volatile("" : "+r"(mask));
	return mask;
}

static __always_inline __u32 crc_shift(__u32 b)
{
	return b >> 1 ^ (CRC32C & mask_if(b & 1));
}

static __always_inline __u32 crc_multiply(__u32 a, __u32 b)
{
	__u32 product = 0;
	for (int i = 0; i < 32; i++) {
		product ^= b & mask_if(a >> 31);
		a <<= 1;
		b = crc_shift(b);
	}
	return product;
}

/* x to the power of 8 * 2^i, modulo the polynomial: the effect of 2^i more bytes on a checksum. */
static const __u32 crc_bytes[16] = {
	0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c, 0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7,
	0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a, 0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc,
};

/*
 * The change of an SCTP packet's CRC32c when its ports (the first four bytes, in network byte order) change by
 * `difference`. CRC32c is linear: only the difference has to be shifted through the bytes after the ports.
 */
__noinline __u32 sctp_crc_change(__u32 difference, __u32 bytes_after)
{
	__u32 crc = difference;
	for (int i = 0; i < 32; i++)
		crc = crc_shift(crc);
	for (int i = 0; i < 16; i++) {
		__u32 use = mask_if(bytes_after >> i & 1);
		crc = (crc_multiply(crc_bytes[i & 15], crc) & use) | (crc & ~use);
	}
	return crc;
}

#endif
