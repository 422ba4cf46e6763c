/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Header validation: what the kernel checks before IPVS sees a packet (ip_rcv_core(), ip_rcv_options(),
 * ip6_rcv_core(); RFC 1812, 5.2.2), and whether the header of layer 4 is whole. It runs where a packet would create a
 * connection, change a connection's state, or cause an error, and not for the data of known connections.
 */
#ifndef EVENKEEL_VALIDATE_H
#define EVENKEEL_VALIDATE_H

#define OUTCOME_BAD_HEADER (VERDICT_DROP | REASON_BAD_HEADER)

static __always_inline long load_bytes(void *ctx, int tc, __u32 at, void *to, __u32 bytes)
{
	return tc ? bpf_skb_load_bytes(ctx, at, to, bytes) : bpf_xdp_load_bytes(ctx, at, to, bytes);
}

/* `bytes`, so that the verifier of any kernel knows that it is neither 0 nor above `max`, a power of two. */
static __always_inline __u32 at_least_one(__u32 bytes, __u32 max)
{
	asm volatile("" : "+r"(bytes)); /* so that the compiler, which knows it too, keeps the mask */
	bytes = (bytes - 1) & (max - 1);
	asm volatile("" : "+r"(bytes));
	return bytes + 1;
}

#define OPTIONS_MAX 40 /* bytes of an IPv4 header's options */

/*
 * The sum of an IPv4 header over its checksum is all ones. Packets with a source route, and those whose options are
 * malformed, are passed: the kernel routes or drops the ones by accept_source_route, and reports the others
 * (ip_options_compile()).
 */
static __always_inline __u32 ipv4_check(void *ctx, int tc, struct iphdr *ip, __u32 size)
{
	__be32 *w = (void *)ip;
	__u64 sum = csum_16_bytes(w) + w[4];
	if (!size)
		return csum_fold(sum) == 0xffff ? VERDICT_CONTINUE : OUTCOME_BAD_HEADER;
	struct scratch *scratch = scratch_get();
	if (!scratch || size > OPTIONS_MAX)
		return OUTCOME_BAD_HEADER;
	__u8 *options = scratch->error.packet.quote;
	__builtin_memset(options, 0, OPTIONS_MAX);
	if (load_bytes(ctx, tc, ETH_SIZE + sizeof(*ip), options, at_least_one(size, 64)))
		return OUTCOME_BAD_HEADER;
	sum += (__u32)bpf_csum_diff(0, 0, (void *)options, OPTIONS_MAX, 0);
	if (csum_fold(sum) != 0xffff)
		return OUTCOME_BAD_HEADER;
	/* in memory, so that the verifier does not follow every walk */
	scratch->options.next = 0;
	scratch->options.bytes = size;
	for (__u32 i = 0; i < OPTIONS_MAX - 1; i++) {
		__u8 *o = options + i;
		if (READ_ONCE(scratch->options.next) != i)
			continue;
		size = READ_ONCE(scratch->options.bytes);
		if (i >= size || o[0] == IPOPT_END)
			break;
		__u32 bytes = o[0] == IPOPT_NOOP ? 1 : o[1];
		if (o[0] == IPOPT_LSRR || o[0] == IPOPT_SSRR /* RFC 791, 3.1 */ ||
		    (o[0] != IPOPT_NOOP && bytes < 2) || i + bytes > size)
			return VERDICT_PASS | REASON_BAD_HEADER;
		scratch->options.next = i + bytes;
	}
	return VERDICT_CONTINUE;
}

/* Is the header of layer 4 whole, and does its length fit? `length` is what the packet has from there on. */
static __always_inline int is_l4_right(void *l4, void *end, struct packet *p, __u32 length, int gso)
{
	if (p->ipsec)
		return 1;
	if (p->protocol == IPPROTO_TCP) {
		__u8 *tcp = l4;
		if ((void *)(tcp + 20) > end)
			return 0;
		__u32 header = (tcp[12] >> 4) * 4;
		return header >= 20 && (header <= length || p->fragment);
	}
	if (p->protocol == IPPROTO_UDP) {
		struct udphdr *udp = l4;
		if ((void *)(udp + 1) > end)
			return 0;
		__u32 header = bpf_ntohs(udp->len);
		return length >= 8 && (gso || (header >= 8 && (header <= length || p->fragment)));
	}
	return length >= (p->protocol == IPPROTO_SCTP ? sizeof(struct sctp_header) : ICMP_SIZE);
}

/* The outcome is VERDICT_CONTINUE if the headers are valid. */
static __always_inline __u32 header_check(void *ctx, int tc, struct packet *p)
{
	void *data = ctx_data(ctx, tc), *end = ctx_data_end(ctx, tc), *l3 = data + ETH_SIZE;
	__u32 l4 = p->l4 & MAX_L4, length, frame = end - data, header = l4 - ETH_SIZE;
	int gso = tc && ((struct __sk_buff *)ctx)->gso_size;
	if (p->family == 4) {
		struct iphdr *ip = l3;
		if ((void *)(ip + 1) > end)
			return OUTCOME_BAD_HEADER;
		length = bpf_ntohs(ip->tot_len);
		__u32 outcome = ipv4_check(ctx, tc, ip, header - sizeof(*ip));
		if (outcome != VERDICT_CONTINUE)
			return outcome;
	} else {
		struct ipv6hdr *ip = l3;
		if ((void *)(ip + 1) > end)
			return OUTCOME_BAD_HEADER;
		length = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	}
	/* a GSO packet was built by a stack or an offload, and its header may say 0 */
	if (gso)
		length = ((struct __sk_buff *)ctx)->len - ETH_SIZE;
	if (length + ETH_SIZE > frame)
		frame = tc ? ((struct __sk_buff *)ctx)->len : bpf_xdp_get_buff_len(ctx);
	if (length + ETH_SIZE > frame || length < header)
		return OUTCOME_BAD_HEADER;
	if (p->fragment == LATER_FRAGMENT)
		return VERDICT_CONTINUE;
	return is_l4_right(data + l4, end, p, length - header, gso) ? VERDICT_CONTINUE : OUTCOME_BAD_HEADER;
}

/* Global functions, which the verifier checks only once. */
__noinline __u32 xdp_header_check(struct xdp_md *ctx, struct packet *p)
{
	return p ? header_check(ctx, 0, p) : OUTCOME_BAD_HEADER;
}

__noinline __u32 tc_header_check(struct __sk_buff *skb, struct packet *p)
{
	return p ? header_check(skb, 1, p) : OUTCOME_BAD_HEADER;
}

/* The outcome is a constant on each path, so that the verifier does not walk errors that it cannot lead to. */
static __always_inline __u32 packet_check(void *ctx, int tc, struct packet *p)
{
	__u32 outcome = tc ? tc_header_check(ctx, p) : xdp_header_check(ctx, p);
	if (outcome == VERDICT_CONTINUE)
		return VERDICT_CONTINUE;
	return outcome == OUTCOME_BAD_HEADER ? OUTCOME_BAD_HEADER : VERDICT_PASS | REASON_BAD_HEADER;
}

/* May the packet change the state of its connection by itself? Others only refresh it. */
static __always_inline int is_state_event(struct packet *p)
{
	return p->protocol == IPPROTO_TCP ? p->event & (SYN | FIN | RST) :
					    p->protocol == IPPROTO_SCTP && p->event != SCTP_DATA;
}

#define ICMP_CHUNKS 4 /* of SUM_CHUNK bytes; a longer message is not summed up */

/* Is the checksum of an ICMP message right? (ip_vs_in_icmp(), ip_vs_out_icmp()) */
static __always_inline int icmp_sum_check(void *ctx, int tc, struct packet *p)
{
	struct scratch *scratch = scratch_get();
	if (!scratch || p->fragment)
		return 1;
	__u32 at = p->l4 & MAX_L4, left = p->bytes + ETH_SIZE - at;
	__u64 sum = 0;
	if (left > ICMP_CHUNKS * SUM_CHUNK)
		return 1;
	if (p->family == 6)
		sum = csum_16_bytes(p->saddr) + csum_16_bytes(p->daddr) + bpf_htonl(left) + bpf_htonl(IPPROTO_ICMPV6);
	__u8 *chunk = scratch->sum_chunk;
	for (int i = 0; i < ICMP_CHUNKS && left; i++) {
		__u32 bytes = left < SUM_CHUNK ? left : SUM_CHUNK;
		bytes = at_least_one(bytes, SUM_CHUNK);
		if (load_bytes(ctx, tc, at, chunk, bytes))
			return 0;
		/* zeroes after the last byte complete its word */
		__u8 *rest = chunk + bytes;
		rest[0] = rest[1] = rest[2] = 0;
		bytes = (bytes + 3) & (2 * SUM_CHUNK - 4);
		if (bytes > SUM_CHUNK)
			return 0;
		sum += (__u32)bpf_csum_diff(0, 0, (void *)chunk, bytes, 0);
		at += SUM_CHUNK;
		left = left < SUM_CHUNK ? 0 : left - SUM_CHUNK;
	}
	return csum_fold(sum) == 0xffff;
}

__noinline int xdp_icmp_sum_check(struct xdp_md *ctx, struct packet *p)
{
	return p && icmp_sum_check(ctx, 0, p);
}

__noinline int tc_icmp_sum_check(struct __sk_buff *skb, struct packet *p)
{
	return p && icmp_sum_check(skb, 1, p);
}

/* The headers and the checksum of an ICMP error that is to be forwarded. */
static __always_inline __u32 icmp_check(void *ctx, int tc, struct packet *p)
{
	__u32 outcome = packet_check(ctx, tc, p);
	if (outcome != VERDICT_CONTINUE)
		return outcome;
	return (tc ? tc_icmp_sum_check(ctx, p) : xdp_icmp_sum_check(ctx, p)) ? VERDICT_CONTINUE : OUTCOME_BAD_HEADER;
}

#endif
