/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Scratch memory: one struct for each CPU, for variables that do not fit on the stack, which has 512 bytes for the
 * whole chain of calls. Programs run in softirq context, one after the other on each CPU, so that no other program
 * writes here meanwhile. Functions that call each other use different parts.
 *
 * Programs of local clients run in the context of a thread, which may be preempted: theirs is for each thread
 * (local/scratch_thread.h).
 */
#ifndef EVENKEEL_SCRATCH_H
#define EVENKEEL_SCRATCH_H

/* What schedulers know of a packet. */
struct sched_request {
	__u64 target; /* the destination address, as a key of lblc's cache */
	__u32 service;
	__u32 client; /* folded, see fold() */
	__u32 vip;    /* folded */
	__u32 port;   /* the client's, host byte order */
};

#define OUTER_MAX (40 + 8 + 4) /* IPv6, UDP, GUE */

/* The outer headers of a tunnelled packet. */
struct outer {
	__u8 bytes[OUTER_MAX + 4];
	__u32 len;
};

/* A walk over a service's list in search of the servers of an lblcr set. */
struct lblcr_walk {
	__u64 target;
	__u32 base, service;
	__u32 now, members;
	__u32 least, least_order; /* the least loaded server, and when it joined */
	__u32 most, keep;         /* the most loaded one; jiffies that an entry lives */
	__s64 least_overhead, least_weight;
	__s64 most_overhead, most_weight;
};

/* A translation by NAT: of the source of replies, or of the destination of the client's packets. */
struct translation {
	__be32 addr[4];
	__be16 port;
	__u8 source; /* 1: of the source */
	__u8 ports;  /* 1: the packet has ports: it is neither a later fragment nor IPsec */
};

/* The connection that a reply belongs to. */
struct reply {
	struct translation to;
	__u32 mtu;        /* path MTU towards the client; 0: not known */
	conn_handle conn; /* 0: there is no entry, since its bucket was full */
	__u32 dest;
	__u32 service;
};

#define ICMP_SIZE 8
#define QUOTE_MAX 128 /* bytes of a packet that an ICMP error quotes */

struct icmp_header {
	__u8 type, code;
	__u16 checksum;
	__be32 rest;
};

struct error_packet {
	struct icmp_header icmp;
	__u8 quote[QUOTE_MAX];
};

#define SUM_CHUNK 512 /* bytes that bpf_csum_diff() adds up at once, before Linux 6.13 */

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
	struct packet packet; /* the packet that the program handles */
	struct packet quoted; /* the packet that an ICMP error quotes; or an imported connection's */
	__u32 icmp_dest;      /* schedule_icmp: the destination of an ICMP error without a connection */
	struct bpf_fib_lookup fib;
	struct {
		struct error_packet packet;
		__u32 second, sent; /* errors sent in this second */
	} error;
	struct {
		__be16 tags[2 * EK_VLAN_TAGS]; /* as they were in the frame */
		__u32 count;
		__u32 ifindex; /* of the VLAN */
	} vlan;
	struct conn_key flow_key; /* of an IPv6 packet */
	struct outer outer;
	struct {
		__u32 next, bytes;
	} options; /* of an IPv4 header */
	__u8 sum_chunk[SUM_CHUNK + 4];
};

#ifndef EVENKEEL_SCRATCH_THREAD
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

#endif
