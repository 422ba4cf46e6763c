// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The packet path: the pipeline of a packet on one page, and the two programs that run it, for XDP and for tc.
 *
 *   frame ─▶ fast path ─▶ out                        forward/fast_path.h: established connections
 *              │ all other packets
 *              ▼
 *            parse ─▶ service lookup                 packet/, service/
 *              │        ├─▶ select destination       conn/select_dest.h: its connection, or sched/ for a new one
 *              │        │     └─▶ forward ─▶ out     forward/forward.h: DR, NAT, tunnels
 *              │        └─▶ handle reply ─▶ out      forward/forward_reply.h: no service; of a NAT server
 *              ├─▶ forward fragment ─▶ out           forward/forward_reply.h, conn/fragment.h
 *              └─▶ forward ICMP error ─▶ out         error/icmp_forward.h
 *
 * A stage returns an outcome (lib/outcome.h): the next stage handles the packet, or the packet is sent, passed to the
 * kernel, or dropped. The sender of a dropped packet may get an ICMP error or a RST (error/reject.h).
 *
 * The stages are written once, for both programs; stages/ has what differs. XDP is for NICs, tc for devices to which
 * sockets or virtual machines send (veth, bridges). All state is in pinned maps (maps.h), so that the programs need no
 * process once they are loaded.
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
#include "lib/common.h"
#include "lib/outcome.h"
#include "lib/counters.h"
#include "lib/hash.h"
#include "lib/csum.h"
#include "lib/frame.h"
#include "packet/parse.h"
#include "packet/source.h"
#include "service/mark.h"
#include "service/service.h"
#include "conn/conn_key.h"
#include "conn/conn_table.h"
#include "conn/flow_cache.h"
#include "conn/state.h"
#include "conn/answered.h"
#include "conn/conn.h"
#include "conn/conn_insert.h"
#include "lib/scratch.h"
#include "packet/vlan.h"
#include "packet/validate.h"
#include "conn/persistence.h"
#include "conn/reply_tuple.h"
#include "conn/fragment.h"
#include "sched/list.h"
#include "sched/walk.h"
#include "sched/scan.h"
#include "sched/hash_table.h"
#include "sched/twos.h"
#include "sched/lblc.h"
#include "sched/schedule.h"
#include "conn/stateless.h"
#include "conn/new_connection.h"
#include "conn/select_dest.h"
#include "forward/mtu.h"
#include "forward/nat.h"
#include "forward/tunnel.h"
#include "forward/forward.h"
#include "forward/reply.h"
#include "forward/reply_route.h"
#include "error/icmp_quoted.h"
#include "forward/forward_reply.h"
#include "forward/fast_lookup.h"
#include "forward/fast_send.h"
#include "forward/fast_reply.h"
#include "forward/fast_path.h"
#include "error/icmp_forward.h"
#include "error/reject.h"
#include "conn/expire.h"
#include "conn/import.h"
#include "stages/xdp.h"
#include "stages/tc.h"

/* tc: the linear bytes of a packet, for the longest usual chain of headers, of IPv6 and TCP. */
#define TC_HEADERS (ETH_SIZE + 40 + 40 + 20)

/* The slow path of a frame without tags. `dest`: the destination, if the fast path has found it. */
static __always_inline __u32 xdp_slow_path(struct xdp_md *ctx, struct packet *p, __u32 dest)
{
	service_handle service = 0;
	__u32 outcome = VERDICT_CONTINUE, ifindex = 0;
	int rare = p->fragment == LATER_FRAGMENT || is_icmp(p);
	if (dest != NO_DEST)
		goto forward;
	if (!rare) {
		service = service_find(p, 0);
		if (!service && !settings.has_nat)
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
	if (!service)
		return xdp_handle_reply(ctx, p);
	outcome = select_dest(ctx, 0, p, service - 1, &dest);
	if (is_unanswered(outcome))
		return xdp_act(outcome, 0);
forward:
	if (outcome == VERDICT_CONTINUE)
		outcome = forward(ctx, 0, p, dest, &ifindex);
	count_outcome(outcome);
	return outcome == OUTCOME_FORWARDED ? xdp_send(ifindex) : xdp_reject(ctx, p, outcome, dest);
}

/* A frame may be in several buffers (jumbo frames); the headers are in the first one. */
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
	struct packet *p = &scratch->packet; /* not on the stack, which the stages need */
	__builtin_memset(p, 0, sizeof(*p));
	if (parse(ctx, 0, p)) {
		if (!vlan_pop(ctx))
			return XDP_PASS;
		p->vlan = 1;
		if (parse(ctx, 0, p))
			return xdp_finish(ctx, p, XDP_PASS);
	}
	return xdp_finish(ctx, p, xdp_slow_path(ctx, p, dest));
}

SEC("tc")
int evenkeel_tc(struct __sk_buff *skb)
{
	__u32 dest = NO_DEST, ifindex = 0, outcome = VERDICT_CONTINUE;
	if ((skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6)) ||
	    skb->pkt_type != 0 /* PACKET_HOST */ || skb->vlan_present /* the VLAN's device will receive it */)
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
	if (parse(skb, 1, p))
		return TC_ACT_UNSPEC;
	p->bytes = ip_length(skb, 1, p->bytes);
	if (done != SLOW_PATH) {
		dest = done - FORWARD_TO;
		goto forward;
	}
	if (p->fragment == LATER_FRAGMENT)
		return tc_fragment(skb, p);
	if (is_icmp(p)) {
		if (settings.tuning & SCHEDULE_ICMP)
			tc_icmp_schedule(skb, p);
		return tc_icmp(skb, p);
	}
	service_handle service = service_find(p, skb->mark);
	if (!service)
		return settings.has_nat ? tc_handle_reply(skb, p) : TC_ACT_UNSPEC;
	outcome = select_dest(skb, 1, p, service - 1, &dest);
	if (is_unanswered(outcome))
		return tc_act(outcome, 0);
forward:
	if (outcome == VERDICT_CONTINUE)
		outcome = forward(skb, 1, p, dest, &ifindex);
	count_outcome(outcome);
	if (outcome == OUTCOME_FORWARDED)
		return bpf_redirect(ifindex & ~EK_HOP_VLAN, 0);
	return tc_reject(skb, p, outcome, dest);
}

char _license[] SEC("license") = "Dual MIT/GPL";
