/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* How a connection begins: by its template, or by its service's scheduler. */
#ifndef EVENKEEL_BEGIN_H
#define EVENKEEL_BEGIN_H

/*
 * May this packet begin a connection? As tcp_conn_schedule(), udp_conn_schedule(), sctp_conn_schedule(); source port 20
 * (FTP data) never does.
 */
static __always_inline int may_begin(struct packet *p)
{
	if (p->client_port == bpf_htons(20) || p->related)
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
__noinline __u32 begin(__u32 service, struct packet *p, struct found *f)
{
	struct service *s = service_at(service);
	struct scratch *mine = scratch_get();
	if (!s || !p || !f || !mine)
		return NO_DEST;
	__u32 flags = s->flags, once = (flags & SERVICE_ONE_PACKET) && p->protocol == IPPROTO_UDP;
	__u32 template = flags & SERVICE_PERSISTENT ? template_find(service, p) : 0, dest = NO_DEST;
	/* without an entry nobody will know whom a scheduler has chosen */
	__u32 crowded = !f->room && !once && !(flags & SERVICE_PERSISTENT) && !hashes(s) && s->scheduler != SCHED_NONE;
	if (crowded) {
		dest = stateless(service, p, 0);
	} else if (!template) {
		struct pick *k = &mine->begin.pick;
		pick_of(k, service, p);
		dest = schedule(k);
	}
	if (dest == NO_DEST && !template)
		return NO_DEST;
	if (!template && (flags & SERVICE_PERSISTENT))
		template = template_make(service, dest);
	if (template) {
		__u32 by = template_join(s, template, (__u32)bpf_jiffies64());
		dest = by == NO_DEST ? dest : by;
	}
	struct dest *d = dest_at(dest);
	if (!d)
		return NO_DEST;
	count_connection(service, dest);
	if (once) { /* one-packet scheduling keeps no entry (IP_VS_CONN_F_ONE_PACKET) */
		template_leave(template);
		return dest;
	}
	__u32 one_way = d->method == FORWARD_NAT ? 0 : CONN_NO_OUTPUT;
	struct outlook o = outlook(one_way ? CLIENT_ONLY : FROM_CLIENT, TCP_NONE, p);
	struct fresh *n = &mine->begin.fresh;
	n->dest = dest;
	n->life = CONN_STATUS(o.state, one_way | (o.active ? 0 : CONN_INACTIVE), 0);
	n->control = template;
	n->timeout = o.timeout;
	key_make(&n->key, p->client, p->vip, p->family == 6,
		 conn_key1(p->client_port, p->vport, p->protocol, KIND_CONN));
	__u32 number = conn_place(f, n);
	if (number) {
		struct conn *e = conn_at(number - 1);
		__u32 to = e ? e->dest : NO_DEST; /* ours, or the one of a CPU that was first */
		if (s->mark && !one_way && to == dest)
			note_answers(p, dest, number);
		return to;
	}
	template_leave(template);
	/* what it goes by without an entry is another thing than what was chosen */
	if (!crowded)
		dest = stateless(service, p, 0);
	crowd_in(service, dest, p, f);
	return dest;
}

#endif
