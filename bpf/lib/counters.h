/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Statistics: one addition on this CPU's own copy. */
#ifndef EVENKEEL_COUNTERS_H
#define EVENKEEL_COUNTERS_H

static __always_inline void count_reason(__u32 reason)
{
	__u64 *n = bpf_map_lookup_elem(&packet_counters, &reason);
	if (n)
		(*n)++;
}

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

/* As ip_vs_conn_stats(): a connection, or a persistence template's first, is counted when it is scheduled. */
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
