// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Packet generators, which the kernel's test-run facility runs with live frames; a sink that counts packets; and a
 * program that passes them.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/*
 * What to generate: packets of `flows` clients in turn, from the address `first` on; 0: each packet is from another
 * client.
 */
struct source_config {
	__u32 flows;
	__u32 first;
	__u32 ifindex;
	__u32 sent;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct source_config);
} source_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} received SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} next_program SEC(".maps");

/* Sets the client's address of a frame that is complete otherwise. Returns the egress device, or 0. */
static __always_inline __u32 next_frame(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	__u32 zero = 0;
	struct source_config *o = bpf_map_lookup_elem(&source_config, &zero);
	if (!o || (void *)(ip + 1) > (void *)(long)ctx->data_end)
		return 0;
	__u32 n = o->sent++;
	__u32 client = o->first + (o->flows ? n % o->flows : n);
	/* a frame is used again as the last program left it: what that has changed is written again */
	__u32 sum = 0x4500 + 46 + 0x4000 + 0x4000 + ip->protocol + (client >> 16) + (client & 0xffff) + 0x0a09 + 0x0909;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->saddr = bpf_htonl(client);
	ip->ttl = 64;
	ip->check = bpf_htons(~sum & 0xffff);
	__builtin_memcpy(eth->h_dest, "\x02\0\0\0\x01\x02", 6);
	return o->ifindex;
}

/* Sends packets by a device. */
SEC("xdp")
int source(struct xdp_md *ctx)
{
	__u32 ifindex = next_frame(ctx);
	return ifindex ? bpf_redirect(ifindex, 0) : XDP_ABORTED;
}

/* Hands packets to a program, as a device does that has received them. */
SEC("xdp.frags")
int hand(struct xdp_md *ctx)
{
	if (next_frame(ctx))
		bpf_tail_call(ctx, &next_program, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&received, &zero);
	if (n)
		(*n)++;
	return XDP_DROP;
}

/* Passes everything, so that a veth device accepts frames that its peer redirects by XDP. */
SEC("xdp.frags")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
