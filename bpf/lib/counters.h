/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Statistics of services and destinations: each CPU adds to its own counters. */
#ifndef EVENKEEL_COUNTERS_H
#define EVENKEEL_COUNTERS_H

/* A packet from a client. */
static __always_inline void count_in(__u32 service, __u32 dest, __u32 bytes)
{
	struct counters *c = bpf_map_lookup_elem(&service_stats, &service);
	if (c) {
		c->in_packets++;
		c->in_bytes += bytes;
	}
	c = bpf_map_lookup_elem(&dest_stats, &dest);
	if (c) {
		c->in_packets++;
		c->in_bytes += bytes;
	}
}

/* A reply of a NAT server. */
static __always_inline void count_out(__u32 service, __u32 dest, __u32 bytes)
{
	struct counters *c = bpf_map_lookup_elem(&service_stats, &service);
	if (c) {
		c->out_packets++;
		c->out_bytes += bytes;
	}
	c = bpf_map_lookup_elem(&dest_stats, &dest);
	if (c) {
		c->out_packets++;
		c->out_bytes += bytes;
	}
}

/* ip_vs_conn_stats(): a connection is counted when it is scheduled. */
static __always_inline void count_connection(__u32 service, __u32 dest)
{
	struct counters *c = bpf_map_lookup_elem(&service_stats, &service);
	if (c)
		c->conns++;
	c = bpf_map_lookup_elem(&dest_stats, &dest);
	if (c)
		c->conns++;
}

#endif
