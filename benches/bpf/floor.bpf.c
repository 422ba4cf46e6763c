// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * What the packet path is measured against, and the wrapper that makes each run of the kernel's test-run facility a
 * packet of another flow: it sets the source, repairs what the last run changed, and tail-calls the program under test.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct plan {
	__u64 seq;
	__u32 flows;
	__u32 flags; /* byte 13 of the TCP header */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct plan);
} plan SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} under_test SEC(".maps");

struct headers {
	struct ethhdr eth;
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

/*
 * A store to a frame, as wide as any program may load what it wrote. A load that is wider than the stores before it waits
 * until they are in the cache, and so for all packets before: no program would, of frames that a device has written.
 */
static __always_inline void put64(void *to, __u64 what)
{
	*(volatile __u64 *)to = what;
}

static __always_inline void put32(void *to, __u32 what)
{
	*(volatile __u32 *)to = what;
}

SEC("xdp.frags")
int wrap(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct plan *p = bpf_map_lookup_elem(&plan, &zero);
	struct headers *h = (void *)(long)ctx->data;
	if (!p || (void *)(h + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	if (h->ip.protocol == IPPROTO_IPIP) { /* a tunnel's header, which the last run put in front */
		if (bpf_xdp_adjust_head(ctx, sizeof(struct iphdr)))
			return XDP_ABORTED;
		h = (void *)(long)ctx->data;
		if ((void *)(h + 1) > (void *)(long)ctx->data_end)
			return XDP_ABORTED;
		h->eth.h_proto = bpf_htons(ETH_P_IP);
	}
	__u32 flow = (__u32)(p->seq++ * 2654435761u) & (p->flows - 1);
	put64(h, 0); /* h_dest, and two bytes of h_source */
	h->ip.ttl = 64;
	put64(&h->ip.saddr, bpf_htonl(0x0a000000 | flow >> 8) | (__u64)bpf_htonl(0x0ac80101) << 32);
	put32(&h->tcp, bpf_htons(1024 + (flow & 0xff)) | (__u32)bpf_htons(80) << 16);
	((__u8 *)&h->tcp)[13] = p->flags;
	bpf_tail_call(ctx, &under_test, 0);
	return XDP_ABORTED;
}

struct headers6 {
	struct ethhdr eth;
	struct ipv6hdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

/* The same for IPv6. */
SEC("xdp.frags")
int wrap6(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct plan *p = bpf_map_lookup_elem(&plan, &zero);
	struct headers6 *h = (void *)(long)ctx->data;
	if (!p || (void *)(h + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__u32 flow = (__u32)(p->seq++ * 2654435761u) & (p->flows - 1);
	put64(h, 0); /* h_dest, and two bytes of h_source */
	h->ip.hop_limit = 64;
	put64(&h->ip.saddr.s6_addr32[2], (__u64)bpf_htonl(flow >> 8) << 32);
	put32(&h->tcp, bpf_htons(1024 + (flow & 0xff)) | (__u32)bpf_htons(80) << 16);
	((__u8 *)&h->tcp)[13] = p->flags;
	bpf_tail_call(ctx, &under_test, 0);
	return XDP_ABORTED;
}

/* The wrapper's own cost. */
SEC("xdp.frags")
int nothing(struct xdp_md *ctx)
{
	return XDP_TX;
}

/* Parse, rewrite, send: no service, no state. */
SEC("xdp.frags")
int rewrite(struct xdp_md *ctx)
{
	struct headers *h = (void *)(long)ctx->data;
	if ((void *)(h + 1) > (void *)(long)ctx->data_end || h->eth.h_proto != bpf_htons(ETH_P_IP) || h->ip.ihl != 5 ||
	    h->ip.protocol != IPPROTO_TCP)
		return XDP_PASS;
	__u32 check = h->ip.check;
	check += bpf_htons(0x0100);
	h->ip.check = (__u16)(check + (check >= 0xffff));
	h->ip.ttl--;
	__builtin_memset(h->eth.h_dest, 2, 6);
	return XDP_TX;
}

/*
 * What a balancer does with the kernel's own maps: a hash of services, an LRU hash of connections with state and time,
 * three statistics.
 */
struct service_key {
	__be32 addr;
	__be16 port;
	__u8 protocol, pad;
};
struct flow_key {
	__be32 src, dst;
	__be16 sport, dport;
	__u32 protocol;
};
struct flow {
	__u32 dest, state;
	__u64 last, packets, bytes;
};
struct stat {
	__u64 packets, bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, struct service_key);
	__type(value, __u32);
} kernel_services SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 21);
	__type(key, struct flow_key);
	__type(value, struct flow);
} kernel_flows SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct stat);
} kernel_stats SEC(".maps");

static __always_inline void count(__u32 at, __u32 bytes)
{
	struct stat *s = bpf_map_lookup_elem(&kernel_stats, &at);
	if (s) {
		s->packets++;
		s->bytes += bytes;
	}
}

SEC("xdp.frags")
int kernel_maps(struct xdp_md *ctx)
{
	struct headers *h = (void *)(long)ctx->data;
	if ((void *)(h + 1) > (void *)(long)ctx->data_end || h->eth.h_proto != bpf_htons(ETH_P_IP) || h->ip.ihl != 5 ||
	    h->ip.protocol != IPPROTO_TCP)
		return XDP_PASS;
	struct service_key sk = { h->ip.daddr, h->tcp.dest, h->ip.protocol, 0 };
	__u32 *service = bpf_map_lookup_elem(&kernel_services, &sk);
	if (!service)
		return XDP_PASS;
	__u32 bytes = bpf_ntohs(h->ip.tot_len), dest;
	__u64 now = bpf_ktime_get_coarse_ns();
	struct flow_key k = { h->ip.saddr, h->ip.daddr, h->tcp.source, h->tcp.dest, h->ip.protocol };
	struct flow *f = bpf_map_lookup_elem(&kernel_flows, &k);
	if (f) {
		f->last = now;
		f->packets++;
		f->bytes += bytes;
		if (h->tcp.fin || h->tcp.rst)
			f->state = 2;
		dest = f->dest;
	} else {
		struct flow n = { .dest = now & 3, .state = 1, .last = now, .packets = 1, .bytes = bytes };
		bpf_map_update_elem(&kernel_flows, &k, &n, BPF_ANY);
		dest = n.dest;
	}
	count(*service & 1023, bytes);
	count(512 + (dest & 255), bytes);
	count(1023, bytes);
	return rewrite(ctx);
}

char _license[] SEC("license") = "Dual MIT/GPL";
