/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Memory for the rarer paths, one for each CPU: the stack has 512 bytes for the whole chain of calls. Programs run in
 * softirq context, one after the other, so that nobody else writes here meanwhile.
 */
#ifndef EVENKEEL_SCRATCH_H
#define EVENKEEL_SCRATCH_H

/* What a scheduler may look at of a packet. */
struct sched_request {
	__u64 target; /* the packet's destination, as a key of a cache */
	__u32 service;
	__u32 client; /* folded, see fold() */
	__u32 vip;    /* folded */
	__u32 port;   /* the client's, host order */
};

#define OUTER_MAX (40 + 8 + 4)

/* What is put in front. */
struct outer {
	__u8 bytes[OUTER_MAX + 4];
	__u32 len;
};

/* A walk over the members of a set, in the service's list. */
struct lblcr_walk {
	__u64 target;
	__u32 base, service;
	__u32 now, mark_rules;
	__u32 least, least_order; /* the least loaded one, and when it joined */
	__u32 most, keep;
	__s64 least_overhead, least_weight;
	__s64 most_overhead, most_weight;
};

/* What is changed: the source of answers, the destination of what clients send. */
struct translation {
	__be32 addr[4];
	__be16 port;
	__u8 source;
	__u8 ports; /* the packet has them: it is no later piece of one */
};

/* Whose answer a packet is. */
struct reply {
	struct translation to;
	__u32 mtu;   /* of its way, once that is known; 0: not known */
	__u32 entry; /* the connection + 1, or 0: its bucket was full when it began */
	__u32 dest;
	__u32 service;
};

#define ICMP_SIZE 8
#define QUOTE_MAX 128 /* bytes of the packet that an error of ours quotes */

struct icmp_header {
	__u8 type, code;
	__u16 checksum;
	__be32 rest;
};

struct error_packet {
	struct icmp_header icmp;
	__u8 quote[QUOTE_MAX];
};

/* Each user has its own part, since they call each other. */
struct scratch {
	struct {
		struct new_conn conn;
		struct sched_request request;
	} create;
	struct {
		struct new_conn conn;
		struct lookup_result lookup;
	} persistence;
	struct {
		struct new_conn conn;
		struct lookup_result lookup;
		struct conn_key key;
	} lblc;
	struct {
		struct conn_key key;
		struct lookup_result lookup;
		struct reply info;
	} reply;
	struct lblcr_walk lblcr;
	struct packet packet; /* what the program has in hand */
	struct packet quoted; /* what an ICMP error is about: it went from `client` to `vip`; or a connection that is adopted */
	__u32 icmp_dest; /* schedule_icmp: where its client would be sent */
	struct bpf_fib_lookup fib;
	struct {
		struct error_packet packet;
		__u32 second, sent; /* how many in which */
	} error;
	struct {
		__be16 tags[2 * EK_VLAN_TAGS]; /* what was taken off the frame, as it lay there */
		__u32 count;
		__u32 ifindex; /* of the VLAN */
	} vlan;
	struct conn_key flow_key; /* of the packet itself, if it is IPv6 */
	struct outer outer;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch_memory SEC(".maps");

static __always_inline struct scratch *scratch_get(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&scratch_memory, &zero);
}

#endif
