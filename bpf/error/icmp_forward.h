/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The stage that forwards ICMP errors: to the side that sent the packet that the error quotes (ip_vs_in_icmp(),
 * ip_vs_out_icmp(), ip_vs_nat_icmp()).
 */
#ifndef EVENKEEL_ICMP_FORWARD_H
#define EVENKEEL_ICMP_FORWARD_H

/* tc: the linear bytes of an ICMP error that quotes a packet with options or extension headers. */
#define TC_QUOTED (ETH_SIZE + 60 + 8 + 40 + 4 * 8 + 4)

/* An error about a reply: forwards it to the real server that sent the reply. */
static __always_inline __u32 icmp_to_dest(void *ctx, int tc, struct packet *p, struct packet *quoted, __u32 dest,
					  struct dest *d, __u32 *out)
{
	struct next_hop hop;
	count_in(d->service, dest, p->bytes);
	if (d->method != FORWARD_NAT)
		return forward(ctx, tc, p, dest, out);
	if (!next_hop_get(d, &hop))
		return VERDICT_DROP | REASON_NO_NEXT_HOP;
	struct translation t = { .port = nat_port(d, quoted->sport) };
	__builtin_memcpy(t.addr, d->addr, 16);
	*out = hop.ifindex;
	__u32 outcome = ttl_decrement(ctx, tc, p->family == 6);
	if (outcome != VERDICT_CONTINUE)
		return outcome;
	if (icmp_translate(ctx, tc, p, quoted, &t))
		return VERDICT_DROP | REASON_NO_HEADROOM;
	outcome = eth_set_next_hop(ctx, tc, &hop);
	return outcome == VERDICT_CONTINUE ? OUTCOME_FORWARDED : outcome;
}

/* An ICMP error about a packet of a connection, from either side. All other ICMP packets are the kernel's. */
static __always_inline __u32 forward_icmp(void *ctx, int tc, __u32 ifindex, struct packet *p, __u32 *out)
{
	struct scratch *scratch = scratch_get();
	if (!scratch)
		return OUTCOME_NOT_OURS;
	pull_headers(ctx, tc, TC_QUOTED);
	struct packet *quoted = &scratch->quoted;
	__builtin_memset(quoted, 0, sizeof(*quoted));
	if (parse_quoted(ctx_data(ctx, tc), ctx_data_end(ctx, tc), p, quoted))
		return OUTCOME_NOT_OURS;
	__u32 dest = icmp_quoted_dest(quoted);
	if (dest == NO_DEST && (settings.tuning & SCHEDULE_ICMP))
		dest = scratch->icmp_dest;
	struct dest *d = dest == NO_DEST ? 0 : dest_at(dest);
	if (d && !is_served(d->service))
		return OUTCOME_NOT_OURS;
	__u32 check = d ? icmp_check(ctx, tc, p) : VERDICT_CONTINUE;
	if (check != VERDICT_CONTINUE)
		return check;
	if (d)
		return icmp_to_dest(ctx, tc, p, quoted, dest, d, out);
	if (!settings.has_nat)
		return OUTCOME_NOT_OURS;
	/* about a packet to a real server: it belongs to the connection that this server's reply would belong to */
	packet_reverse(quoted);
	if (!is_reply(quoted))
		return OUTCOME_NOT_OURS;
	check = icmp_check(ctx, tc, p);
	if (check != VERDICT_CONTINUE)
		return check;
	count_out(scratch->reply.info.service, scratch->reply.info.dest, p->bytes);
	return forward_reply(ctx, tc, ifindex, p, quoted, out);
}

/*
 * schedule_icmp: an error about a packet of an unknown connection, which may be another director's, goes to the
 * server that the client would be sent to (ip_vs_in_icmp()). No entry is created: the client's next packet may create
 * one, by the usual rules. This runs before forward_icmp(), and not in it, to save stack; the result is in
 * scratch->icmp_dest.
 */
static __always_inline int icmp_schedule(void *ctx, int tc, struct packet *p)
{
	struct scratch *scratch = scratch_get();
	if (!scratch)
		return 0;
	scratch->icmp_dest = NO_DEST;
	pull_headers(ctx, tc, TC_QUOTED);
	struct packet *quoted = &scratch->quoted;
	__builtin_memset(quoted, 0, sizeof(*quoted));
	if (parse_quoted(ctx_data(ctx, tc), ctx_data_end(ctx, tc), p, quoted) || icmp_quoted_dest(quoted) != NO_DEST)
		return 0;
	packet_reverse(quoted); /* as the client would send it */
	service_handle service = service_find(quoted, 0);
	if (!service)
		return 0;
	sched_request_init(&scratch->create.request, service - 1, quoted);
	scratch->icmp_dest = schedule(&scratch->create.request);
	return 0;
}

#endif
