/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * ICMP errors: those that concern a connection are carried to the side that sent the packet they are about
 * (ip_vs_in_icmp(), ip_vs_out_icmp(), ip_vs_nat_icmp()); and those that a director answers with itself.
 */
#ifndef EVENKEEL_ICMP_H
#define EVENKEEL_ICMP_H

/* Destination unreachable, source quench, time exceeded; of ICMPv6 all errors (RFC 4443, 2.1). */
static __always_inline int is_icmp_error(int v6, __u8 type)
{
	return v6 ? type < 128 : type == 3 || type == 4 || type == 11;
}

/* Reads the quoted packet's headers, as far as ports. 0 if they are there. */
static __always_inline int parse_quoted(void *data, void *end, struct packet *p, struct packet *q)
{
	int v6 = p->family == 6;
	__u32 at = p->l4 & MAX_L4;
	struct icmp_header *icmp = data + at;
	if ((void *)(icmp + 1) > end || !is_icmp_error(v6, icmp->type))
		return -1;
	__u32 l4 = at + ICMP_SIZE; /* behind the quoted header, once its length is known */
	if (v6) {
		struct ipv6hdr *ip = (void *)(icmp + 1);
		if ((void *)(ip + 1) > end || ip->version != 6)
			return -1;
		__builtin_memcpy(q->saddr, &ip->saddr, 16);
		__builtin_memcpy(q->daddr, &ip->daddr, 16);
		q->protocol = ip->nexthdr;
		l4 += sizeof(*ip);
	} else {
		struct iphdr *ip = (void *)(icmp + 1);
		if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5 || (ip->frag_off & bpf_htons(0x1fff)))
			return -1;
		q->saddr[0] = ip->saddr;
		q->daddr[0] = ip->daddr;
		q->protocol = ip->protocol;
		l4 += ip->ihl * 4;
	}
	if (!is_balanced_protocol(q->protocol))
		return -1;
	__be16 *ports = data + (l4 & MAX_L4);
	if ((void *)(ports + 2) > end)
		return -1;
	q->family = p->family;
	q->sport = ports[0];
	q->dport = ports[1];
	q->l4 = l4;
	q->bytes = p->bytes;
	return 0;
}

/* The packet that its receiver would answer with, as far as addresses and ports. */
static __always_inline void packet_reverse(struct packet *q)
{
#pragma unroll
	for (int i = 0; i < 4; i++) {
		__be32 w = q->saddr[i];
		q->saddr[i] = q->daddr[i];
		q->daddr[i] = w;
	}
	__be16 port = q->sport;
	q->sport = q->dport;
	q->dport = port;
}

/*
 * The connection that an error towards a virtual address concerns: the quoted packet is a real server's, as its clients
 * see it. Its destination, or NO_DEST.
 */
__noinline __u32 icmp_quoted_dest(struct packet *about)
{
	struct scratch *scratch = scratch_get();
	if (!about || !scratch)
		return NO_DEST;
	struct conn_key *k = &scratch->reply.key;
	key_make(k, about->daddr, about->saddr, about->family == 6,
		 conn_key1(about->dport, about->sport, about->protocol, KIND_CONN));
	__u32 number = conn_find(k, (__u32)bpf_jiffies64(), &scratch->reply.lookup);
	struct conn *e = number ? conn_at(number - 1) : 0;
	return e ? READ_ONCE(e->dest) : NO_DEST;
}

/*
 * Translates an error and what it quotes: the outer address on `t->source`'s side, and the quoted packet's other one. The
 * quoted header's own checksum makes up for its address in the error's; its port does not, nor do IPv6's addresses.
 */
static __always_inline int translate_error(void *ctx, int tc, struct packet *p, struct packet *q, struct translation *t)
{
	void *data = ctx_data(ctx, tc), *end = ctx_data_end(ctx, tc);
	__u32 at = p->l4 & MAX_L4, l4 = q->l4 & MAX_L4;
	struct icmp_header *icmp = data + at;
	__be16 *ports = data + l4;
	if ((void *)(ports + 2) > end || (void *)(icmp + 1) > end)
		return -1;
	__be16 *port = t->source ? ports + 1 : ports;
	__u64 diff = csum_diff(0, *port, t->port);
	*port = t->port;
	if (p->family == 4) {
		struct iphdr *outer = data + ETH_SIZE, *inner = (void *)(icmp + 1);
		if ((void *)(outer + 1) > end || (void *)(inner + 1) > end)
			return -1;
		__be32 *a = t->source ? &outer->saddr : &outer->daddr, *b = t->source ? &inner->daddr : &inner->saddr;
		csum_apply(&outer->check, csum_diff(0, *a, t->addr[0]));
		csum_apply(&inner->check, csum_diff(0, *b, t->addr[0]));
		*a = *b = t->addr[0];
	} else {
		struct ipv6hdr *outer = data + ETH_SIZE, *inner = (void *)(icmp + 1);
		if ((void *)(outer + 1) > end || (void *)(inner + 1) > end)
			return -1;
		__be32 *a = t->source ? outer->saddr.s6_addr32 : outer->daddr.s6_addr32;
		__be32 *b = t->source ? inner->daddr.s6_addr32 : inner->saddr.s6_addr32;
#pragma unroll
		for (int i = 0; i < 4; i++) {
			diff = csum_diff(csum_diff(diff, a[i], t->addr[i]), b[i], t->addr[i]);
			a[i] = b[i] = t->addr[i];
		}
	}
	csum_apply(&icmp->checksum, diff);
	return 0;
}

static __always_inline int icmp_error_allowed(struct scratch *scratch)
{
	__u32 second = to_seconds((__u32)bpf_jiffies64());
	if (scratch->error.second != second) {
		scratch->error.second = second;
		scratch->error.sent = 0;
	}
	return scratch->error.sent++ < settings.error_limit;
}

/* From the virtual address to the client. */
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
	ip->check = ~csum_fold(sum4(w) + w[4]);
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
 * Makes of a packet the error that it is answered with: from the virtual address, back to where the frame came from.
 * `type`, `code` and `rest` are ICMP's or ICMPv6's. 0 if the frame is ready.
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
	if (tc ? bpf_skb_load_bytes(ctx, ETH_SIZE, e->quote, quote) : bpf_xdp_load_bytes(ctx, ETH_SIZE, e->quote, quote))
		return -1;
	e->icmp.type = type;
	e->icmp.code = code;
	e->icmp.rest = bpf_htonl(rest);
	__u64 sum = (__u32)bpf_csum_diff(0, 0, (void *)e, sizeof(*e), 0);
	if (v6)
		sum += sum4(p->daddr) + sum4(p->saddr) + bpf_htonl(quote + ICMP_SIZE) + bpf_htonl(IPPROTO_ICMPV6);
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
 * Makes of a TCP segment the RST that it is answered with (RFC 9293, 3.10.7.1): of the number that it acknowledges, or
 * acknowledging all that it has.
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
	__u64 sum = sum4(p->daddr) + sum4(p->saddr) + bpf_htonl(sizeof(r)) + bpf_htonl(IPPROTO_TCP);
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

/* The error that a reason is answered with, if it is one of those that senders are told. 0 if the frame is it. */
static __always_inline int error_build(void *ctx, int tc, struct packet *p, __u32 reason, __u32 dest)
{
	int v6 = p->family == 6;
	if (reason == REASON_TTL) /* ip_vs_dr_xmit() and its like: time exceeded */
		return icmp_error_build(ctx, tc, p, v6 ? 3 : 11, 0, 0);
	if (reason == REASON_REJECTED && p->protocol == IPPROTO_TCP)
		return tcp_reset_build(ctx, tc, p);
	if (reason == REASON_NO_SERVER || reason == REASON_REJECTED || reason == REASON_UNEXPECTED_REPLY) /* port unreachable */
		return icmp_error_build(ctx, tc, p, v6 ? 1 : 3, v6 ? 4 : 3, 0);
	if (reason == REASON_TOO_BIG) {
		/* of a destination; else of an answer's way */
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
