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
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "maps.h"
#include "lib/counters.h"
#include "packet/parse.h"
#include "service/mark.h"
#include "service/service.h"
#include "conn/conn_table.h"
#include "conn/flow_cache.h"
#include "conn/state.h"
#include "conn/conn.h"
#include "conn/conn_insert.h"
#include "lib/hash.h"
#include "lib/scratch.h"
#include "conn/reply_tuple.h"
#include "sched/schedule.h"
#include "sched/lblc.h"
#include "conn/persistence.h"
#include "conn/stateless.h"
#include "conn/new_connection.h"
#include "forward/forward.h"
#include "forward/nat.h"
#include "forward/tunnel.h"
#include "packet/vlan.h"
#include "forward/reply.h"
#include "forward/fast_path.h"
#include "conn/fragment.h"
#include "error/icmp.h"
#include "conn/expire.h"
#include "conn/import.h"

/* Headers that must be in the linear part: with the longest chain that is common, of IPv6 and TCP; and twice, quoted. */
#define TC_HEADERS (ETH_SIZE + 40 + 40 + 20)
#define TC_QUOTED (ETH_SIZE + 60 + 8 + 60 + 4)

/* No reason, but what is done about one: the kernel resolves the neighbour and sends. */
#define REASON_ASK REASONS

enum verdict { TO_KERNEL, AWAY, OUT };

static __always_inline enum verdict verdict_of(__u32 reason)
{
	switch (reason) {
	case REASON_FORWARDED:
	case REASON_REPLIED:
	case REASON_ICMP:
		return OUT;
	case REASON_DEST_UNAVAILABLE:
	case REASON_NO_NEXT_HOP:
	case REASON_NO_SERVER:
	case REASON_TTL:
	case REASON_NO_HEADROOM:
	case REASON_NO_ROUTE:
	case REASON_TOO_BIG:
	case REASON_REJECTED:
	case REASON_UNEXPECTED_REPLY:
		return AWAY;
	default:
		return TO_KERNEL;
	}
}

/* is_new_conn() */
static __always_inline int is_new_conn(struct packet *p)
{
	return p->protocol == IPPROTO_TCP ? p->event & SYN : p->protocol == IPPROTO_SCTP && p->event == SCTP_EV_INIT;
}

/*
 * ip_vs_in() lets a SYN start anew on an entry that has run its course, by conn_reuse_mode, unless a template holds it
 * (is_new_conn_expected()); with expire_nodest_conn also on one whose server is quiesced.
 */
static __always_inline int may_reuse(struct packet *p, struct conn *e)
{
	__u32 status = READ_ONCE(e->status), state = CONN_STATE(status), mode = settings.conn_reuse_mode;
	if (!is_new_conn(p))
		return 0;
	if (settings.tuning & EXPIRE_NODEST_CONN) {
		struct dest *d = dest_at(e->dest);
		if (d && READ_ONCE(d->weight) == 0)
			return 1;
	}
	if (!mode || e->control)
		return 0;
	if (p->protocol == IPPROTO_TCP)
		return state == TCP_TIME_WAIT || state == TCP_CLOSE ||
		       ((mode & 2) && state == TCP_FIN_WAIT && (CONN_FLAGS(status) & CONN_NO_OUTPUT));
	return state == SCTP_CLOSED;
}

/* Ends the connection of a client's packet. */
static __always_inline void conn_end(struct packet *p, __u32 number)
{
	conn_expire(number);
	if (p->family == 4)
		flow_cache_delete(p->saddr[0], p->sport);
}

/* What to do with a packet of a connection whose server was removed. REASON_FORWARDED: go on; REASONS: begin anew. */
__noinline __u32 dest_unavailable(struct packet *p, __u32 service, __u32 number, __u32 dest, __u32 now)
{
	struct service *s = service_at(service);
	struct dest *d = dest_at(dest);
	if (!p)
		return REASON_DEST_UNAVAILABLE;
	__u32 how = s ? s->removal_policy : REMOVAL_DROP;
	if (how == REMOVAL_DRAIN && d && !is_past(READ_ONCE(d->removed) + s->drain_timeout, now)) {
		count_reason(REASON_DRAINED);
		return REASON_FORWARDED;
	}
	if (how == REMOVAL_DROP && !(settings.tuning & EXPIRE_NODEST_CONN))
		return REASON_DEST_UNAVAILABLE;
	conn_end(p, number);
	if ((how == REMOVAL_DROP || how == REMOVAL_RESCHEDULE) && may_create(p))
		return REASONS;
	return how == REMOVAL_DROP ? REASON_NO_CONN : REASON_REJECTED;
}

/* No real server can take it. ip_vs_leave(): of a firewall mark, with cache_bypass, it may go to where it wants. */
static __always_inline __u32 no_server(__u32 service)
{
	struct service *s = settings.tuning & CACHE_BYPASS ? service_at(service) : 0;
	return s && s->mark ? REASON_CACHE_BYPASS : REASON_NO_SERVER;
}

/* Which destination a packet of a service goes to. REASON_FORWARDED, or why to none. */
static __always_inline __u32 select_dest(struct packet *p, __u32 service, __u32 *dest)
{
	struct lookup_result f = {};
	__u32 now = (__u32)bpf_jiffies64(), number;
	__u64 key1 = conn_key1(p->sport, p->dport, p->protocol, KIND_CONN);
	struct scratch *scratch = 0;
	if (p->family == 4) {
		number = conn_find4(conn_key0(p->saddr[0], p->daddr[0]), key1, now, &f);
	} else {
		scratch = scratch_get();
		if (!scratch)
			return REASON_NO_SERVER;
		key_make(&scratch->flow_key, p->saddr, p->daddr, 1, key1);
		number = conn_find6(&scratch->flow_key, now, &f);
	}
	struct conn *e = number ? conn_at(number - 1) : 0;
	if (e && may_reuse(p, e)) {
		conn_end(p, number);
		number = scratch ? conn_find6(&scratch->flow_key, now, &f)
			      : conn_find4(conn_key0(p->saddr[0], p->daddr[0]), key1, now, &f);
		e = number ? conn_at(number - 1) : 0;
	}
	if (e) {
		*dest = e->dest;
		struct dest *d = dest_at(*dest);
		__u32 what = REASON_FORWARDED;
		if (!d || !(READ_ONCE(d->flags) & DEST_AVAILABLE))
			what = dest_unavailable(p, service, number, *dest, now);
		if (what == REASONS) {
			number = scratch ? conn_find6(&scratch->flow_key, now, &f)
				      : conn_find4(conn_key0(p->saddr[0], p->daddr[0]), key1, now, &f);
			e = number ? conn_at(number - 1) : 0;
		} else if (what != REASON_FORWARDED) {
			return what;
		} else if (d) {
			conn_touch(e, d, p, FROM_CLIENT, now);
		}
	}
	if (!e) {
		if (settings.tuning & STANDBY)
			return REASON_STANDBY;
		if (may_create(p))
			*dest = conn_create(service, p, &f);
		else if (p->protocol != IPPROTO_UDP)
			*dest = stateless_dest(service, p, f.slot); /* it may be a flow that found no room */
		else
			return REASON_NO_CONN;
		if (*dest == NO_DEST)
			return f.slot && !may_create(p) ? REASON_NO_CONN : no_server(service);
	}
	if (p->fragment == FIRST_FRAGMENT)
		fragment_insert(p, *dest, FROM_CLIENT, 0);
	count_in(service, *dest, p->bytes);
	return REASON_FORWARDED;
}

/* Away to a destination, by its method. The reason, and the device. */
static __always_inline __u32 forward(void *ctx, int tc, struct packet *p, __u32 dest, __u32 *ifindex)
{
	struct dest *d = dest_at(dest);
	struct next_hop hop;
	if (!d)
		return REASON_DEST_UNAVAILABLE;
	if (!next_hop_get(d, &hop))
		return READ_ONCE(d->hop) == HOP_LOCAL ? REASON_LOCAL : REASON_NO_NEXT_HOP;
	*ifindex = hop.ifindex;
	if (exceeds_mtu(ctx, tc, p, d->mtu))
		return REASON_TOO_BIG;
	switch (d->method) {
	case FORWARD_DR:
		return forward_dr(ctx, tc, p, &hop);
	case FORWARD_NAT:
		return forward_nat(ctx, tc, p, d, &hop);
	case FORWARD_TUN:
		if (!tc && is_ipip4(d) && p->family == 4)
			return forward_ipip4(ctx, p->bytes, d, &hop);
		if (!tc && is_ip6ip6(d) && p->family == 6)
			return forward_ip6ip6(ctx, p->bytes, d, &hop);
		return forward_tun(ctx, tc, p, dest, d, &hop);
	default:
		return REASON_NO_NEXT_HOP;
	}
}

/* Translates an answer back and addresses it to its client's way. `whose` it is stands in the scratch memory. */
static __always_inline __u32 forward_reply(void *ctx, int tc, __u32 ifindex, struct packet *p, struct packet *q, __u32 *out)
{
	struct scratch *scratch = scratch_get();
	struct next_hop hop = {};
	if (!scratch)
		return REASON_NO_ROUTE;
	struct reply *a = &scratch->reply.info;
	int unknown = reply_route(ctx, ifindex, p, a, &hop);
	if (!hop.ifindex)
		return REASON_NO_ROUTE;
	if (!q && exceeds_mtu(ctx, tc, p, a->mtu))
		return REASON_TOO_BIG;
	/* what the kernel sends under XDP it forwards, and so lets it age itself */
	__u32 reason = unknown && !tc ? REASON_FORWARDED : ttl_decrement(ctx, tc, p->family == 6);
	if (reason != REASON_FORWARDED)
		return reason;
	if (q ? translate_error(ctx, tc, p, q, &a->to) : translate(ctx, tc, p, &a->to))
		return REASON_NO_HEADROOM;
	if (!unknown && eth_set_next_hop(ctx, tc, &hop) != REASON_FORWARDED)
		return REASON_NO_HEADROOM;
	/* a neighbour that is not known yet is asked for by the kernel, which keeps the packet meanwhile */
	*out = hop.ifindex;
	return unknown ? REASON_ASK : REASON_REPLIED;
}

/* A packet that is for no service: an answer of a real server behind NAT, if it is one. */
static __always_inline __u32 handle_reply(void *ctx, int tc, __u32 ifindex, struct packet *p, __u32 *out)
{
	struct scratch *scratch = scratch_get();
	if (!scratch)
		return REASON_NOT_OURS;
	if (!is_reply(p))
		return settings.tuning & NAT_ICMP_SEND && is_unexpected_reply(p) ? REASON_UNEXPECTED_REPLY : REASON_NOT_OURS;
	struct reply *a = &scratch->reply.info;
	reply_touch(a, p);
	if (p->fragment == FIRST_FRAGMENT)
		fragment_insert(p, a->dest, FROM_SERVER, a->entry);
	return forward_reply(ctx, tc, ifindex, p, 0, out);
}

/* A later piece of a packet: where its first one went. */
static __always_inline __u32 forward_fragment(void *ctx, int tc, __u32 ifindex, struct packet *p, __u32 *out)
{
	struct scratch *scratch = scratch_get();
	__u32 number = fragment_lookup(p);
	struct conn *e = number ? conn_at(number - 1) : 0;
	struct dest *d = e ? dest_at(READ_ONCE(e->dest)) : 0;
	struct service *s = d ? service_at(d->service) : 0;
	if (!scratch || !s)
		return REASON_FRAGMENT;
	if (CONN_STATE(READ_ONCE(e->status)) == FROM_CLIENT) {
		count_in(d->service, e->dest, p->bytes);
		return forward(ctx, tc, p, e->dest, out);
	}
	struct reply *a = &scratch->reply.info;
	__builtin_memset(a, 0, sizeof(*a));
	if (s->mark)
		conn_vip(READ_ONCE(e->control), a->to.addr);
	else
		__builtin_memcpy(a->to.addr, s->addr, 16);
	a->to.source = 1;
	count_out(d->service, e->dest, p->bytes);
	return forward_reply(ctx, tc, ifindex, p, 0, out);
}

/* An ICMP error about a packet of a connection, from either side; anything else of ICMP is the kernel's. */
static __always_inline __u32 forward_icmp(void *ctx, int tc, __u32 ifindex, struct packet *p, __u32 *out)
{
	struct scratch *scratch = scratch_get();
	if (!scratch)
		return REASON_NOT_OURS;
	pull_headers(ctx, tc, TC_QUOTED);
	struct packet *q = &scratch->quoted;
	__builtin_memset(q, 0, sizeof(*q));
	if (parse_quoted(ctx_data(ctx, tc), ctx_data_end(ctx, tc), p, q))
		return REASON_NOT_OURS;
	__u32 dest = icmp_quoted_dest(q);
	if (dest == NO_DEST && (settings.tuning & SCHEDULE_ICMP))
		dest = scratch->icmp_dest;
	struct dest *d = dest == NO_DEST ? 0 : dest_at(dest);
	struct next_hop hop;
	if (d) {
		count_in(d->service, dest, p->bytes);
		if (d->method != FORWARD_NAT)
			return forward(ctx, tc, p, dest, out);
		if (!next_hop_get(d, &hop))
			return REASON_NO_NEXT_HOP;
		struct translation t = { .port = nat_port(d, q->sport) };
		__builtin_memcpy(t.addr, d->addr, 16);
		*out = hop.ifindex;
		__u32 reason = ttl_decrement(ctx, tc, p->family == 6);
		if (reason != REASON_FORWARDED)
			return reason;
		return translate_error(ctx, tc, p, q, &t) ? REASON_NO_HEADROOM : eth_set_next_hop(ctx, tc, &hop);
	}
	if (!settings.has_nat)
		return REASON_NOT_OURS;
	/* about a packet to a real server: as if that server had sent it */
	packet_reverse(q);
	if (!is_reply(q))
		return REASON_NOT_OURS;
	count_out(scratch->reply.info.service, scratch->reply.info.dest, p->bytes);
	return forward_reply(ctx, tc, ifindex, p, q, out);
}

/*
 * schedule_icmp: an error about a packet of a connection that is not known here, as that of another director may be, goes
 * to whom its client would be sent to (ip_vs_in_icmp()). No entry is made: what comes next from the client may be, by the
 * usual rules. Before icmp(), and not in it, for the stack's sake; the answer stands in the scratch memory.
 */
static __always_inline int icmp_schedule(void *ctx, int tc, struct packet *p)
{
	struct scratch *scratch = scratch_get();
	if (!scratch)
		return 0;
	scratch->icmp_dest = NO_DEST;
	pull_headers(ctx, tc, TC_QUOTED);
	struct packet *q = &scratch->quoted;
	__builtin_memset(q, 0, sizeof(*q));
	if (parse_quoted(ctx_data(ctx, tc), ctx_data_end(ctx, tc), p, q) || icmp_quoted_dest(q) != NO_DEST)
		return 0;
	packet_reverse(q); /* as its client would send it */
	__u32 number = service_find(q, 0);
	if (!number)
		return 0;
	sched_request_init(&scratch->create.request, number - 1, q);
	scratch->icmp_dest = schedule(&scratch->create.request);
	return 0;
}

static __noinline int xdp_icmp_schedule(struct xdp_md *ctx, struct packet *p)
{
	return icmp_schedule(ctx, 0, p);
}

static __noinline int tc_icmp_schedule(struct __sk_buff *skb, struct packet *p)
{
	return icmp_schedule(skb, 1, p);
}

/* Whose sender, a real server, is told. */
static __always_inline int is_server_error(__u32 reason)
{
	return reason == REASON_UNEXPECTED_REPLY || reason == REASON_TOO_BIG;
}

static __always_inline void count_outcome(__u32 reason)
{
	count_reason(reason == REASON_ASK ? REASON_REPLIED : reason);
}

/* As these say what the program does with a frame, see ACTION_BITS. */
static __always_inline __u32 xdp_done(__u32 reason, __u32 out)
{
	if (reason == REASON_NOT_OURS)
		return XDP_PASS;
	count_outcome(reason);
	if (verdict_of(reason) == OUT)
		return xdp_send(out);
	return verdict_of(reason) == AWAY ? XDP_DROP : XDP_PASS;
}

static __noinline __u32 xdp_handle_reply(struct xdp_md *ctx, struct packet *p)
{
	__u32 out = 0, reason = handle_reply(ctx, 0, ingress_device(ctx, p), p, &out);
	if (is_server_error(reason) && !error_build(ctx, 0, p, reason, NO_DEST)) {
		count_reason(reason);
		return xdp_send(0);
	}
	return xdp_done(reason, out);
}

static __noinline __u32 xdp_fragment(struct xdp_md *ctx, struct packet *p)
{
	__u32 out = 0, reason = forward_fragment(ctx, 0, ingress_device(ctx, p), p, &out);
	return xdp_done(reason, out);
}

static __noinline __u32 xdp_icmp(struct xdp_md *ctx, struct packet *p)
{
	__u32 out = 0, reason = forward_icmp(ctx, 0, ingress_device(ctx, p), p, &out);
	return xdp_done(verdict_of(reason) == OUT ? REASON_ICMP : reason, out);
}

/* What does not go to a real server: the sender is told, where IPVS tells him. */
static __noinline __u32 xdp_reject(struct xdp_md *ctx, struct packet *p, __u32 reason, __u32 dest)
{
	if (!error_build(ctx, 0, p, reason, dest))
		return xdp_send(0);
	return verdict_of(reason) == AWAY ? XDP_DROP : XDP_PASS;
}

/* A frame without tags; `dest` is where it goes, if that is known. */
static __always_inline __u32 xdp_slow_path(struct xdp_md *ctx, struct packet *p, __u32 dest)
{
	__u32 number = 0, reason = REASON_FORWARDED, ifindex = 0;
	int rare = p->fragment == LATER_FRAGMENT || is_icmp(p);
	if (dest != NO_DEST)
		goto known;
	if (!rare) {
		number = service_find(p, 0);
		if (!number && !settings.has_nat)
			return XDP_PASS;
	}
	void *data = (void *)(long)ctx->data;
	if (data + sizeof(struct ethhdr) > (void *)(long)ctx->data_end || !is_own_frame(ingress_device(ctx, p), data))
		return XDP_PASS;
	if (p->fragment == LATER_FRAGMENT)
		return xdp_fragment(ctx, p);
	if (rare) {
		if (settings.tuning & SCHEDULE_ICMP)
			xdp_icmp_schedule(ctx, p);
		return xdp_icmp(ctx, p);
	}
	if (!number)
		return xdp_handle_reply(ctx, p);
	reason = select_dest(p, number - 1, &dest);
known:
	if (reason == REASON_FORWARDED)
		reason = forward(ctx, 0, p, dest, &ifindex);
	count_reason(reason);
	return reason == REASON_FORWARDED ? xdp_send(ifindex) : xdp_reject(ctx, p, reason, dest);
}

/* Frames may lie in several buffers (jumbo frames): the headers are in the first one. */
SEC("xdp.frags")
int evenkeel_xdp(struct xdp_md *ctx)
{
	__u32 done = xdp_fast_path(ctx);
	if (done < FORWARD_TO)
		return done;
	__u32 dest = done == SLOW_PATH ? NO_DEST : done - FORWARD_TO;
	struct scratch *scratch = scratch_get();
	if (!scratch)
		return XDP_PASS;
	struct packet *p = &scratch->packet; /* not on the stack, which what is called needs */
	__builtin_memset(p, 0, sizeof(*p));
	if (parse((void *)(long)ctx->data, (void *)(long)ctx->data_end, p)) {
		if (!vlan_pop(ctx))
			return XDP_PASS;
		p->vlan = 1;
		if (parse((void *)(long)ctx->data, (void *)(long)ctx->data_end, p))
			return xdp_leave(ctx, p, XDP_PASS);
	}
	return xdp_leave(ctx, p, xdp_slow_path(ctx, p, dest));
}

static __always_inline int tc_done(struct __sk_buff *skb, __u32 reason, __u32 out)
{
	if (reason == REASON_NOT_OURS)
		return TC_ACT_UNSPEC;
	count_outcome(reason);
	if (reason == REASON_ASK)
		return bpf_redirect_neigh(out, 0, 0, 0);
	if (verdict_of(reason) == OUT)
		return bpf_redirect(out & ~EK_HOP_VLAN, 0);
	return verdict_of(reason) == AWAY ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

static __noinline int tc_handle_reply(struct __sk_buff *skb, struct packet *p)
{
	__u32 out = 0, reason = handle_reply(skb, 1, skb->ifindex, p, &out);
	if (is_server_error(reason) && !error_build(skb, 1, p, reason, NO_DEST)) {
		count_reason(reason);
		return bpf_redirect(skb->ifindex, 0);
	}
	return tc_done(skb, reason, out);
}

static __noinline int tc_fragment(struct __sk_buff *skb, struct packet *p)
{
	__u32 out = 0, reason = forward_fragment(skb, 1, skb->ifindex, p, &out);
	return tc_done(skb, reason, out);
}

static __noinline int tc_icmp(struct __sk_buff *skb, struct packet *p)
{
	__u32 out = 0, reason = forward_icmp(skb, 1, skb->ifindex, p, &out);
	return tc_done(skb, verdict_of(reason) == OUT ? REASON_ICMP : reason, out);
}

static __noinline int tc_reject(struct __sk_buff *skb, struct packet *p, __u32 reason, __u32 dest)
{
	if (!error_build(skb, 1, p, reason, dest))
		return bpf_redirect(skb->ifindex, 0);
	return verdict_of(reason) == AWAY ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

SEC("tc")
int evenkeel_tc(struct __sk_buff *skb)
{
	__u32 dest = NO_DEST, ifindex = 0, number, reason = REASON_FORWARDED;
	if ((skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6)) ||
	    skb->pkt_type != 0 /* PACKET_HOST */ || skb->vlan_present /* its VLAN's device will have it */)
		return TC_ACT_UNSPEC;
	__u32 done = tc_fast_path(skb);
	if (done < FORWARD_TO)
		return done;
	struct scratch *scratch = scratch_get();
	if (!scratch)
		return TC_ACT_UNSPEC;
	struct packet *p = &scratch->packet; /* see evenkeel_xdp() */
	__builtin_memset(p, 0, sizeof(*p));
	pull_headers(skb, 1, TC_HEADERS);
	if (parse((void *)(long)skb->data, (void *)(long)skb->data_end, p))
		return TC_ACT_UNSPEC;
	p->bytes = skb->len - ETH_SIZE; /* a large segment's length may be 0 */
	if (done != SLOW_PATH) {
		dest = done - FORWARD_TO;
		goto known;
	}
	if (p->fragment == LATER_FRAGMENT)
		return tc_fragment(skb, p);
	if (is_icmp(p)) {
		if (settings.tuning & SCHEDULE_ICMP)
			tc_icmp_schedule(skb, p);
		return tc_icmp(skb, p);
	}
	number = service_find(p, skb->mark);
	if (!number)
		return settings.has_nat ? tc_handle_reply(skb, p) : TC_ACT_UNSPEC;
	reason = select_dest(p, number - 1, &dest);
known:
	if (reason == REASON_FORWARDED)
		reason = forward(skb, 1, p, dest, &ifindex);
	count_reason(reason);
	if (reason == REASON_FORWARDED)
		return bpf_redirect(ifindex & ~EK_HOP_VLAN, 0);
	return tc_reject(skb, p, reason, dest);
}

char _license[] SEC("license") = "Dual MIT/GPL";
