/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* (address, port, protocol) -> virtual service. The order is ip_vs_service_find()'s: the exact port, then port 0. */
#ifndef EVENKEEL_SERVICE_H
#define EVENKEEL_SERVICE_H

/* sys/src/bpf/slots.rs has the same two lines. Operators name services, so the hash needs no secret. */
static __always_inline __u32 service_hash(__be32 addr, __be16 port, __u8 protocol)
{
	__u32 h = (addr * 0x9e3779b1u ^ ((__u32)port << 8 | protocol)) * 0x85ebca6bu;
	return h >> 16;
}

static __always_inline struct service *service_lookup(__be32 addr, __be16 port, __u8 protocol, __u32 *index)
{
	__u32 h = service_hash(addr, port, protocol);
#pragma unroll
	for (int i = 0; i < EK_SERVICE_PROBES; i++) {
		__u32 at = (h + i) & (EK_SERVICE_SLOTS - 1);
		struct service_slot *s = bpf_map_lookup_elem(&service_slots, &at);
		if (!s || !s->used)
			return 0;
		if (s->addr == addr && s->port == port && s->protocol == protocol && s->index) {
			*index = s->index - 1;
			return bpf_map_lookup_elem(&services, index);
		}
	}
	return 0;
}

static __always_inline struct service *service_find(struct settings *set, struct packet *p, __u32 *index)
{
	struct service *s = service_lookup(p->vip, p->vport, p->protocol, index);
	if (!s && set->any_port)
		s = service_lookup(p->vip, 0, p->protocol, index);
	return s;
}

#endif
