/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The parser: from a frame to what its headers say. Frames that it does not understand are passed to the kernel
 * unchanged.
 */
#ifndef EVENKEEL_PARSE_H
#define EVENKEEL_PARSE_H

#define MAX_L4 0xfff /* the highest offset of a layer-4 header */
#define EXTENSION_HEADERS 6 /* of IPv6, at most */

/* TCP's flags, in the byte at offset 13 of its header (RFC 9293, 3.1). */
#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10

enum fragment_kind { NOT_FRAGMENT = 0, FIRST_FRAGMENT = 1, LATER_FRAGMENT = 2 };

/* What the headers of a packet say. */
struct packet {
	__be32 saddr[4];
	__be32 daddr[4];
	__be16 sport;
	__be16 dport;
	__u32 bytes; /* of the IP packet */
	__be32 id;   /* of a fragmented packet */
	__u16 l4;    /* offset of the layer-4 header in the frame */
	__u8 protocol;
	__u8 family;
	__u8 event; /* TCP: its flags; SCTP: enum sctp_event */
	__u8 fragment; /* enum fragment_kind */
	__u8 ipsec; /* IPPROTO_AH or IPPROTO_ESP: see parse_ipsec(); 0: neither */
	__u8 vlan; /* its VLAN tags were popped */
};

/* The events of the SCTP state machine: types of chunks (RFC 9260, 3.2). */
enum sctp_event {
	SCTP_DATA,
	SCTP_EV_INIT,
	SCTP_INIT_ACK,
	SCTP_COOKIE_ECHO,
	SCTP_COOKIE_ACK,
	SCTP_SHUTDOWN,
	SCTP_SHUTDOWN_ACK,
	SCTP_SHUTDOWN_COMPLETE,
	SCTP_ERROR,
	SCTP_ABORT,
	SCTP_EVENTS,
};

struct sctp_header {
	__be16 source, dest;
	__be32 tag, checksum;
	__u8 type, flags; /* of the first chunk */
	__be16 length;
};

static __always_inline __u8 sctp_event(__u8 type)
{
	switch (type) {
	case 1:
		return SCTP_EV_INIT;
	case 2:
		return SCTP_INIT_ACK;
	case 6:
		return SCTP_ABORT;
	case 7:
		return SCTP_SHUTDOWN;
	case 8:
		return SCTP_SHUTDOWN_ACK;
	case 9:
		return SCTP_ERROR;
	case 10:
		return SCTP_COOKIE_ECHO;
	case 11:
		return SCTP_COOKIE_ACK;
	case 14:
		return SCTP_SHUTDOWN_COMPLETE;
	default:
		return SCTP_DATA;
	}
}

static __always_inline int is_balanced_protocol(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

#define PORT_ISAKMP 500

/*
 * AH and ESP have no ports and create no connection. They belong to the connection of UDP port 500 between the same two
 * hosts (ah_esp_conn_fill_param_proto()).
 */
static __always_inline int parse_ipsec(__u8 protocol, struct packet *p)
{
	if (protocol != IPPROTO_ESP && protocol != IPPROTO_AH)
		return -1;
	p->ipsec = protocol;
	p->protocol = IPPROTO_UDP;
	p->sport = p->dport = bpf_htons(PORT_ISAKMP);
	return 0;
}

/* Reads the ports, and the event of the state machine. 0 on success, -1 if the header is not whole. */
static __always_inline int parse_l4(void *l4, void *end, struct packet *p)
{
	if (p->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = l4;
		if ((void *)(tcp + 1) > end)
			return -1;
		p->sport = tcp->source;
		p->dport = tcp->dest;
		p->event = ((__u8 *)tcp)[13];
		return 0;
	}
	if (p->protocol == IPPROTO_UDP) {
		struct udphdr *udp = l4;
		if ((void *)(udp + 1) > end)
			return -1;
		p->sport = udp->source;
		p->dport = udp->dest;
		return 0;
	}
	struct sctp_header *sctp = l4;
	if ((void *)(sctp + 1) > end)
		return -1;
	p->sport = sctp->source;
	p->dport = sctp->dest;
	p->event = sctp_event(sctp->type);
	if (p->event == SCTP_COOKIE_ECHO || p->event == SCTP_COOKIE_ACK) {
		/* sctp_state(): an ABORT that is bundled after them counts */
		__u32 skip = (bpf_ntohs(sctp->length) + 3) & 0x7fc;
		__u8 *next = l4 + 12 + skip;
		if (skip >= 4 && (void *)(next + 4) <= end && *next == 6)
			p->event = SCTP_ABORT;
	}
	return 0;
}

static __always_inline int parse_ipv4(struct iphdr *ip, void *end, struct packet *p)
{
	if ((void *)(ip + 1) > end || ip->version != 4)
		return -1;
	__u32 header = ip->ihl * 4;
	if (header < sizeof(*ip))
		return -1;
	p->family = 4;
	p->saddr[0] = ip->saddr;
	p->daddr[0] = ip->daddr;
	p->protocol = ip->protocol;
	p->bytes = bpf_ntohs(ip->tot_len);
	p->l4 = ETH_SIZE + header;
	/* RFC 791, 3.2: more fragments, or an offset. */
	if (ip->frag_off & bpf_htons(0x3fff)) {
		p->id = ip->id;
		p->fragment = ip->frag_off & bpf_htons(0x1fff) ? LATER_FRAGMENT : FIRST_FRAGMENT;
		if (p->fragment == LATER_FRAGMENT)
			return 0;
	}
	if (!is_balanced_protocol(p->protocol))
		return p->protocol == IPPROTO_ICMP ? 0 : parse_ipsec(p->protocol, p);
	return parse_l4((void *)ip + header, end, p);
}

/* Walks the chain of extension headers (RFC 8200, 4). */
static __always_inline int parse_ipv6(struct ipv6hdr *ip, void *data, void *end, struct packet *p)
{
	if ((void *)(ip + 1) > end || ip->version != 6)
		return -1;
	p->family = 6;
	__builtin_memcpy(p->saddr, &ip->saddr, 16);
	__builtin_memcpy(p->daddr, &ip->daddr, 16);
	p->bytes = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	__u8 next = ip->nexthdr;
	__u32 offset = ETH_SIZE + sizeof(*ip);
#pragma unroll
	for (int i = 0; i < EXTENSION_HEADERS; i++) {
		if (is_balanced_protocol(next) || next == IPPROTO_ICMPV6 || next == IPPROTO_ESP)
			break;
		__u8 *h = data + (offset & MAX_L4);
		if ((void *)(h + 8) > end)
			return -1;
		if (next == IPPROTO_FRAGMENT) {
			__be16 frag_off = *(__be16 *)(h + 2);
			p->id = *(__be32 *)(h + 4);
			/* an atomic fragment is a whole packet with this header (RFC 6946) */
			if (frag_off & bpf_htons(0xfff8))
				p->fragment = LATER_FRAGMENT;
			else if (frag_off & bpf_htons(1))
				p->fragment = FIRST_FRAGMENT;
			offset += 8;
		} else if (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS) {
			offset += (h[1] + 1) * 8;
		} else if (next == IPPROTO_AH) {
			offset += (h[1] + 2) * 4; /* RFC 4302, 2.2; ipv6_find_hdr() continues after it */
		} else {
			return -1;
		}
		next = h[0];
		if (p->fragment == LATER_FRAGMENT)
			break;
	}
	p->protocol = next;
	p->l4 = offset & MAX_L4;
	if (offset > MAX_L4)
		return -1;
	if (p->fragment == LATER_FRAGMENT)
		return 0;
	if (!is_balanced_protocol(next))
		return next == IPPROTO_ICMPV6 ? 0 : parse_ipsec(next, p);
	return parse_l4(data + p->l4, end, p);
}

/* Global functions, which the verifier checks only once. */
__noinline int xdp_parse_ipv6(struct xdp_md *ctx, struct packet *p)
{
	void *data = (void *)(long)ctx->data;
	return p ? parse_ipv6(data + ETH_SIZE, data, (void *)(long)ctx->data_end, p) : -1;
}

__noinline int tc_parse_ipv6(struct __sk_buff *skb, struct packet *p)
{
	void *data = (void *)(long)skb->data;
	return p ? parse_ipv6(data + ETH_SIZE, data, (void *)(long)skb->data_end, p) : -1;
}

/*
 * Parses a frame. 0 on success, -1 if it is not understood. It has to be IPv4 or IPv6, and either TCP, UDP, SCTP,
 * ICMP, AH or ESP with whole headers, or a later fragment.
 */
static __always_inline int parse(void *ctx, int tc, struct packet *p)
{
	void *end = ctx_data_end(ctx, tc);
	struct ethhdr *eth = ctx_data(ctx, tc);
	if ((void *)(eth + 1) > end)
		return -1;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return parse_ipv4((void *)(eth + 1), end, p);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return tc ? tc_parse_ipv6(ctx, p) : xdp_parse_ipv6(ctx, p);
	return -1;
}

static __always_inline int is_icmp(struct packet *p)
{
	return p->protocol == (p->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

#endif
