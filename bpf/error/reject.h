/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Rejection: the ICMP errors and TCP resets that the director itself sends to the sender of a dropped packet. */
#ifndef EVENKEEL_REJECT_H
#define EVENKEEL_REJECT_H

/* The rate limit of settings.error_limit, on each CPU. */
static __always_inline int icmp_error_allowed(struct scratch *scratch)
{
	__u32 second = to_seconds((__u32)bpf_jiffies64());
	if (scratch->error.second != second) {
		scratch->error.second = second;
		scratch->error.sent = 0;
	}
	return scratch->error.sent++ < settings.error_limit;
}

/* The header of a packet from the virtual address to the client, in response to `p`. */
static __always_inline void ipv4_header(struct iphdr *ip, struct packet *p, __u32 payload, __u8 protocol, __u8 tos)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = tos;
	ip->tot_len = bpf_htons(20 + payload);
	ip->ttl = 64;
	ip->protocol = protocol;
	ip->saddr = p->daddr[0];
	ip->daddr = p->saddr[0];
	__be32 *w = (void *)ip;
	ip->check = ~csum_fold(csum_16_bytes(w) + w[4]);
}

static __always_inline void ipv6_header(struct ipv6hdr *ip, struct packet *p, __u32 payload, __u8 protocol)
{
	*(__be32 *)ip = bpf_htonl(6u << 28);
	ip->payload_len = bpf_htons(payload);
	ip->nexthdr = protocol;
	ip->hop_limit = 64;
	__builtin_memcpy(&ip->saddr, p->daddr, 16);
	__builtin_memcpy(&ip->daddr, p->saddr, 16);
}

/*
 * Replaces a packet by the ICMP error about it, from its destination address to the sender of the frame. `type`,
 * `code` and `rest` are those of ICMP or ICMPv6. 0 on success, -1 if there is no error for this packet.
 */
static __always_inline int icmp_error_build(void *ctx, int tc, struct packet *p, __u8 type, __u8 code, __u32 rest)
{
	struct scratch *scratch = scratch_get();
	int v6 = p->family == 6;
	__u32 headers = (v6 ? 40 : 20) + ICMP_SIZE;
	if (!scratch || p->fragment == LATER_FRAGMENT || p->bytes < 28 || !icmp_error_allowed(scratch))
		return -1;
	__u32 quote = p->bytes < QUOTE_MAX ? p->bytes & ~3u : QUOTE_MAX;
	struct error_packet *e = &scratch->error.packet;
	__builtin_memset(e, 0, sizeof(*e));
	if (quote > QUOTE_MAX || quote < 28)
		return -1;
	if (tc ? bpf_skb_load_bytes(ctx, ETH_SIZE, e->quote, quote) :
		 bpf_xdp_load_bytes(ctx, ETH_SIZE, e->quote, quote))
		return -1;
	e->icmp.type = type;
	e->icmp.code = code;
	e->icmp.rest = bpf_htonl(rest);
	__u64 sum = (__u32)bpf_csum_diff(0, 0, (void *)e, sizeof(*e), 0);
	if (v6)
		sum += csum_16_bytes(p->daddr) + csum_16_bytes(p->saddr) + bpf_htonl(quote + ICMP_SIZE) +
		       bpf_htonl(IPPROTO_ICMPV6);
	e->icmp.checksum = ~csum_fold(sum);

	struct ethhdr *eth = ctx_data(ctx, tc), was;
	if ((void *)(eth + 1) > ctx_data_end(ctx, tc))
		return -1;
	was = *eth;
	if (tc) {
		if (bpf_skb_change_tail(ctx, ETH_SIZE + quote, 0) ||
		    bpf_skb_adjust_room(ctx, headers, BPF_ADJ_ROOM_MAC, 0))
			return -1;
	} else if (bpf_xdp_adjust_tail(ctx, (int)(ETH_SIZE + quote) - (int)bpf_xdp_get_buff_len(ctx)) ||
		   bpf_xdp_adjust_head(ctx, -(int)headers)) {
		return -1;
	}
	pull_headers(ctx, tc, ETH_SIZE + 40 + ICMP_SIZE);
	eth = ctx_data(ctx, tc);
	if ((void *)(eth + 1) + 40 + ICMP_SIZE > ctx_data_end(ctx, tc))
		return -1;
	__builtin_memcpy(eth->h_dest, was.h_source, 6);
	__builtin_memcpy(eth->h_source, was.h_dest, 6);
	eth->h_proto = was.h_proto;
	if (v6) {
		struct ipv6hdr *ip = (void *)(eth + 1);
		ipv6_header(ip, p, quote + ICMP_SIZE, IPPROTO_ICMPV6);
		__builtin_memcpy((void *)(ip + 1), &e->icmp, ICMP_SIZE);
	} else {
		struct iphdr *ip = (void *)(eth + 1);
		ipv4_header(ip, p, ICMP_SIZE + quote, IPPROTO_ICMP, 0xc0); /* RFC 1812, 4.3.2.5: internetwork control */
		__builtin_memcpy((void *)(ip + 1), &e->icmp, ICMP_SIZE);
	}
	return 0;
}

/*
 * Replaces a TCP segment by the RST that rejects it (RFC 9293, 3.10.7.1): with the sequence number that it
 * acknowledges, or acknowledging all of it. 0 on success, -1 for a segment that is a RST itself.
 */
static __always_inline int tcp_reset_build(void *ctx, int tc, struct packet *p)
{
	int v6 = p->family == 6;
	__u32 headers = v6 ? 40 : 20, len = ETH_SIZE + headers + sizeof(struct tcphdr);
	struct ethhdr *eth = ctx_data(ctx, tc), was;
	if ((void *)(eth + 1) > ctx_data_end(ctx, tc))
		return -1;
	was = *eth;
	struct tcphdr *tcp = ctx_data(ctx, tc) + (p->l4 & MAX_L4), r = {};
	if ((void *)(tcp + 1) > ctx_data_end(ctx, tc) || (p->event & RST))
		return -1;
	__u32 data = p->bytes - (p->l4 - ETH_SIZE) - tcp->doff * 4;
	r.source = tcp->dest;
	r.dest = tcp->source;
	r.doff = 5;
	r.rst = 1;
	if (p->event & ACK) {
		r.seq = tcp->ack_seq;
	} else {
		r.ack = 1;
		r.ack_seq = bpf_htonl(bpf_ntohl(tcp->seq) + data + !!(p->event & SYN) + !!(p->event & FIN));
	}
	__u64 sum = csum_16_bytes(p->daddr) + csum_16_bytes(p->saddr) + bpf_htonl(sizeof(r)) + bpf_htonl(IPPROTO_TCP);
	__u32 *w = (void *)&r;
	r.check = ~csum_fold(sum + w[0] + w[1] + w[2] + w[3] + w[4]);
	if (tc ? bpf_skb_change_tail(ctx, len, 0) : bpf_xdp_adjust_tail(ctx, (int)len - (int)bpf_xdp_get_buff_len(ctx)))
		return -1;
	pull_headers(ctx, tc, len);
	eth = ctx_data(ctx, tc);
	if ((void *)(eth + 1) > ctx_data_end(ctx, tc))
		return -1;
	__builtin_memcpy(eth->h_dest, was.h_source, 6);
	__builtin_memcpy(eth->h_source, was.h_dest, 6);
	if (v6) {
		struct ipv6hdr *ip = (void *)(eth + 1);
		if ((void *)(ip + 1) + sizeof(r) > ctx_data_end(ctx, tc))
			return -1;
		ipv6_header(ip, p, sizeof(r), IPPROTO_TCP);
		__builtin_memcpy((void *)(ip + 1), &r, sizeof(r));
	} else {
		struct iphdr *ip = (void *)(eth + 1);
		if ((void *)(ip + 1) + sizeof(r) > ctx_data_end(ctx, tc))
			return -1;
		ipv4_header(ip, p, sizeof(r), IPPROTO_TCP, 0);
		__builtin_memcpy((void *)(ip + 1), &r, sizeof(r));
	}
	return 0;
}

/*
 * Replaces a dropped packet by the ICMP error or RST for its sender, if its reason calls for one. 0: the frame is
 * ready, to be sent back by the ingress device. -1: the sender gets nothing. `dest` is the packet's destination, or
 * NO_DEST.
 */
static __always_inline int error_build(void *ctx, int tc, struct packet *p, __u32 outcome, __u32 dest)
{
	int v6 = p->family == 6;
	__u32 reason = outcome_reason(outcome);
	if (!is_single_host(p))
		return -1;
	if (reason == REASON_TTL) /* time exceeded, as ip_vs_dr_xmit() */
		return icmp_error_build(ctx, tc, p, v6 ? 3 : 11, 0, 0);
	if (reason == REASON_REJECTED && p->protocol == IPPROTO_TCP)
		return tcp_reset_build(ctx, tc, p);
	/* port unreachable */
	if (reason == REASON_NO_SERVER || reason == REASON_REJECTED || reason == REASON_UNEXPECTED_REPLY)
		return icmp_error_build(ctx, tc, p, v6 ? 1 : 3, v6 ? 4 : 3, 0);
	if (reason == REASON_TOO_BIG) {
		/* that of the destination, or that of a reply route */
		struct dest *d = dest == NO_DEST ? 0 : dest_at(dest);
		struct scratch *scratch = scratch_get();
		__u32 mtu = d ? d->mtu : scratch ? scratch->reply.info.mtu : 0;
		if (mtu < (v6 ? 1280 : 68))
			return -1;
		return icmp_error_build(ctx, tc, p, v6 ? 2 : 3, v6 ? 0 : 4, mtu);
	}
	return -1;
}

#endif
