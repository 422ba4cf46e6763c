/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * (address, port, protocol) -> virtual service, or real server behind NAT. A service's order is ip_vs_service_find()'s:
 * the firewall mark, the exact port, then an FTP service for its data connections, then port 0.
 */
#ifndef EVENKEEL_SERVICE_H
#define EVENKEEL_SERVICE_H

/* ip_unprivileged_port_start's default: what a passive FTP server opens */
#define FIRST_PASSIVE_PORT 1024

/* sys/src/bpf/slots.rs has the same lines. Operators name services, so the hash needs no secret. */
static __always_inline __u32 endpoint_hash(__be32 *addr, int v6, __be16 port, __u8 protocol)
{
	__u32 a = addr[0];
	if (v6)
		a ^= (addr[1] * 0x9e3779b1u + addr[2]) * 0xc2b2ae35u + addr[3];
	__u32 h = (a * 0x9e3779b1u ^ ((__u32)port << 8 | protocol)) * 0x85ebca6bu;
	return h >> 15;
}

static __always_inline int endpoint_matches(struct endpoint *s, __be32 *addr, int v6, __be16 port, __u8 protocol)
{
	/* port, protocol and family lie in one word */
	if (s->addr[0] != addr[0] || *(__u32 *)&s->port != (port | (__u32)protocol << 16 | (v6 ? 6u : 4u) << 24) || !s->index)
		return 0;
	return !v6 || (s->addr[1] == addr[1] && s->addr[2] == addr[2] && s->addr[3] == addr[3]);
}

/* The index + 1 of the service, 0 if there is none. */
static __always_inline __u32 service_lookup(__be32 *addr, int v6, __be16 port, __u8 protocol)
{
	__u32 h = endpoint_hash(addr, v6, port, protocol);
#pragma unroll
	for (int i = 0; i < EK_SERVICE_PROBES; i++) {
		struct endpoint *s = TABLE_GET_MASKED(endpoints, h + i);
		if (endpoint_matches(s, addr, v6, port, protocol))
			return s->index;
		if (!s->family)
			return 0;
	}
	return 0;
}

static __always_inline struct service *service_at(__u32 index)
{
	return bpf_map_lookup_elem(&services, &index);
}

/* The rarer ways to a service; global, so that the verifier looks at them once. */
__noinline __u32 service_wildcard(struct packet *p)
{
	if (!p)
		return 0;
	int v6 = p->family == 6;
	if (settings.has_ftp && p->protocol == IPPROTO_TCP &&
	    (p->dport == bpf_htons(20) || bpf_ntohs(p->dport) >= FIRST_PASSIVE_PORT)) {
		__u32 number = v6 ? service_lookup(p->daddr, 1, bpf_htons(21), IPPROTO_TCP)
				  : service_lookup(p->daddr, 0, bpf_htons(21), IPPROTO_TCP);
		struct service *s = number ? service_at(number - 1) : 0;
		/* ip_vs_schedule(): another port than the service's needs persistence */
		if (s && (s->flags & SERVICE_PERSISTENT))
			return number;
	}
	if (!settings.has_wildcard_port)
		return 0;
	return v6 ? service_lookup(p->daddr, 1, 0, p->protocol) : service_lookup(p->daddr, 0, 0, p->protocol);
}

/* The service of a packet's firewall mark: the one that it carries, or that of the members whom it is for. */
__noinline __u32 service_marked(struct packet *p, __u32 mark)
{
	if (!p)
		return 0;
	__be32 name[4] = { mark ? mark : mark_lookup(p) };
	if (!name[0])
		return 0;
	return p->family == 6 ? service_lookup(name, 1, 0, 0) : service_lookup(name, 0, 0, 0);
}

/* The number + 1 of the service that a packet is for; `mark`: its firewall mark, where tc sees one. */
static __always_inline __u32 service_find(struct packet *p, __u32 mark)
{
	if (settings.has_mark) {
		__u32 marked = service_marked(p, mark);
		if (marked)
			return marked;
	}
	__u32 number = p->family == 6 ? service_lookup(p->daddr, 1, p->dport, p->protocol)
				      : service_lookup(p->daddr, 0, p->dport, p->protocol);
	if (!number && (settings.has_wildcard_port | settings.has_ftp))
		number = service_wildcard(p);
	return number;
}

/* The first destination + 1 of those that answer by NAT from this address and port; looked for in so many places. */
static __always_inline __u32 nat_probe(__be32 *addr, int v6, __be16 port, __u8 protocol, int probes)
{
	__u32 h = endpoint_hash(addr, v6, port, protocol);
	for (int i = 0; i < probes; i++) {
		struct endpoint *s = TABLE_GET_MASKED(nat_dests, h + i);
		if (endpoint_matches(s, addr, v6, port, protocol))
			return s->index;
		if (!s->family)
			return 0;
	}
	return 0;
}

static __always_inline __u32 nat_lookup(__be32 *addr, int v6, __be16 port, __u8 protocol)
{
	return nat_probe(addr, v6, port, protocol, EK_NAT_PROBES);
}

#endif
