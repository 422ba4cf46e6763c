/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Service lookup: from (address, port, protocol) to a service, or to a NAT server. A service is searched in the order
 * of ip_vs_service_find(): by firewall mark, by exact port, as a data connection of an FTP service, by port 0.
 *
 * A service on an address is active while this host is to serve the address: the address is local, and its virtual router,
 * if it has one, is master here (core/activation.rs). Packets to an inactive service are the kernel's. An inactive service
 * has another family in the table, so that lookups of active ones pay nothing for it.
 *
 * A router that becomes master sets settings.serve_all before it adds its addresses, because user space activates the
 * services later: until it has done so, inactive services are found as well, on the slow path.
 */
#ifndef EVENKEEL_SERVICE_H
#define EVENKEEL_SERVICE_H

/* The default of ip_unprivileged_port_start: a passive FTP server opens no port below it. */
#define FIRST_PASSIVE_PORT 1024

/* crates/sys/src/bpf/service_table.rs computes the same. Operators choose these addresses: the hash needs no secret. */
static __always_inline __u32 endpoint_hash(__be32 *addr, int v6, __be16 port, __u8 protocol)
{
	__u32 a = addr[0];
	if (v6)
		a ^= (addr[1] * 0x9e3779b1u + addr[2]) * 0xc2b2ae35u + addr[3];
	__u32 h = (a * 0x9e3779b1u ^ ((__u32)port << 8 | protocol)) * 0x85ebca6bu;
	return h >> 15;
}

/* `inactive`: EK_INACTIVE or 0. */
static __always_inline int endpoint_matches(struct endpoint *s, __be32 *addr, int v6, __be16 port, __u8 protocol,
					    __u32 inactive)
{
	/* port, protocol and family are compared as one word */
	__u32 word = port | (__u32)protocol << 16 | ((v6 ? 6u : 4u) + inactive) << 24;
	if (s->addr[0] != addr[0] || *(__u32 *)&s->port != word || !s->index)
		return 0;
	return !v6 || (s->addr[1] == addr[1] && s->addr[2] == addr[2] && s->addr[3] == addr[3]);
}

static __always_inline service_handle endpoint_lookup(__be32 *addr, int v6, __be16 port, __u8 protocol, __u32 inactive)
{
	__u32 h = endpoint_hash(addr, v6, port, protocol);
#pragma unroll
	for (int i = 0; i < EK_SERVICE_PROBES; i++) {
		struct endpoint *s = TABLE_GET_MASKED(endpoints, h + i);
		if (endpoint_matches(s, addr, v6, port, protocol, inactive))
			return s->index;
		if (!s->family)
			return 0;
	}
	return 0;
}

/* An active service. */
static __always_inline service_handle service_lookup(__be32 *addr, int v6, __be16 port, __u8 protocol)
{
	return endpoint_lookup(addr, v6, port, protocol, 0);
}

/* A global function: the verifier checks it only once. `inactive`: EK_INACTIVE or 0. */
__noinline service_handle service_lookup_slow(struct packet *p, __u32 port, __u32 inactive)
{
	if (!p)
		return 0;
	return p->family == 6 ? endpoint_lookup(p->daddr, 1, (__be16)port, p->protocol, inactive)
			      : endpoint_lookup(p->daddr, 0, (__be16)port, p->protocol, inactive);
}

/* The less common lookups: of an FTP service, of one on port 0, and while settings.serve_all is set of inactive ones. */
__noinline service_handle service_wildcard(struct packet *p, __u32 inactive)
{
	if (!p)
		return 0;
	if (settings.has_ftp && p->protocol == IPPROTO_TCP &&
	    (p->dport == bpf_htons(20) || bpf_ntohs(p->dport) >= FIRST_PASSIVE_PORT)) {
		service_handle ftp = service_lookup_slow(p, bpf_htons(21), inactive);
		struct service *s = service_get(ftp);
		/* ip_vs_schedule(): another port than the service's needs persistence */
		if (s && (s->flags & SERVICE_PERSISTENT))
			return ftp;
	}
	return settings.has_wildcard_port ? service_lookup_slow(p, 0, inactive) : 0;
}

/* An inactive service, while all are served. */
__noinline service_handle service_inactive(struct packet *p)
{
	service_handle service = p ? service_lookup_slow(p, p->dport, EK_INACTIVE) : 0;
	if (!service && (settings.has_wildcard_port | settings.has_ftp))
		service = service_wildcard(p, EK_INACTIVE);
	return service;
}

/* What the lookup of an active service by its port does not find. */
__noinline service_handle service_rare(struct packet *p)
{
	service_handle service = service_wildcard(p, 0);
	return service || !settings.serve_all || !settings.has_inactive ? service : service_inactive(p);
}

/* Is the service with this index served now? */
static __always_inline int is_served(__u32 service)
{
	struct service *s = settings.has_inactive ? service_at(service) : 0;
	return !s || !(s->flags & SERVICE_INACTIVE) || settings.serve_all;
}

/* The service of a packet's firewall mark: the mark that the packet carries, or the one that a rule gives it. */
__noinline service_handle service_by_mark(struct packet *p, __u32 mark)
{
	if (!p)
		return 0;
	__be32 addr[4] = { mark ? mark : mark_lookup(p) };
	if (!addr[0])
		return 0;
	return p->family == 6 ? service_lookup(addr, 1, 0, 0) : service_lookup(addr, 0, 0, 0);
}

/* The service of a client's packet. `mark` is the firewall mark that the packet carries, as tc sees it. */
static __always_inline service_handle service_find(struct packet *p, __u32 mark)
{
	if (settings.has_mark) {
		service_handle marked = service_by_mark(p, mark);
		if (marked)
			return marked;
	}
	service_handle service = p->family == 6 ? service_lookup(p->daddr, 1, p->dport, p->protocol)
						: service_lookup(p->daddr, 0, p->dport, p->protocol);
	if (!service && (settings.has_wildcard_port | settings.has_ftp | settings.serve_all))
		service = service_rare(p);
	return service;
}

/*
 * The first destination whose replies have this source. Others follow by dest.nat_next. `probes` bounds the search,
 * which the fast path ends early.
 */
static __always_inline dest_handle nat_probe(__be32 *addr, int v6, __be16 port, __u8 protocol, int probes)
{
	__u32 h = endpoint_hash(addr, v6, port, protocol);
	for (int i = 0; i < probes; i++) {
		struct endpoint *s = TABLE_GET_MASKED(nat_dests, h + i);
		if (endpoint_matches(s, addr, v6, port, protocol, 0))
			return s->index;
		if (!s->family)
			return 0;
	}
	return 0;
}

static __always_inline dest_handle nat_lookup(__be32 *addr, int v6, __be16 port, __u8 protocol)
{
	return nat_probe(addr, v6, port, protocol, EK_NAT_PROBES);
}

#endif
