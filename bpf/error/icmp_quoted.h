/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* ICMP errors that pass the director: the packet that an error quotes, its connection, and the translation of both. */
#ifndef EVENKEEL_ICMP_QUOTED_H
#define EVENKEEL_ICMP_QUOTED_H

/* Destination unreachable, source quench, time exceeded; of ICMPv6 all errors (RFC 4443, 2.1). */
static __always_inline int is_icmp_error(int v6, __u8 type)
{
	return v6 ? type < 128 : type == 3 || type == 4 || type == 11;
}

#define QUOTED_HEADERS 4 /* extension headers of a quoted packet, at most */

/*
 * Walks the extension headers of a quoted IPv6 packet from `offset` on. Returns the offset of layer 4; 0: there is none,
 * since the quote is too short or quotes a later fragment, which has no ports (ip_vs_in_icmp_v6()).
 */
static __always_inline __u32 quoted_l4(void *data, void *end, __u32 offset, struct packet *q)
{
	for (int i = 0; i < QUOTED_HEADERS && !is_balanced_protocol(q->protocol); i++) {
		__u8 *h = data + (offset & MAX_L4), next = q->protocol;
		if ((void *)(h + 8) > end)
			return 0;
		if (next == IPPROTO_FRAGMENT) {
			if (*(__be16 *)(h + 2) & bpf_htons(0xfff8))
				return 0;
			offset += 8;
		} else if (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS) {
			offset += (h[1] + 1) * 8;
		} else {
			return 0;
		}
		q->protocol = h[0];
	}
	return offset <= MAX_L4 ? offset : 0;
}

/* Parses the packet that an ICMP error quotes, up to its ports. 0 on success, -1 if it is no error or too short. */
static __always_inline int parse_quoted(void *data, void *end, struct packet *p, struct packet *q)
{
	int v6 = p->family == 6;
	__u32 offset = p->l4 & MAX_L4;
	struct icmp_header *icmp = data + offset;
	if ((void *)(icmp + 1) > end || !is_icmp_error(v6, icmp->type))
		return -1;
	__u32 l4 = offset + ICMP_SIZE; /* after the quoted header, once its length is added */
	if (v6) {
		struct ipv6hdr *ip = (void *)(icmp + 1);
		if ((void *)(ip + 1) > end || ip->version != 6)
			return -1;
		__builtin_memcpy(q->saddr, &ip->saddr, 16);
		__builtin_memcpy(q->daddr, &ip->daddr, 16);
		q->protocol = ip->nexthdr;
		l4 = quoted_l4(data, end, l4 + sizeof(*ip), q);
		if (!l4)
			return -1;
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

/* Swaps source and destination, addresses and ports. */
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
 * The destination of the connection that an error to a virtual address concerns, or NO_DEST. The quoted packet is a
 * reply, as the client sees it.
 */
__noinline __u32 icmp_quoted_dest(struct packet *quoted)
{
	struct scratch *scratch = scratch_get();
	if (!quoted || !scratch)
		return NO_DEST;
	struct conn_key *k = &scratch->reply.key;
	key_make(k, quoted->daddr, quoted->saddr, quoted->family == 6,
		 conn_key1(quoted->dport, quoted->sport, quoted->protocol, KIND_CONN));
	struct conn *e = conn_get(conn_find(k, (__u32)bpf_jiffies64(), &scratch->reply.lookup));
	return e ? READ_ONCE(e->dest) : NO_DEST;
}

/*
 * Translates an ICMP error and the packet that it quotes: the outer address that `t->source` says, and the opposite
 * address and port of the quoted packet. In IPv4 the checksum of the quoted header cancels the change of its address,
 * so that the error's checksum changes only with the port; in IPv6 it changes with the addresses too. 0 on success.
 */
static __always_inline int icmp_translate(void *ctx, int tc, struct packet *p, struct packet *q, struct translation *t)
{
	void *data = ctx_data(ctx, tc), *end = ctx_data_end(ctx, tc);
	__u32 offset = p->l4 & MAX_L4, l4 = q->l4 & MAX_L4;
	struct icmp_header *icmp = data + offset;
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

#endif
