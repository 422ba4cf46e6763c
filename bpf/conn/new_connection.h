/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* New connections: by the client's template, or by the service's scheduler (ip_vs_schedule()). */
#ifndef EVENKEEL_NEW_CONNECTION_H
#define EVENKEEL_NEW_CONNECTION_H

/* is_new_conn(): does the packet ask for a new connection? */
static __always_inline int is_new_conn(struct packet *p)
{
	return p->protocol == IPPROTO_TCP ? p->event & SYN : p->protocol == IPPROTO_SCTP && p->event == SCTP_EV_INIT;
}

/*
 * May the packet create a connection? As tcp_conn_schedule(), udp_conn_schedule(), sctp_conn_schedule(). Source port 20
 * (FTP data) never does.
 */
static __always_inline int may_create(struct packet *p)
{
	if (p->sport == bpf_htons(20) || p->ipsec)
		return 0;
	if (p->protocol == IPPROTO_TCP)
		return ((p->event & SYN) || (settings.tuning & SLOPPY_TCP)) && !(p->event & RST);
	if (p->protocol == IPPROTO_SCTP)
		return p->event == SCTP_EV_INIT || ((settings.tuning & SLOPPY_SCTP) && p->event != SCTP_ABORT);
	return 1;
}

/*
 * Chooses a server for a packet without a connection, and inserts the connection into the slot that `r` has. Returns
 * the destination; without a free slot the packet is forwarded without an entry.
 */
__noinline __u32 conn_create(__u32 service, struct packet *p, struct lookup_result *r)
{
	struct scratch *scratch = scratch_get(); /* first: the other order takes 32 bytes more of the stack */
	struct service *s = service_at(service);
	if (!s || !p || !r || !scratch)
		return NO_DEST;
	__u32 flags = s->flags, one_packet = (flags & SERVICE_ONE_PACKET) && p->protocol == IPPROTO_UDP;
	conn_handle template = flags & SERVICE_PERSISTENT ? template_lookup(service, p) : 0;
	__u32 dest = NO_DEST;
	/* without an entry, later packets cannot know the choice of a scheduler that does not hash */
	__u32 is_stateless = !r->slot && !one_packet && !(flags & SERVICE_PERSISTENT) && needs_entries(s->scheduler);
	if (is_stateless) {
		dest = stateless_dest(service, p, 0);
	} else if (!template) {
		struct sched_request *request = &scratch->create.request;
		sched_request_init(request, service, p);
		dest = schedule(request);
	}
	if (dest == NO_DEST && !template)
		return NO_DEST;
	if (!template && (flags & SERVICE_PERSISTENT))
		template = template_insert(service, dest);
	if (template) {
		__u32 by_template = template_add_conn(s, template, (__u32)bpf_jiffies64());
		dest = by_template == NO_DEST ? dest : by_template;
	}
	struct dest *d = dest_at(dest);
	if (!d)
		return NO_DEST;
	count_connection(service, dest);
	if (p->protocol != IPPROTO_UDP)
		__sync_fetch_and_add(&d->created, 1);
	if (one_packet) { /* one-packet scheduling keeps no entry (IP_VS_CONN_F_ONE_PACKET) */
		template_remove_conn(template);
		return dest;
	}
	__u32 no_output = d->method == FORWARD_NAT ? 0 : CONN_NO_OUTPUT;
	/* here, because what is used after the insertion takes stack in the deepest chain of calls */
	__u32 needs_tuple = !no_output && has_reply_tuples(s, d);
	struct state_transition t = state_transition(no_output ? CLIENT_ONLY : FROM_CLIENT, TCP_NONE, p);
	struct new_conn *n = &scratch->create.conn;
	n->dest = dest;
	n->status = CONN_STATUS(t.state, no_output | (t.active ? 0 : CONN_INACTIVE), 0);
	n->control = template;
	n->timeout = t.timeout;
	key_make(&n->key, p->saddr, p->daddr, p->family == 6, conn_key1(p->sport, p->dport, p->protocol, KIND_CONN));
	conn_handle conn = conn_insert_retry(r, n);
	if (conn) {
		struct conn *e = conn_at(conn - 1);
		__u32 to = e ? e->dest : NO_DEST; /* ours, or that of a CPU that was first */
		if (needs_tuple && to == dest)
			reply_tuple_insert(p, dest, conn);
		return to;
	}
	template_remove_conn(template);
	/* forwarding without an entry does not follow the scheduler's choice */
	if (!is_stateless)
		dest = stateless_dest(service, p, 0);
	conn_insert_evicting(service, dest, p, r);
	return dest;
}

#endif
