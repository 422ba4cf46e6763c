// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * evenkeel's packet path on one page: parse -> service -> connection or scheduler -> forward.
 *
 * One core, two shells: XDP for NICs, tc for what sockets feed (veth, bridges, virtual devices). Everything it knows is
 * in pinned maps, so it needs no process once it is loaded.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "maps.h"
#include "count.h"
#include "parse.h"
#include "service.h"
#include "connection.h"
#include "schedule.h"
#include "forward.h"
#include "sweep.h"

enum verdict { TO_KERNEL, AWAY, OUT };

static __always_inline enum verdict verdict_of(__u32 reason)
{
	switch (reason) {
	case REASON_FORWARDED:
		return OUT;
	case REASON_DEST_GONE:
	case REASON_NO_HOP:
	case REASON_TTL:
		return AWAY;
	default:
		return TO_KERNEL;
	}
}

/* ip_vs_in() lets a SYN start anew on an entry that has run its course (conn_reuse_mode=1), unless a template holds it. */
static __always_inline int starts_anew(struct packet *p, struct conn *e)
{
	__u32 state = CONN_STATE(READ(e->life));
	return p->protocol == IPPROTO_TCP && p->syn && !e->control && (state == TCP_TIME_WAIT || state == TCP_CLOSE);
}

/* tcp_conn_schedule(), udp_conn_schedule(): may this packet begin a connection? Source port 20 (FTP data) never does. */
static __always_inline int may_begin(struct packet *p)
{
	if (p->client_port == bpf_htons(20))
		return 0;
	return p->protocol != IPPROTO_TCP || (p->syn && !p->rst);
}

static __always_inline __u64 template_key0(struct service *s, struct packet *p)
{
	return conn_key0(p->client & s->persist_mask, p->vip);
}

/* Port 21 and port 0 bind every port of the client to one server. */
static __always_inline __u64 template_key1(struct service *s, struct packet *p)
{
	return conn_key1(0, s->port == bpf_htons(21) ? 0 : s->port, p->protocol, KIND_TEMPLATE);
}

/* A flow without an entry, and without room for one: its template's server, or the one that hashing finds. */
static __always_inline __u32 stateless(struct service *s, __u32 service, struct packet *p)
{
	struct found f = {};
	count_reason(REASON_TABLE_FULL);
	if (s->flags & SERVICE_PERSISTENT) {
		__u32 t = conn_find(template_key0(s, p), template_key1(s, p), (__u32)bpf_jiffies64(), &f);
		struct conn *e = t ? conn_at(t - 1) : 0;
		struct dest *d = e ? dest_at(e->dest) : 0;
		if (d && (READ(d->flags) & DEST_AVAILABLE))
			return e->dest;
	}
	return schedule_stateless(service, conn_key0(p->client, p->vip) ^ ((__u64)p->client_port << 16 | p->vport) * 31);
}

/* A packet that no entry is for: choose a server, make the entry. Returns the destination. */
static __always_inline __u32 begin(struct settings *set, struct service *s, __u32 service, struct packet *p,
				   struct fresh *n, struct found *f)
{
	n->timeout = set->timeout_udp;
	if (s->flags & SERVICE_PERSISTENT) {
		struct persistent found = { .dest = NO_DEST };
		schedule_persistent(service, template_key0(s, p), template_key1(s, p), &found);
		n->dest = found.dest;
		n->control = found.template;
	} else {
		n->dest = schedule(service);
	}
	if (n->dest == NO_DEST)
		return NO_DEST;
	__u32 state = TCP_NONE, flags = CONN_INACTIVE;
	if (p->protocol == IPPROTO_TCP) {
		state = tcp_next(TCP_NONE, p);
		n->timeout = set->timeout_tcp[state & 15];
		if (tcp_active(state))
			flags = 0;
	}
	n->life = CONN_LIFE(state, flags);
	count_connection(service, n->dest);
	__u32 number = conn_insert(f->room, f->room_key, n);
	if (!number && f->room) { /* another CPU took the place: look again */
		number = conn_find(n->key0, n->key1, (__u32)bpf_jiffies64(), f);
		if (!number)
			number = conn_insert(f->room, f->room_key, n);
	}
	if (number) {
		struct conn *e = conn_at(number - 1);
		return e ? e->dest : NO_DEST; /* ours, or the one of a CPU that was first */
	}
	if (n->control) {
		struct conn *t = conn_at(n->control - 1);
		if (t)
			__sync_fetch_and_add(&t->control, -1);
	}
	return stateless(s, service, p);
}

static __always_inline __u32 balance(struct packet *p, struct settings *set, struct service *s, __u32 service,
				     __u32 *ifindex)
{
	struct found f = {};
	struct fresh n = {
		.key0 = conn_key0(p->client, p->vip),
		.key1 = conn_key1(p->client_port, p->vport, p->protocol, KIND_CONN),
	};
	__u32 now = (__u32)bpf_jiffies64();
	__u32 number = conn_find(n.key0, n.key1, now, &f);
	struct conn *e = number ? conn_at(number - 1) : 0;
	if (e && starts_anew(p, e)) {
		conn_expire(e, n.key1);
		number = conn_find(n.key0, n.key1, now, &f);
		e = number ? conn_at(number - 1) : 0;
	}

	__u32 dest;
	struct dest *d;
	if (e) {
		dest = e->dest;
		d = dest_at(dest);
		if (!d || !(READ(d->flags) & DEST_AVAILABLE))
			return REASON_DEST_GONE;
		conn_touch(set, e, d, p, now);
	} else {
		if (may_begin(p))
			dest = begin(set, s, service, p, &n, &f);
		else if (!f.room && p->protocol == IPPROTO_TCP)
			dest = stateless(s, service, p); /* its bucket is full: it may be a flow that found no room */
		else
			return REASON_NOT_FIRST;
		d = dest == NO_DEST ? 0 : dest_at(dest);
		if (!d)
			return REASON_NO_SERVER;
	}
	count_packet(service, dest, p->bytes);
	return forward_dr(p, d, ifindex);
}

/* Frames for other hosts, seen because a switch floods or a device is promiscuous, are not to be balanced twice. */
static __always_inline int device_owns(__u32 ifindex, struct ethhdr *eth)
{
#pragma unroll
	for (int i = 0; i < EK_DEVICE_PROBES; i++) {
		__u32 at = (ifindex + i) & (EK_DEVICES - 1);
		struct device *dev = bpf_map_lookup_elem(&devices, &at);
		if (!dev || !dev->ifindex)
			return 0;
		if (dev->ifindex == ifindex)
			return *(__u32 *)dev->mac == *(__u32 *)eth->h_dest &&
			       *(__u16 *)(dev->mac + 4) == *(__u16 *)(eth->h_dest + 4);
	}
	return 0;
}

SEC("xdp")
int evenkeel_xdp(struct xdp_md *ctx)
{
	struct packet p = {};
	struct settings *set = settings_get();
	__u32 service, ifindex = 0;
	if (!set || parse((void *)(long)ctx->data, (void *)(long)ctx->data_end, &p))
		return XDP_PASS;
	if (p.fragment) {
		count_reason(REASON_FRAGMENT);
		return XDP_PASS;
	}
	struct service *s = service_find(set, &p, &service);
	if (!s || !device_owns(ctx->ingress_ifindex, p.eth))
		return XDP_PASS;
	__u32 reason = balance(&p, set, s, service, &ifindex);
	count_reason(reason);
	switch (verdict_of(reason)) {
	case OUT:
		return ifindex == ctx->ingress_ifindex ? XDP_TX : bpf_redirect(ifindex, 0);
	case AWAY:
		return XDP_DROP;
	default:
		return XDP_PASS;
	}
}

SEC("tc")
int evenkeel_tc(struct __sk_buff *skb)
{
	struct packet p = {};
	struct settings *set = settings_get();
	__u32 service, ifindex = 0;
	if (!set || skb->protocol != bpf_htons(ETH_P_IP) || skb->pkt_type != 0 /* PACKET_HOST */)
		return TC_ACT_UNSPEC;
	if (skb->data_end - skb->data < 14 + 60 + 20) /* headers may lie outside the linear part */
		bpf_skb_pull_data(skb, skb->len < 14 + 60 + 20 ? skb->len : 14 + 60 + 20);
	if (parse((void *)(long)skb->data, (void *)(long)skb->data_end, &p))
		return TC_ACT_UNSPEC;
	if (p.fragment) {
		count_reason(REASON_FRAGMENT);
		return TC_ACT_UNSPEC;
	}
	struct service *s = service_find(set, &p, &service);
	if (!s)
		return TC_ACT_UNSPEC;
	p.bytes = skb->len - sizeof(struct ethhdr); /* a large segment's tot_len may be 0 */
	__u32 reason = balance(&p, set, s, service, &ifindex);
	count_reason(reason);
	switch (verdict_of(reason)) {
	case OUT:
		return bpf_redirect(ifindex, 0);
	case AWAY:
		return TC_ACT_SHOT;
	default:
		return TC_ACT_UNSPEC;
	}
}

char _license[] SEC("license") = "Dual MIT/GPL";
