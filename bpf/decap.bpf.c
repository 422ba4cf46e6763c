// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Decapsulation on a real server: removes the outer headers of tunnelled packets, for kernels without tunnel devices,
 * or where they are not configured. Only packets to a virtual address of this host are decapsulated; all
 * others are unchanged.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_SIZE 14
#define OUTER_MAX (40 + 8 + 8 + 8)
/* BPF_F_ADJ_ROOM_DECAP_L3_IPV4 and _IPV6 (Linux 6.3), as numbers: older headers do not have them */
#define DECAP_TO_IPV4 (1ull << 7)
#define DECAP_TO_IPV6 (1ull << 8)

/* A virtual address of this host. An IPv4 address is in the first word, and the other words are 0. */
struct address {
	__be32 word[4];
};

/* User space writes, the program reads. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct address);
	__type(value, __u32);
} virtual_addresses SEC(".maps");

struct decap_settings {
	__be16 gue_port; /* 0: none */
	__u16 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct decap_settings);
} decap_settings SEC(".maps");

/*
 * Packets that were decapsulated; that were not, since this host does not have the virtual address; or since the
 * kernel's helper failed, which in older kernels cannot change the address family.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} decap_counts SEC(".maps");

enum { DECAPSULATED, NOT_OURS, FAILED };

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&decap_counts, &what);
	if (n)
		(*n)++;
}

/*
 * The length of the headers between the outer and the inner IP header, and the inner protocol (4 or 41; 0: it is no
 * tunnel). ~0: it is no tunnel.
 */
static __always_inline __u32 tunnel_header_len(void *at, void *end, __u8 protocol, __u8 *inner)
{
	__u32 zero = 0;
	if (protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6) {
		*inner = protocol;
		return 0;
	}
	if (protocol == IPPROTO_GRE) {
		__be16 *gre = at;
		/* RFC 2784: version 0, with or without a checksum, and nothing else */
		if ((void *)(gre + 2) > end || (gre[0] & ~bpf_htons(0x8000)))
			return ~0u;
		*inner = gre[1] == bpf_htons(ETH_P_IP)   ? IPPROTO_IPIP :
			 gre[1] == bpf_htons(ETH_P_IPV6) ? IPPROTO_IPV6 :
							   0;
		return gre[0] ? 8 : 4;
	}
	struct decap_settings *set = bpf_map_lookup_elem(&decap_settings, &zero);
	struct udphdr *udp = at;
	__u8 *gue = (void *)(udp + 1);
	if (protocol != IPPROTO_UDP || !set || !set->gue_port || (void *)(gue + 4) > end || udp->dest != set->gue_port)
		return ~0u;
	/*
	 * variant 0, a data packet; the header says how many words of optional fields (remote checksum offload)
	 * follow
	 */
	if (gue[0] & 0xe0)
		return ~0u;
	*inner = gue[1];
	return sizeof(*udp) + 4 + (gue[0] & 0x1f) * 4;
}

SEC("tc")
int evenkeel_decap(struct __sk_buff *skb)
{
	if (skb->pkt_type != 0 /* PACKET_HOST */)
		return TC_ACT_UNSPEC;
	__u32 want = ETH_SIZE + OUTER_MAX + 40;
	if (skb->data_end - skb->data < want)
		bpf_skb_pull_data(skb, skb->len < want ? skb->len : want);
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	__u32 outer;
	__u8 protocol, inner = 0;
	if ((void *)(eth + 1) > end)
		return TC_ACT_UNSPEC;
	int v6 = eth->h_proto == bpf_htons(ETH_P_IPV6);
	if (v6) {
		struct ipv6hdr *ip = (void *)(eth + 1);
		if ((void *)(ip + 1) > end)
			return TC_ACT_UNSPEC;
		protocol = ip->nexthdr;
		outer = sizeof(*ip);
	} else {
		struct iphdr *ip = (void *)(eth + 1);
		if (eth->h_proto != bpf_htons(ETH_P_IP) || (void *)(ip + 1) > end || ip->ihl != 5 ||
		    (ip->frag_off & bpf_htons(0x3fff)))
			return TC_ACT_UNSPEC;
		protocol = ip->protocol;
		outer = sizeof(*ip);
	}
	__u32 len = tunnel_header_len(data + ETH_SIZE + outer, end, protocol, &inner);
	if (len > 8 + 4 + 32 || (inner != IPPROTO_IPIP && inner != IPPROTO_IPV6))
		return TC_ACT_UNSPEC;
	outer += len;
	struct address vip = {};
	void *l3 = data + ETH_SIZE + (outer & 0x7f);
	if (inner == IPPROTO_IPV6) {
		struct ipv6hdr *ip = l3;
		if ((void *)(ip + 1) > end)
			return TC_ACT_UNSPEC;
		__builtin_memcpy(vip.word, &ip->daddr, 16);
	} else {
		struct iphdr *ip = l3;
		if ((void *)(ip + 1) > end)
			return TC_ACT_UNSPEC;
		vip.word[0] = ip->daddr;
	}
	if (!bpf_map_lookup_elem(&virtual_addresses, &vip)) {
		count(NOT_OURS);
		return TC_ACT_UNSPEC;
	}
	__u64 flags = 0;
	if (v6 != (inner == IPPROTO_IPV6))
		flags = v6 ? DECAP_TO_IPV4 : DECAP_TO_IPV6;
	if (bpf_skb_adjust_room(skb, -(__s32)(outer & 0x7f), BPF_ADJ_ROOM_MAC, flags)) {
		count(FAILED);
		return TC_ACT_UNSPEC;
	}
	if (flags) {
		__be16 proto = v6 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
		bpf_skb_store_bytes(skb, 12, &proto, 2, 0);
	}
	count(DECAPSULATED);
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "Dual MIT/GPL";
