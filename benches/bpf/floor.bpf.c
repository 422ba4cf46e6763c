// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Baselines of the packet path's benchmarks, and the wrapper that makes each run of the kernel's test-run facility a
 * packet of another flow: it sets the source address, undoes what the last run changed, and tail-calls the program
 * under test.
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
	__be32 vip[4];
	__be32 server[4]; /* the packets are replies of this server; 0: they are packets of clients */
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
 * A store to a frame, as wide as the widest load of a program. A load that is wider than the stores before it waits
 * until they are in the cache. No program waits so for frames that a device has written.
 */
static __always_inline void put64(void *to, __u64 what)
{
	*(volatile __u64 *)to = what;
}

static __always_inline void put32(void *to, __u32 what)
{
	*(volatile __u32 *)to = what;
}

static __always_inline __u32 ports(struct plan *p, __u32 flow)
{
	__u32 client = bpf_htons(1024 + (flow & 0xff)), service = bpf_htons(80);
	return p->server[0] ? service | client << 16 : client | service << 16;
}

/* The packet path validates the header of a packet that creates a connection. */
static __always_inline void set_header_sum(struct iphdr *ip)
{
	__be32 *w = (void *)ip;
	ip->check = 0;
	__u64 sum = (__u64)w[0] + w[1] + w[2] + w[3] + w[4];
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~((sum & 0xffff) + (sum >> 16));
}

SEC("xdp.frags")
int wrap(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct plan *p = bpf_map_lookup_elem(&plan, &zero);
	struct headers *h = (void *)(long)ctx->data;
	if (!p || (void *)(h + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	if (h->ip.protocol == IPPROTO_IPIP) { /* a tunnel's header, which the last run pushed */
		if (bpf_xdp_adjust_head(ctx, sizeof(struct iphdr)))
			return XDP_ABORTED;
		h = (void *)(long)ctx->data;
		if ((void *)(h + 1) > (void *)(long)ctx->data_end)
			return XDP_ABORTED;
		h->eth.h_proto = bpf_htons(ETH_P_IP);
	}
	__u32 flow = (__u32)(p->seq++ * 2654435761u) & (p->flows - 1);
	__u64 client = bpf_htonl(0x0a000000 | flow >> 8);
	put64(h, 0); /* h_dest, and two bytes of h_source */
	h->ip.ttl = 64;
	put64(&h->ip.saddr, p->server[0] ? p->server[0] | client << 32 : client | (__u64)p->vip[0] << 32);
	set_header_sum(&h->ip);
	put32(&h->tcp, ports(p, flow));
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
	if (h->ip.nexthdr == IPPROTO_IPV6) {
		if (bpf_xdp_adjust_head(ctx, sizeof(struct ipv6hdr)))
			return XDP_ABORTED;
		h = (void *)(long)ctx->data;
		if ((void *)(h + 1) > (void *)(long)ctx->data_end)
			return XDP_ABORTED;
		h->eth.h_proto = bpf_htons(ETH_P_IPV6);
	}
	__u32 flow = (__u32)(p->seq++ * 2654435761u) & (p->flows - 1);
	put64(h, 0); /* h_dest, and two bytes of h_source */
	h->ip.hop_limit = 64;
	/* the address: fd00::, and the flow */
	__u64 high = bpf_htonl(0xfd000000), low = (__u64)bpf_htonl(flow >> 8) << 32;
	__be32 *other = p->server[0] ? p->server : p->vip;
	struct in6_addr *client = p->server[0] ? &h->ip.daddr : &h->ip.saddr, *fixed = p->server[0] ? &h->ip.saddr : &h->ip.daddr;
	put64(&client->s6_addr32[0], high);
	put64(&client->s6_addr32[2], low);
	put64(&fixed->s6_addr32[0], *(__u64 *)&other[0]);
	put64(&fixed->s6_addr32[2], *(__u64 *)&other[2]);
	put32(&h->tcp, ports(p, flow));
	((__u8 *)&h->tcp)[13] = p->flags;
	bpf_tail_call(ctx, &under_test, 0);
	return XDP_ABORTED;
}

/* The cost of the wrapper itself. */
SEC("xdp.frags")
int nothing(struct xdp_md *ctx)
{
	return XDP_TX;
}

static __always_inline int tcp_or_udp(struct headers *h)
{
	return h->ip.protocol == IPPROTO_TCP || h->ip.protocol == IPPROTO_UDP;
}

/* Does the packet end a connection? */
static __always_inline int ends_conn(struct headers *h)
{
	return h->ip.protocol == IPPROTO_TCP && (h->tcp.fin || h->tcp.rst);
}

static __always_inline int rewrite_frame(struct headers *h)
{
	__u32 check = h->ip.check;
	check += bpf_htons(0x0100);
	h->ip.check = (__u16)(check + (check >= 0xffff));
	h->ip.ttl--;
	__builtin_memset(h->eth.h_dest, 2, 6);
	return XDP_TX;
}

/* Parses, rewrites, sends: no service, no state. */
SEC("xdp.frags")
int rewrite(struct xdp_md *ctx)
{
	struct headers *h = (void *)(long)ctx->data;
	if ((void *)(h + 1) > (void *)(long)ctx->data_end || h->eth.h_proto != bpf_htons(ETH_P_IP) || h->ip.ihl != 5 ||
	    !tcp_or_udp(h))
		return XDP_PASS;
	return rewrite_frame(h);
}

/*
 * A load balancer with the kernel's maps: a hash of services, an LRU hash of connections with state and time, three
 * statistics.
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
	    !tcp_or_udp(h))
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
		if (ends_conn(h))
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
	return rewrite_frame(h);
}

/*
 * The lower bound of a connection table of cache lines: two connections in a line, exact keys, a table of services,
 * jiffies, three statistics. It has no synchronization between CPUs, no timeouts, no states, no other address
 * families or forwarding methods: it is no load balancer.
 */
struct line_conn {
	__u64 key0, key1;
	__u32 dest, seen, packets, state;
};
struct line {
	struct line_conn of[2];
};
struct line_service {
	__be32 addr;
	__u32 port_protocol;
	__u32 number, pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << 20);
	__type(key, __u32);
	__type(value, struct line);
} line_flows SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct line_service);
} line_services SEC(".maps");

/* The destination of a packet, or -1. */
static __always_inline int line_dest(struct headers *h)
{
	if (h->eth.h_proto != bpf_htons(ETH_P_IP) || h->ip.ihl != 5 || !tcp_or_udp(h) || (h->ip.frag_off & bpf_htons(0x3fff)))
		return -1;
	__u32 named = h->tcp.dest | (__u32)h->ip.protocol << 16 | 1u << 24;
	__u32 at = ((h->ip.daddr * 0x9e3779b1u ^ named) * 0x85ebca6bu) >> 24;
	struct line_service *service = bpf_map_lookup_elem(&line_services, &at);
	if (!service || service->addr != h->ip.daddr || service->port_protocol != named)
		return -1;
	__u64 key0 = *(__u64 *)&h->ip.saddr, key1 = *(__u32 *)&h->tcp | (__u64)h->ip.protocol << 32 | 1ull << 40;
	__u64 mixed = (key0 ^ key1 * 0xd6e8feb86659fd93ull) * 0x9e3779b97f4a7c15ull;
	mixed ^= mixed >> 32;
	__u32 index = (__u32)mixed & ((1 << 20) - 1), now = (__u32)bpf_jiffies64(), bytes = bpf_ntohs(h->ip.tot_len);
	struct line *l = bpf_map_lookup_elem(&line_flows, &index);
	if (!l)
		return -1;
	struct line_conn *c;
	if (l->of[0].key0 == key0 && l->of[0].key1 == key1) {
		c = &l->of[0];
	} else if (l->of[1].key0 == key0 && l->of[1].key1 == key1) {
		c = &l->of[1];
	} else {
		c = !l->of[0].key1 || (l->of[1].key1 && l->of[0].seen < l->of[1].seen) ? &l->of[0] : &l->of[1];
		c->key0 = key0;
		c->key1 = key1;
		c->dest = mixed >> 33 & 3;
		c->packets = 0;
		c->state = 1;
	}
	c->seen = now;
	c->packets++;
	if (ends_conn(h))
		c->state = 2;
	count(service->number & 1023, bytes);
	count(512 + (c->dest & 255), bytes);
	count(1023, bytes);
	return c->dest & 255;
}

SEC("xdp.frags")
int one_line(struct xdp_md *ctx)
{
	struct headers *h = (void *)(long)ctx->data;
	if ((void *)(h + 1) > (void *)(long)ctx->data_end || line_dest(h) < 0)
		return XDP_PASS;
	return rewrite_frame(h);
}

/* The same with a header in front. */
SEC("xdp.frags")
int one_line_ipip(struct xdp_md *ctx)
{
	struct headers *h = (void *)(long)ctx->data;
	if ((void *)(h + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	int dest = line_dest(h);
	if (dest < 0)
		return XDP_PASS;
	__u16 bytes = bpf_ntohs(h->ip.tot_len);
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct iphdr)))
		return XDP_DROP;
	h = (void *)(long)ctx->data;
	if ((void *)(h + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	__builtin_memset(&h->eth, 2, 12);
	h->eth.h_proto = bpf_htons(ETH_P_IP);
	h->ip = (struct iphdr){ .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_IPIP, .frag_off = bpf_htons(0x4000) };
	h->ip.tot_len = bpf_htons(bytes + sizeof(struct iphdr));
	h->ip.saddr = bpf_htonl(0x0a000001);
	h->ip.daddr = bpf_htonl(0x0a300000 + dest);
	__u32 sum = 0x4500 + bytes + sizeof(struct iphdr) + 0x4000 + 0x4004 + 0x0a00 + 1 + 0x0a30 + dest;
	sum = (sum & 0xffff) + (sum >> 16);
	h->ip.check = bpf_htons(~(__u16)((sum & 0xffff) + (sum >> 16)));
	return XDP_TX;
}

char _license[] SEC("license") = "Dual MIT/GPL";
