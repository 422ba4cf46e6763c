/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Source addresses that no packet may have (martians): they create no connection (RFC 1812, 5.3.7; ip_route_input_slow()),
 * and no error is sent to them (RFC 1122, 3.2.2; RFC 4443, 2.4(e)).
 */
#ifndef EVENKEEL_SOURCE_H
#define EVENKEEL_SOURCE_H

/*
 * Does the source name a single other host? The unspecified address, loopback, multicast, class E with the limited broadcast
 * address, IPv4-mapped addresses (ip6_rcv_core()), and the packet's own destination do not. The director's further
 * addresses are not known here.
 */
static __always_inline int is_single_host(struct packet *p)
{
	__u8 first = *(__u8 *)&p->saddr[0];
	if (p->family == 4)
		return first != 0 && first != 127 && first < 224 && p->saddr[0] != p->daddr[0];
	if (first == 0xff)
		return 0;
	if (!p->saddr[0] && !p->saddr[1] &&
	    (p->saddr[2] == bpf_htonl(0xffff) || (!p->saddr[2] && bpf_ntohl(p->saddr[3]) <= 1)))
		return 0;
	return p->saddr[0] != p->daddr[0] || p->saddr[1] != p->daddr[1] || p->saddr[2] != p->daddr[2] ||
	       p->saddr[3] != p->daddr[3];
}

#endif
