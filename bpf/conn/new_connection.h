/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* How a connection begins: by its template, or by its service's scheduler. */
#ifndef EVENKEEL_NEW_CONNECTION_H
#define EVENKEEL_NEW_CONNECTION_H

/*
 * May this packet begin a connection? As tcp_conn_schedule(), udp_conn_schedule(), sctp_conn_schedule(); source port 20
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
 * A packet that no entry is for: choose a server, make the entry at the place that `f` knows, or do without one. Returns the
 * destination.
 */
__noinline __u32 conn_create(__u32 service, struct packet *p, struct lookup_result *f)
{
	struct service *s = service_at(service);
	struct scratch *scratch = scratch_get();
	if (!s || !p || !f || !scratch)
		return NO_DEST;
	__u32 flags = s->flags, once = (flags & SERVICE_ONE_PACKET) && p->protocol == IPPROTO_UDP;
	__u32 template = flags & SERVICE_PERSISTENT ? template_lookup(service, p) : 0, dest = NO_DEST;
	/* without an entry nobody will know whom a scheduler has chosen */
	__u32 crowded = !f->slot && !once && !(flags & SERVICE_PERSISTENT) && !is_hash_scheduler(s) && s->scheduler != SCHED_NONE;
	if (crowded) {
		dest = stateless_dest(service, p, 0);
	} else if (!template) {
		struct sched_request *k = &scratch->create.request;
		sched_request_init(k, service, p);
		dest = schedule(k);
	}
	if (dest == NO_DEST && !template)
		return NO_DEST;
	if (!template && (flags & SERVICE_PERSISTENT))
		template = template_insert(service, dest);
	if (template) {
		__u32 by = template_add_conn(s, template, (__u32)bpf_jiffies64());
		dest = by == NO_DEST ? dest : by;
	}
	struct dest *d = dest_at(dest);
	if (!d)
		return NO_DEST;
	count_connection(service, dest);
	if (once) { /* one-packet scheduling keeps no entry (IP_VS_CONN_F_ONE_PACKET) */
		template_remove_conn(template);
		return dest;
	}
	__u32 one_way = d->method == FORWARD_NAT ? 0 : CONN_NO_OUTPUT;
	struct state_transition o = state_transition(one_way ? CLIENT_ONLY : FROM_CLIENT, TCP_NONE, p);
	struct new_conn *n = &scratch->create.conn;
	n->dest = dest;
	n->status = CONN_STATUS(o.state, one_way | (o.active ? 0 : CONN_INACTIVE), 0);
	n->control = template;
	n->timeout = o.timeout;
	key_make(&n->key, p->saddr, p->daddr, p->family == 6,
		 conn_key1(p->sport, p->dport, p->protocol, KIND_CONN));
	__u32 number = conn_insert_retry(f, n);
	if (number) {
		struct conn *e = conn_at(number - 1);
		__u32 to = e ? e->dest : NO_DEST; /* ours, or the one of a CPU that was first */
		if (s->mark && !one_way && to == dest)
			reply_tuple_insert(p, dest, number);
		return to;
	}
	template_remove_conn(template);
	/* what it goes by without an entry is another thing than what was chosen */
	if (!crowded)
		dest = stateless_dest(service, p, 0);
	conn_evict_insert(service, dest, p, f);
	return dest;
}

#endif
