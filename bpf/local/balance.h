/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The balancing of a local client: the service of an address that a socket connects or sends to, and the real server in
 * its place. IPVS does this at NF_INET_LOCAL_OUT (ip_vs_local_request4()); here the socket itself gets the server's
 * address, so that no packet is translated. The server sees an address of this host as the client.
 */
#ifndef EVENKEEL_LOCAL_BALANCE_H
#define EVENKEEL_LOCAL_BALANCE_H

enum local_verdict {
	LOCAL_PASS,    /* to the address as it is */
	LOCAL_REWRITE, /* to the server */
	LOCAL_REFUSE,  /* no server is available */
};

/* The number of this network namespace (SO_NETNS_COOKIE). A cgroup has the processes of all of them. */
const volatile __u64 netns_cookie SEC(".rodata.netns");

/* The template's destination, or the scheduler's choice; NO_DEST if no server is available. As conn_create(). */
__noinline __u32 local_select(__u32 service, struct packet *p)
{
	struct service *s = service_at(service);
	struct scratch *scratch = scratch_get();
	if (!s || !p || !scratch)
		return NO_DEST;
	__u32 dest = NO_DEST, persistent = s->flags & SERVICE_PERSISTENT;
	struct conn *t = persistent ? conn_get(template_lookup(service, p)) : 0;
	if (!t) {
		struct sched_request *request = &scratch->create.request;
		sched_request_init(request, service, p);
		dest = schedule(request);
		if (dest == NO_DEST)
			return NO_DEST;
		t = persistent ? conn_get(template_insert(service, dest)) : 0;
	}
	if (t) {
		/* the template counts no local connection: none would tell it its end */
		dest = READ_ONCE(t->dest);
		t->expires = (__u32)bpf_jiffies64() + s->persist_timeout;
	}
	if (!dest_at(dest))
		return NO_DEST;
	count_connection(service, dest);
	return dest;
}

/* The flow of an unconnected socket to this service, if its server still has the service; else a new flow. */
static __always_inline struct local_flow *local_flow_find(struct local_socket *socket, struct packet *p, __u32 service)
{
	for (__u32 i = 0; i < SOCKET_FLOWS; i++) {
		struct local_flow *f = &socket->flow[i];
		if (f->family == p->family && f->service == service && f->vport == p->dport &&
		    same_address(f->vip, p->daddr))
			return f;
	}
	return 0;
}

static __always_inline int local_flow_holds(struct local_flow *f, __u32 now)
{
	struct dest *d = dest_at(f->dest);
	return d && (READ_ONCE(d->flags) & DEST_AVAILABLE) && d->service == f->service && !is_past(f->expires, now);
}

/* Gives the socket a server of the service. `flow` is the flow to replace. */
static __always_inline enum local_verdict local_flow_create(struct local_socket *socket, __u32 flow, struct packet *p,
							    __u32 service, __u64 cookie)
{
	struct service *s = service_at(service);
	flow &= SOCKET_FLOWS - 1;
	struct local_flow *f = &socket->flow[flow];
	__u32 bit = 1u << flow, dest = local_select(service, p);
	struct dest *d = dest_at(dest);
	if (!s)
		return LOCAL_PASS;
	if (!d || d->family != p->family) {
		/* ip_vs_leave() */
		if (s->mark && (settings.tuning & CACHE_BYPASS))
			return LOCAL_PASS;
		count_reason(REASON_NO_SERVER);
		return LOCAL_REFUSE;
	}
	if (socket->counted & bit)
		local_conns_end(cookie, bit, socket->protocol);
	socket->counted &= ~bit;
	socket->protocol = p->protocol;
	__builtin_memcpy(f->vip, p->daddr, 16);
	__builtin_memcpy(f->addr, p->daddr, 16);
	f->vport = f->port = p->dport;
	f->family = p->family;
	f->service = service;
	f->dest = dest;
	f->expires = (__u32)bpf_jiffies64() + settings.timeout_udp;
	/* DR and tunnels leave address and port: a server that is this host is reached by the service's address */
	if (d->method == FORWARD_NAT || READ_ONCE(d->hop) != HOP_LOCAL) {
		__builtin_memcpy(f->addr, d->addr, 16);
		if (d->method == FORWARD_NAT && d->port)
			f->port = d->port;
	}
	if (!((s->flags & SERVICE_ONE_PACKET) && p->protocol == IPPROTO_UDP)) {
		if (local_conn_insert(cookie, flow, p->protocol, dest))
			socket->counted |= bit;
	} else {
		f->expires = (__u32)bpf_jiffies64(); /* one-packet scheduling: the next datagram gets another server */
	}
	return LOCAL_REWRITE;
}

/*
 * Balances a connect(), or a datagram of a socket that is not connected. `service` is that of the packet. On
 * LOCAL_REWRITE, `*to` is the flow.
 */
static __always_inline enum local_verdict local_balance(struct local_socket *socket, struct packet *p, __u32 service,
							__u64 cookie, int connect, struct local_flow **to)
{
	__u32 now = (__u32)bpf_jiffies64();
	struct local_flow *f = connect ? 0 : local_flow_find(socket, p, service);
	if (f && local_flow_holds(f, now)) {
		/* the timeout begins again, with one write a second */
		if (!is_past(f->expires - settings.timeout_udp + settings.hz, now)) {
			*to = f;
			return LOCAL_REWRITE;
		}
		f->expires = now + settings.timeout_udp;
		local_conn_renew(cookie, f - socket->flow, p->protocol, f->expires);
		*to = f;
		return LOCAL_REWRITE;
	}
	__u32 flow = connect ? 0 : f ? (__u32)(f - socket->flow) : socket->next++;
	flow &= SOCKET_FLOWS - 1;
	*to = &socket->flow[flow];
	return local_flow_create(socket, flow, p, service, cookie);
}

#endif
