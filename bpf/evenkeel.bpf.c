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
#include "count.h"
#include "parse.h"
#include "mark.h"
#include "service.h"
#include "table.h"
#include "recent.h"
#include "state.h"
#include "connection.h"
#include "insert.h"
#include "hash.h"
#include "scratch.h"
#include "note.h"
#include "schedule.h"
#include "locality.h"
#include "template.h"
#include "crowded.h"
#include "begin.h"
#include "forward.h"
#include "nat.h"
#include "tunnel.h"
#include "vlan.h"
#include "reply.h"
#include "straight.h"
#include "fragment.h"
#include "icmp.h"
#include "sweep.h"
#include "adopt.h"

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
static __always_inline int is_beginning(struct packet *p)
{
	return p->protocol == IPPROTO_TCP ? p->event & SYN : p->protocol == IPPROTO_SCTP && p->event == SCTP_EV_INIT;
}

/*
 * ip_vs_in() lets a SYN start anew on an entry that has run its course, by conn_reuse_mode, unless a template holds it
 * (is_new_conn_expected()); with expire_nodest_conn also on one whose server is quiesced.
 */
static __always_inline int starts_anew(struct packet *p, struct conn *e)
{
	__u32 life = READ(e->life), state = CONN_STATE(life), mode = settings.conn_reuse_mode;
	if (!is_beginning(p))
		return 0;
	if (settings.tuning & EXPIRE_NODEST_CONN) {
		struct dest *d = dest_at(e->dest);
		if (d && READ(d->weight) == 0)
			return 1;
	}
	if (!mode || e->control)
		return 0;
	if (p->protocol == IPPROTO_TCP)
		return state == TCP_TIME_WAIT || state == TCP_CLOSE ||
		       ((mode & 2) && state == TCP_FIN_WAIT && (CONN_FLAGS(life) & CONN_NO_OUTPUT));
	return state == SCTP_CLOSED;
}

/* Ends the connection of a client's packet. */
static __always_inline void end_flow(struct packet *p, __u32 number)
{
	conn_expire(number);
	if (p->family == 4)
		recent_drop(p->client[0], p->client_port);
}

/* What to do with a packet of a connection whose server was removed. REASON_FORWARDED: go on; REASONS: begin anew. */
__noinline __u32 orphan(struct packet *p, __u32 service, __u32 number, __u32 dest, __u32 now)
{
	struct service *s = service_at(service);
	struct dest *d = dest_at(dest);
	if (!p)
		return REASON_DEST_UNAVAILABLE;
	__u32 how = s ? s->on_removal : REMOVAL_DROP;
	if (how == REMOVAL_DRAIN && d && !passed(READ(d->removed) + s->drain_timeout, now)) {
		count_reason(REASON_DRAINED);
		return REASON_FORWARDED;
	}
	if (how == REMOVAL_DROP && !(settings.tuning & EXPIRE_NODEST_CONN))
		return REASON_DEST_UNAVAILABLE;
	end_flow(p, number);
	if ((how == REMOVAL_DROP || how == REMOVAL_RESCHEDULE) && may_begin(p))
		return REASONS;
	return how == REMOVAL_DROP ? REASON_NO_CONN : REASON_REJECTED;
}

/* No real server can take it. ip_vs_leave(): of a firewall mark, with cache_bypass, it may go to where it wants. */
static __always_inline __u32 nobody(__u32 service)
{
	struct service *s = settings.tuning & CACHE_BYPASS ? service_at(service) : 0;
	return s && s->mark ? REASON_CACHE_BYPASS : REASON_NO_SERVER;
}

/* Which destination a packet of a service goes to. REASON_FORWARDED, or why to none. */
static __always_inline __u32 balance(struct packet *p, __u32 service, __u32 *dest)
{
	struct found f = {};
	__u32 now = (__u32)bpf_jiffies64(), number;
	__u64 key1 = conn_key1(p->client_port, p->vport, p->protocol, KIND_CONN);
	struct scratch *mine = 0;
	if (p->family == 4) {
		number = conn_find4(conn_key0(p->client[0], p->vip[0]), key1, now, &f);
	} else {
		mine = scratch_get();
		if (!mine)
			return REASON_NO_SERVER;
		key_make(&mine->flow, p->client, p->vip, 1, key1);
		number = conn_find6(&mine->flow, now, &f);
	}
	struct conn *e = number ? conn_at(number - 1) : 0;
	if (e && starts_anew(p, e)) {
		end_flow(p, number);
		number = mine ? conn_find6(&mine->flow, now, &f)
			      : conn_find4(conn_key0(p->client[0], p->vip[0]), key1, now, &f);
		e = number ? conn_at(number - 1) : 0;
	}
	if (e) {
		*dest = e->dest;
		struct dest *d = dest_at(*dest);
		__u32 what = REASON_FORWARDED;
		if (!d || !(READ(d->flags) & DEST_AVAILABLE))
			what = orphan(p, service, number, *dest, now);
		if (what == REASONS) {
			number = mine ? conn_find6(&mine->flow, now, &f)
				      : conn_find4(conn_key0(p->client[0], p->vip[0]), key1, now, &f);
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
		if (may_begin(p))
			*dest = begin(service, p, &f);
		else if (p->protocol != IPPROTO_UDP)
			*dest = stateless(service, p, f.room); /* it may be a flow that found no room */
		else
			return REASON_NO_CONN;
		if (*dest == NO_DEST)
			return f.room && !may_begin(p) ? REASON_NO_CONN : nobody(service);
	}
	if (p->piece == FIRST_PIECE)
		fragment_note(p, *dest, FROM_CLIENT, 0);
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
	if (!hop_of(d, &hop))
		return READ(d->hop) == HOP_LOCAL ? REASON_LOCAL : REASON_NO_NEXT_HOP;
	*ifindex = hop.ifindex;
	if (too_big(ctx, tc, p, d->mtu))
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
static __always_inline __u32 answer(void *ctx, int tc, __u32 ifindex, struct packet *p, struct packet *q, __u32 *out)
{
	struct scratch *mine = scratch_get();
	struct next_hop hop = {};
	if (!mine)
		return REASON_NO_ROUTE;
	struct answer *a = &mine->answer.whose;
	int unknown = way_back(ctx, ifindex, p, a, &hop);
	if (!hop.ifindex)
		return REASON_NO_ROUTE;
	if (!q && too_big(ctx, tc, p, a->mtu))
		return REASON_TOO_BIG;
	/* what the kernel sends under XDP it forwards, and so lets it age itself */
	__u32 reason = unknown && !tc ? REASON_FORWARDED : age(ctx, tc, p->family == 6);
	if (reason != REASON_FORWARDED)
		return reason;
	if (q ? translate_error(ctx, tc, p, q, &a->to) : translate(ctx, tc, p, &a->to))
		return REASON_NO_HEADROOM;
	if (!unknown && address_frame(ctx, tc, &hop) != REASON_FORWARDED)
		return REASON_NO_HEADROOM;
	/* a neighbour that is not known yet is asked for by the kernel, which keeps the packet meanwhile */
	*out = hop.ifindex;
	return unknown ? REASON_ASK : REASON_REPLIED;
}

/* A packet that is for no service: an answer of a real server behind NAT, if it is one. */
static __always_inline __u32 answered(void *ctx, int tc, __u32 ifindex, struct packet *p, __u32 *out)
{
	struct scratch *mine = scratch_get();
	if (!mine)
		return REASON_NOT_OURS;
	if (!is_answer(p))
		return settings.tuning & NAT_ICMP_SEND && unasked(p) ? REASON_UNEXPECTED_REPLY : REASON_NOT_OURS;
	struct answer *a = &mine->answer.whose;
	answer_touch(a, p);
	if (p->piece == FIRST_PIECE)
		fragment_note(p, a->dest, FROM_SERVER, a->entry);
	return answer(ctx, tc, ifindex, p, 0, out);
}

/* A later piece of a packet: where its first one went. */
static __always_inline __u32 fragment(void *ctx, int tc, __u32 ifindex, struct packet *p, __u32 *out)
{
	struct scratch *mine = scratch_get();
	__u32 number = fragment_find(p);
	struct conn *e = number ? conn_at(number - 1) : 0;
	struct dest *d = e ? dest_at(READ(e->dest)) : 0;
	struct service *s = d ? service_at(d->service) : 0;
	if (!mine || !s)
		return REASON_FRAGMENT;
	if (CONN_STATE(READ(e->life)) == FROM_CLIENT) {
		count_in(d->service, e->dest, p->bytes);
		return forward(ctx, tc, p, e->dest, out);
	}
	struct answer *a = &mine->answer.whose;
	__builtin_memset(a, 0, sizeof(*a));
	if (s->mark)
		asked_at(READ(e->control), a->to.addr);
	else
		__builtin_memcpy(a->to.addr, s->addr, 16);
	a->to.source = 1;
	count_out(d->service, e->dest, p->bytes);
	return answer(ctx, tc, ifindex, p, 0, out);
}

/* An ICMP error about a packet of a connection, from either side; anything else of ICMP is the kernel's. */
static __always_inline __u32 icmp(void *ctx, int tc, __u32 ifindex, struct packet *p, __u32 *out)
{
	struct scratch *mine = scratch_get();
	if (!mine)
		return REASON_NOT_OURS;
	pull(ctx, tc, TC_QUOTED);
	struct packet *q = &mine->quoted;
	__builtin_memset(q, 0, sizeof(*q));
	if (quoted_read(data_of(ctx, tc), end_of(ctx, tc), p, q))
		return REASON_NOT_OURS;
	__u32 dest = icmp_dest(q);
	if (dest == NO_DEST && (settings.tuning & SCHEDULE_ICMP))
		dest = mine->expected;
	struct dest *d = dest == NO_DEST ? 0 : dest_at(dest);
	struct next_hop hop;
	if (d) {
		count_in(d->service, dest, p->bytes);
		if (d->method != FORWARD_NAT)
			return forward(ctx, tc, p, dest, out);
		if (!hop_of(d, &hop))
			return REASON_NO_NEXT_HOP;
		struct translation t = { .port = server_port(d, q->client_port) };
		__builtin_memcpy(t.addr, d->addr, 16);
		*out = hop.ifindex;
		__u32 reason = age(ctx, tc, p->family == 6);
		if (reason != REASON_FORWARDED)
			return reason;
		return translate_error(ctx, tc, p, q, &t) ? REASON_NO_HEADROOM : address_frame(ctx, tc, &hop);
	}
	if (!settings.has_nat)
		return REASON_NOT_OURS;
	/* about a packet to a real server: as if that server had sent it */
	turn_round(q);
	if (!is_answer(q))
		return REASON_NOT_OURS;
	count_out(mine->answer.whose.service, mine->answer.whose.dest, p->bytes);
	return answer(ctx, tc, ifindex, p, q, out);
}

/*
 * schedule_icmp: an error about a packet of a connection that is not known here, as that of another director may be, goes
 * to whom its client would be sent to (ip_vs_in_icmp()). No entry is made: what comes next from the client may be, by the
 * usual rules. Before icmp(), and not in it, for the stack's sake; the answer stands in the scratch memory.
 */
static __always_inline int icmp_expect(void *ctx, int tc, struct packet *p)
{
	struct scratch *mine = scratch_get();
	if (!mine)
		return 0;
	mine->expected = NO_DEST;
	pull(ctx, tc, TC_QUOTED);
	struct packet *q = &mine->quoted;
	__builtin_memset(q, 0, sizeof(*q));
	if (quoted_read(data_of(ctx, tc), end_of(ctx, tc), p, q) || icmp_dest(q) != NO_DEST)
		return 0;
	turn_round(q); /* as its client would send it */
	__u32 number = service_find(q, 0);
	if (!number)
		return 0;
	pick_of(&mine->begin.pick, number - 1, q);
	mine->expected = schedule(&mine->begin.pick);
	return 0;
}

static __noinline int xdp_expect(struct xdp_md *ctx, struct packet *p)
{
	return icmp_expect(ctx, 0, p);
}

static __noinline int tc_expect(struct __sk_buff *skb, struct packet *p)
{
	return icmp_expect(skb, 1, p);
}

/* Whose sender, a real server, is told. */
static __always_inline int to_tell(__u32 reason)
{
	return reason == REASON_UNEXPECTED_REPLY || reason == REASON_TOO_BIG;
}

static __always_inline void count_done(__u32 reason)
{
	count_reason(reason == REASON_ASK ? REASON_REPLIED : reason);
}

/* As these say what the program does with a frame, see ACTION_BITS. */
static __always_inline __u32 xdp_done(__u32 reason, __u32 out)
{
	if (reason == REASON_NOT_OURS)
		return XDP_PASS;
	count_done(reason);
	if (verdict_of(reason) == OUT)
		return send_by(out);
	return verdict_of(reason) == AWAY ? XDP_DROP : XDP_PASS;
}

static __noinline __u32 xdp_answered(struct xdp_md *ctx, struct packet *p)
{
	__u32 out = 0, reason = answered(ctx, 0, came_by(ctx, p), p, &out);
	if (to_tell(reason) && !error_for(ctx, 0, p, reason, NO_DEST)) {
		count_reason(reason);
		return send_by(0);
	}
	return xdp_done(reason, out);
}

static __noinline __u32 xdp_fragment(struct xdp_md *ctx, struct packet *p)
{
	__u32 out = 0, reason = fragment(ctx, 0, came_by(ctx, p), p, &out);
	return xdp_done(reason, out);
}

static __noinline __u32 xdp_icmp(struct xdp_md *ctx, struct packet *p)
{
	__u32 out = 0, reason = icmp(ctx, 0, came_by(ctx, p), p, &out);
	return xdp_done(verdict_of(reason) == OUT ? REASON_ICMP : reason, out);
}

/* What does not go to a real server: the sender is told, where IPVS tells him. */
static __noinline __u32 xdp_refuse(struct xdp_md *ctx, struct packet *p, __u32 reason, __u32 dest)
{
	if (!error_for(ctx, 0, p, reason, dest))
		return send_by(0);
	return verdict_of(reason) == AWAY ? XDP_DROP : XDP_PASS;
}

/* A frame without tags; `dest` is where it goes, if that is known. */
static __always_inline __u32 path(struct xdp_md *ctx, struct packet *p, __u32 dest)
{
	__u32 number = 0, reason = REASON_FORWARDED, ifindex = 0;
	int rare = p->piece == LATER_PIECE || is_icmp(p);
	if (dest != NO_DEST)
		goto known;
	if (!rare) {
		number = service_find(p, 0);
		if (!number && !settings.has_nat)
			return XDP_PASS;
	}
	void *data = (void *)(long)ctx->data;
	if (data + sizeof(struct ethhdr) > (void *)(long)ctx->data_end || !device_owns(came_by(ctx, p), data))
		return XDP_PASS;
	if (p->piece == LATER_PIECE)
		return xdp_fragment(ctx, p);
	if (rare) {
		if (settings.tuning & SCHEDULE_ICMP)
			xdp_expect(ctx, p);
		return xdp_icmp(ctx, p);
	}
	if (!number)
		return xdp_answered(ctx, p);
	reason = balance(p, number - 1, &dest);
known:
	if (reason == REASON_FORWARDED)
		reason = forward(ctx, 0, p, dest, &ifindex);
	count_reason(reason);
	return reason == REASON_FORWARDED ? send_by(ifindex) : xdp_refuse(ctx, p, reason, dest);
}

/* Frames may lie in several buffers (jumbo frames): the headers are in the first one. */
SEC("xdp.frags")
int evenkeel_xdp(struct xdp_md *ctx)
{
	__u32 done = xdp_straight(ctx);
	if (done < FORWARD_TO)
		return done;
	__u32 dest = done == LONG_WAY ? NO_DEST : done - FORWARD_TO;
	struct scratch *mine = scratch_get();
	if (!mine)
		return XDP_PASS;
	struct packet *p = &mine->packet; /* not on the stack, which what is called needs */
	__builtin_memset(p, 0, sizeof(*p));
	if (parse((void *)(long)ctx->data, (void *)(long)ctx->data_end, p)) {
		if (!untag(ctx))
			return XDP_PASS;
		p->tagged = 1;
		if (parse((void *)(long)ctx->data, (void *)(long)ctx->data_end, p))
			return leave(ctx, p, XDP_PASS);
	}
	return leave(ctx, p, path(ctx, p, dest));
}

static __always_inline int tc_done(struct __sk_buff *skb, __u32 reason, __u32 out)
{
	if (reason == REASON_NOT_OURS)
		return TC_ACT_UNSPEC;
	count_done(reason);
	if (reason == REASON_ASK)
		return bpf_redirect_neigh(out, 0, 0, 0);
	if (verdict_of(reason) == OUT)
		return bpf_redirect(out & ~EK_HOP_VLAN, 0);
	return verdict_of(reason) == AWAY ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

static __noinline int tc_answered(struct __sk_buff *skb, struct packet *p)
{
	__u32 out = 0, reason = answered(skb, 1, skb->ifindex, p, &out);
	if (to_tell(reason) && !error_for(skb, 1, p, reason, NO_DEST)) {
		count_reason(reason);
		return bpf_redirect(skb->ifindex, 0);
	}
	return tc_done(skb, reason, out);
}

static __noinline int tc_fragment(struct __sk_buff *skb, struct packet *p)
{
	__u32 out = 0, reason = fragment(skb, 1, skb->ifindex, p, &out);
	return tc_done(skb, reason, out);
}

static __noinline int tc_icmp(struct __sk_buff *skb, struct packet *p)
{
	__u32 out = 0, reason = icmp(skb, 1, skb->ifindex, p, &out);
	return tc_done(skb, verdict_of(reason) == OUT ? REASON_ICMP : reason, out);
}

static __noinline int tc_refuse(struct __sk_buff *skb, struct packet *p, __u32 reason, __u32 dest)
{
	if (!error_for(skb, 1, p, reason, dest))
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
	__u32 done = tc_straight(skb);
	if (done < FORWARD_TO)
		return done;
	struct scratch *mine = scratch_get();
	if (!mine)
		return TC_ACT_UNSPEC;
	struct packet *p = &mine->packet; /* see evenkeel_xdp() */
	__builtin_memset(p, 0, sizeof(*p));
	pull(skb, 1, TC_HEADERS);
	if (parse((void *)(long)skb->data, (void *)(long)skb->data_end, p))
		return TC_ACT_UNSPEC;
	p->bytes = skb->len - ETH_SIZE; /* a large segment's length may be 0 */
	if (done != LONG_WAY) {
		dest = done - FORWARD_TO;
		goto known;
	}
	if (p->piece == LATER_PIECE)
		return tc_fragment(skb, p);
	if (is_icmp(p)) {
		if (settings.tuning & SCHEDULE_ICMP)
			tc_expect(skb, p);
		return tc_icmp(skb, p);
	}
	number = service_find(p, skb->mark);
	if (!number)
		return settings.has_nat ? tc_answered(skb, p) : TC_ACT_UNSPEC;
	reason = balance(p, number - 1, &dest);
known:
	if (reason == REASON_FORWARDED)
		reason = forward(skb, 1, p, dest, &ifindex);
	count_reason(reason);
	if (reason == REASON_FORWARDED)
		return bpf_redirect(ifindex & ~EK_HOP_VLAN, 0);
	return tc_refuse(skb, p, reason, dest);
}

char _license[] SEC("license") = "Dual MIT/GPL";
