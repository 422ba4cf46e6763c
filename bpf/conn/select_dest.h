/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The stage that selects the destination of a client's packet: that of its connection, or the scheduler's choice for
 * a new one. Connection reuse and removed servers are decided here.
 */
#ifndef EVENKEEL_SELECT_DEST_H
#define EVENKEEL_SELECT_DEST_H

/*
 * Connection reuse: may a SYN replace this entry by a new connection? By conn_reuse_mode if the entry is closed and no
 * template controls it (is_new_conn_expected()); with expire_nodest_conn also if its server is quiesced (ip_vs_in()).
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

/* Removes the connection of a client's packet, and its flow cache entry. */
static __always_inline void conn_end(struct packet *p, conn_handle conn)
{
	conn_expire(conn);
	if (p->family == 4)
		flow_cache_delete(p->saddr[0], p->sport);
}

/* The outcome for a packet of a connection whose server was removed, by the service's removal policy. */
__noinline __u32 dest_unavailable(struct packet *p, __u32 service, conn_handle conn, __u32 dest, __u32 now)
{
	struct service *s = service_at(service);
	struct dest *d = dest_at(dest);
	if (!p)
		return VERDICT_DROP | REASON_DEST_UNAVAILABLE;
	__u32 policy = s ? s->removal_policy : REMOVAL_DROP;
	if (policy == REMOVAL_DRAIN && d && !is_past(READ_ONCE(d->removed) + s->drain_timeout, now)) {
		count_reason(REASON_DRAINED);
		return VERDICT_CONTINUE;
	}
	if (policy == REMOVAL_DROP && !(settings.tuning & EXPIRE_NODEST_CONN))
		return VERDICT_DROP | REASON_DEST_UNAVAILABLE;
	conn_end(p, conn);
	if ((policy == REMOVAL_DROP || policy == REMOVAL_RESCHEDULE) && may_create(p))
		return VERDICT_RESCHEDULE;
	return policy == REMOVAL_DROP ? VERDICT_PASS | REASON_NO_CONN : VERDICT_DROP | REASON_REJECTED;
}

/*
 * No server is available. ip_vs_leave(): with cache_bypass, packets with a firewall mark are routed to their
 * destination.
 */
static __always_inline __u32 no_server(__u32 service)
{
	struct service *s = settings.tuning & CACHE_BYPASS ? service_at(service) : 0;
	return s && s->mark ? VERDICT_PASS | REASON_CACHE_BYPASS : VERDICT_DROP | REASON_NO_SERVER;
}

/* An outcome of select_dest() that ends the packet's way, and that no error is sent for. */
static __always_inline int is_unanswered(__u32 outcome)
{
	__u32 reason = outcome_reason(outcome);
	return outcome != VERDICT_CONTINUE && reason != REASON_NO_SERVER && reason != REASON_REJECTED;
}

/* `flow_key` is the packet's key if it is IPv6, else 0. */
static __always_inline conn_handle packet_conn_find(struct packet *p, struct conn_key *flow_key, __u64 key1, __u32 now,
						    struct lookup_result *r)
{
	return flow_key ? conn_find6(flow_key, now, r) : conn_find4(conn_key0(p->saddr[0], p->daddr[0]), key1, now, r);
}

/* Selects the destination of a packet to a service. Any other outcome than VERDICT_CONTINUE: there is none. */
static __always_inline __u32 select_dest(void *ctx, int tc, struct packet *p, __u32 service, __u32 *dest)
{
	struct lookup_result r = {};
	__u32 now = (__u32)bpf_jiffies64();
	__u64 key1 = conn_key1(p->sport, p->dport, p->protocol, KIND_CONN);
	struct conn_key *flow_key = 0;
	if (p->family == 6) {
		struct scratch *scratch = scratch_get();
		if (!scratch)
			return VERDICT_DROP | REASON_NO_SERVER;
		flow_key = &scratch->flow_key;
		key_make(flow_key, p->saddr, p->daddr, 1, key1);
	}
	conn_handle conn = packet_conn_find(p, flow_key, key1, now, &r);
	struct conn *e = conn_get(conn);
	if (!e || is_state_event(p)) {
		__u32 check = packet_check(ctx, tc, p);
		if (check != VERDICT_CONTINUE)
			return check;
	}
	if (e && may_reuse(p, e)) {
		conn_end(p, conn);
		conn = packet_conn_find(p, flow_key, key1, now, &r);
		e = conn_get(conn);
	}
	if (e) {
		*dest = e->dest;
		struct dest *d = dest_at(*dest);
		__u32 outcome = VERDICT_CONTINUE;
		if (!d || !(READ_ONCE(d->flags) & DEST_AVAILABLE))
			outcome = dest_unavailable(p, service, conn, *dest, now);
		if (outcome == VERDICT_RESCHEDULE) {
			conn = packet_conn_find(p, flow_key, key1, now, &r);
			e = conn_get(conn);
		} else if (outcome != VERDICT_CONTINUE) {
			return outcome;
		} else if (d) {
			conn_touch(e, d, p, FROM_CLIENT, now);
		}
	}
	if (!e) {
		if (settings.tuning & STANDBY)
			return VERDICT_PASS | REASON_STANDBY;
		if (!is_single_host(p))
			return VERDICT_DROP | REASON_MARTIAN;
		if (may_create(p))
			*dest = conn_create(service, p, &r);
		else if (p->protocol != IPPROTO_UDP)
			*dest = stateless_dest(service, p, r.slot); /* it may be a flow that got no entry */
		else
			return VERDICT_PASS | REASON_NO_CONN;
		if (*dest == NO_DEST)
			return r.slot && !may_create(p) ? VERDICT_PASS | REASON_NO_CONN : no_server(service);
	}
	if (p->fragment == FIRST_FRAGMENT)
		fragment_insert(p, *dest, FROM_CLIENT, 0);
	count_in(service, *dest, p->bytes);
	return VERDICT_CONTINUE;
}

#endif
