/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The straight way: a packet of a connection that is known, and that nothing happens to. Most packets are such, and what
 * they cost is mostly the wait for the connection's line, which comes from memory. A processor waits for the lines of
 * several packets at once if little lies between them, and less still hangs on what is in the line; hence this short copy
 * of path() for whole packets without options or extension headers, of TCP in ESTABLISHED or of UDP.
 *
 * Whatever is out of the ordinary is left to path(), before anything was changed. What is changed is what path() would
 * change.
 */
#ifndef EVENKEEL_STRAIGHT_H
#define EVENKEEL_STRAIGHT_H

/* No actions of XDP: nothing was done; and everything but to forward it to the destination that was found. */
#define LONG_WAY (~0u)
#define FORWARD (~1u)

/* A packet's connection, and what it makes of it. */
struct known {
	struct conn *entry;
	__u32 service;
	__u32 now;
	__u32 state;
	__u32 timeout;
};

/* The service of an address in its first place; the others are the long way's. The index + 1. */
static __always_inline __u32 service_at_once(__be32 *vip, int v6, __u32 vport, __u32 protocol)
{
	__u32 at = slot_hash(vip, v6, vport, protocol) & (EK_SERVICE_SLOTS - 1);
	struct slot *s = bpf_map_lookup_elem(&service_slots, &at);
	/* port, protocol and family lie in one word */
	if (!s || s->addr[0] != vip[0] || *(__u32 *)&s->port != (vport | protocol << 16 | (v6 ? 6 : 4) << 24))
		return 0;
	return v6 && (s->addr[1] != vip[1] || s->addr[2] != vip[2] || s->addr[3] != vip[3]) ? 0 : s->index;
}

/* An entry of the first line of its bucket, not past its time. No template has the key of a connection. */
static __always_inline struct conn *conn_at_once(struct settings *set, __u64 key0, __u64 key1, __u32 now)
{
	struct conn_line *l = line_at(conn_hash(set, key0, key1) & set->conn_mask);
	if (!l)
		return 0;
	/* which of the two it is nobody can guess, and a wrong guess is found out when the line is there: so no branch */
	__u64 other = (READ(l->entry[0].key1) ^ key1) | (READ(l->entry[0].key0) ^ key0);
	__u32 second = (other | -other) >> 63;
	asm volatile("" : "+r"(second));
	struct conn *e = &l->entry[second & 1];
	return READ(e->key1) != key1 || READ(e->key0) != key0 || passed(READ(e->expires), now) ? 0 : e;
}

static __always_inline struct conn *conn6_at_once(struct settings *set, const struct key *k, __u32 now)
{
	struct conn_line *l = line_at(key_hash6(set, k) & set->conn_mask);
	return l && key_is6(l, k) && !passed(READ(l->entry[0].expires), now) ? &l->entry[0] : 0;
}

/* What nothing happens to, and how long it keeps its connection. `l4` is as long as a TCP header. 0 if it is so. */
static __always_inline int uneventful(struct settings *set, __u8 *l4, __u32 protocol, struct known *k)
{
	k->state = TCP_ESTABLISHED;
	k->timeout = set->timeout_tcp[TCP_ESTABLISHED];
	if (protocol == IPPROTO_TCP)
		return (l4[13] & (FIN | SYN | RST | ACK)) != ACK;
	k->state = 0;
	k->timeout = set->timeout_udp;
	return protocol != IPPROTO_UDP;
}

/* Other processors may have the line; they keep it if nothing changes. */
static __always_inline void entry_renew(struct conn *e, __u32 expires)
{
	if (READ(e->expires) != expires)
		e->expires = expires;
}

/* The end of the straight way: `bytes` of an IP packet, to the destination of its connection. */
static __always_inline __u32 straight_on(struct xdp_md *ctx, struct known *k, int v6, __u32 bytes, __u32 *to)
{
	struct conn *e = k->entry;
	__u32 dest = READ(e->dest), in = ctx->ingress_ifindex, expires = k->now + k->timeout;
	struct dest *d = dest_at(dest);
	if (CONN_STATE(READ(e->life)) != k->state || !d || !(READ(d->flags) & DEST_AVAILABLE))
		return LONG_WAY;
	void *data = (void *)(long)ctx->data;
	struct iphdr *ip = data + ETH_SIZE;
	__u32 which = READ(d->hop);
	struct next_hop *hop = which == 2 ? &d->hops[1] : &d->hops[0];
	if (d->method != FORWARD_DR) {
		entry_renew(e, expires);
		count_in(k->service, dest, bytes);
		*to = dest;
		return FORWARD;
	}
	if (which != 1 && which != 2)
		return LONG_WAY;
	if ((hop->ifindex & EK_HOP_TAGGED) || (d->mtu && bytes > d->mtu) || (void *)(ip + 1) > (void *)(long)ctx->data_end)
		return LONG_WAY;
	entry_renew(e, expires);
	count_in(k->service, dest, bytes);
	/* as age() and address_frame(); both addresses in two strokes, as they lie behind each other here and there */
	if (v6) {
		((struct ipv6hdr *)ip)->hop_limit--;
	} else {
		__u32 check = ip->check;
		check += bpf_htons(0x0100);
		ip->check = (__u16)(check + (check >= 0xffff));
		ip->ttl--;
	}
	*(__u64 *)data = *(__u64 *)hop->dmac;
	*(__u32 *)(data + 8) = *(__u32 *)(hop->smac + 2);
	count_reason(REASON_FORWARDED);
	__u32 out = hop->ifindex;
	return out && out != in ? bpf_redirect(out, 0) : XDP_TX;
}

static __always_inline __u32 straight4(struct xdp_md *ctx, struct settings *set, __u32 *to)
{
	void *data = (void *)(long)ctx->data;
	struct iphdr *ip = data + ETH_SIZE;
	/* a whole TCP header, or as much of a UDP packet: ports lie alike */
	if ((void *)(ip + 1) + sizeof(struct tcphdr) > (void *)(long)ctx->data_end || *(__u8 *)ip != 0x45 ||
	    (ip->frag_off & bpf_htons(0x3fff)) || ip->ttl <= 1)
		return LONG_WAY;
	struct known k;
	__u32 protocol = ip->protocol;
	if (uneventful(set, (void *)(ip + 1), protocol, &k))
		return LONG_WAY;
	/* as conn_key0() and conn_key1() have them: the addresses, and the ports, as they lie in the packet */
	__u64 key0 = *(__u64 *)&ip->saddr, ports = *(__u32 *)(ip + 1);
	__be32 vip = key0 >> 32;
	k.service = service_at_once(&vip, 0, ports >> 16, protocol);
	if (!k.service--)
		return LONG_WAY;
	k.now = (__u32)bpf_jiffies64();
	k.entry = conn_at_once(set, key0, ports | (__u64)protocol << 32 | (__u64)KIND_CONN << 40, k.now);
	return k.entry ? straight_on(ctx, &k, 0, bpf_ntohs(ip->tot_len), to) : LONG_WAY;
}

static __always_inline __u32 straight6(struct xdp_md *ctx, struct settings *set, __u32 *to)
{
	void *data = (void *)(long)ctx->data;
	struct ipv6hdr *ip = data + ETH_SIZE;
	if ((void *)(ip + 1) + sizeof(struct tcphdr) > (void *)(long)ctx->data_end || ip->version != 6 || ip->hop_limit <= 1)
		return LONG_WAY;
	struct known k;
	struct key key;
	__u32 protocol = ip->nexthdr;
	if (uneventful(set, (void *)(ip + 1), protocol, &k))
		return LONG_WAY;
	__u64 *addresses = (__u64 *)&ip->saddr, ports = *(__u32 *)(ip + 1);
	key.a = addresses[0];
	key.b = addresses[1];
	key.c = addresses[2];
	key.d = addresses[3];
	key.key1 = ports | (__u64)protocol << 32 | (__u64)KIND_CONN << 40 | KEY_V6;
	k.service = service_at_once((__be32 *)&key.c, 1, ports >> 16, protocol);
	if (!k.service--)
		return LONG_WAY;
	k.now = (__u32)bpf_jiffies64();
	k.entry = conn6_at_once(set, &key, k.now);
	__u32 bytes = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	return k.entry ? straight_on(ctx, &k, 1, bytes, to) : LONG_WAY;
}

static __always_inline __u32 straight(struct xdp_md *ctx, struct settings *set, __u32 *to)
{
	void *data = (void *)(long)ctx->data;
	if (data + ETH_SIZE > (void *)(long)ctx->data_end || set->any_mark)
		return LONG_WAY;
	__be16 protocol = *(__be16 *)(data + 12);
	if ((protocol != bpf_htons(ETH_P_IP) && protocol != bpf_htons(ETH_P_IPV6)) ||
	    !device_owns(ctx->ingress_ifindex, data))
		return LONG_WAY;
	return protocol == bpf_htons(ETH_P_IP) ? straight4(ctx, set, to) : straight6(ctx, set, to);
}

#endif
