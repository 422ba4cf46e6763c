/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Frame -> headers. What this file does not understand goes to the kernel untouched. */
#ifndef EVENKEEL_PARSE_H
#define EVENKEEL_PARSE_H

struct packet {
	struct ethhdr *eth;
	struct iphdr *ip;
	__be32 client;
	__be32 vip;
	__be16 client_port;
	__be16 vport;
	__u32 bytes; /* of the IP packet */
	__u8 protocol;
	__u8 fragment; /* any piece of a fragmented packet */
	__u8 syn, ack, fin, rst;
};

/* 0 if the frame is IPv4 TCP or UDP with whole headers. */
static __always_inline int parse(void *data, void *end, struct packet *p)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return -1;
	if (ip->version != 4 || (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP))
		return -1;
	__u32 header = ip->ihl * 4;
	if (header < sizeof(*ip))
		return -1;
	p->eth = eth;
	p->ip = ip;
	p->client = ip->saddr;
	p->vip = ip->daddr;
	p->protocol = ip->protocol;
	p->bytes = bpf_ntohs(ip->tot_len);
	/* RFC 791, 3.2: more fragments, or an offset: ports cannot be trusted to be there. */
	p->fragment = (ip->frag_off & bpf_htons(0x3fff)) != 0;
	if (p->fragment) {
		p->client_port = p->vport = 0;
		return 0;
	}
	void *l4 = (void *)ip + header;
	if (p->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = l4;
		if ((void *)(tcp + 1) > end)
			return -1;
		p->client_port = tcp->source;
		p->vport = tcp->dest;
		p->syn = tcp->syn;
		p->ack = tcp->ack;
		p->fin = tcp->fin;
		p->rst = tcp->rst;
	} else {
		struct udphdr *udp = l4;
		if ((void *)(udp + 1) > end)
			return -1;
		p->client_port = udp->source;
		p->vport = udp->dest;
	}
	return 0;
}

#endif
