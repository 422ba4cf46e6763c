// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Sources of packets, run with live frames, and a sink that counts them; and what lets them pass. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* What the source makes: `flows` clients in turn, from `first` on; 0: each packet another one. */
struct order {
	__u32 flows;
	__u32 first;
	__u32 ifindex;
	__u32 made;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct order);
} orders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} arrived SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} handed_to SEC(".maps");

/* The frame is whole but for the client's address. Says where it is ordered to, or 0. */
static __always_inline __u32 next_frame(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	__u32 zero = 0;
	struct order *o = bpf_map_lookup_elem(&orders, &zero);
	if (!o || (void *)(ip + 1) > (void *)(long)ctx->data_end)
		return 0;
	__u32 n = o->made++;
	__u32 client = o->first + (o->flows ? n % o->flows : n);
	/* a frame comes round again as the last user left it: what that has changed is written anew */
	__u32 sum = 0x4500 + 46 + 0x4000 + 0x4000 + ip->protocol + (client >> 16) + (client & 0xffff) + 0x0a09 + 0x0909;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->saddr = bpf_htonl(client);
	ip->ttl = 64;
	ip->check = bpf_htons(~sum & 0xffff);
	__builtin_memcpy(eth->h_dest, "\x02\0\0\0\x01\x02", 6);
	return o->ifindex;
}

/* Sends it by a device. */
SEC("xdp")
int source(struct xdp_md *ctx)
{
	__u32 ifindex = next_frame(ctx);
	return ifindex ? bpf_redirect(ifindex, 0) : XDP_ABORTED;
}

/* Hands it to a program, as a device does that has received it. */
SEC("xdp.frags")
int hand(struct xdp_md *ctx)
{
	if (next_frame(ctx))
		bpf_tail_call(ctx, &handed_to, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&arrived, &zero);
	if (n)
		(*n)++;
	return XDP_DROP;
}

/* Lets everything pass, so that a device of veth's takes frames of its peer's XDP. */
SEC("xdp.frags")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
