// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Local clients: processes of this host that use a virtual service. Their packets never arrive on a device, so they are
 * balanced where a socket connects or sends:
 *
 *   connect(), sendto() to a service ─▶ local/balance.h: the socket uses the real server's address
 *   recvfrom(), getpeername()         ─▶ the service's address again
 *   close()                           ─▶ the connection leaves the counts of its server
 *
 * These programs are attached to the root of the cgroup2 hierarchy, and act in one network namespace. They share the maps
 * of the packet path (maps.h), and are an object of their own: a kernel that cannot load them loads the packet path.
 * TCP and UDP only, since the kernel has no such hooks for SCTP.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
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
#include "lib/frame.h"
#include "packet/parse.h"
#include "service/mark.h"
#include "service/service.h"
#include "conn/conn_key.h"
#include "conn/conn_table.h"
#include "conn/flow_cache.h"
#include "conn/state.h"
#include "conn/answered.h"
#include "conn/conn.h"
#include "conn/conn_insert.h"
#include "local/scratch_thread.h"
#include "conn/persistence.h"
#include "sched/list.h"
#include "sched/walk.h"
#include "sched/scan.h"
#include "sched/hash_table.h"
#include "sched/twos.h"
#include "sched/lblc.h"
#include "sched/schedule.h"
#include "local/socket.h"
#include "local/balance.h"

#define ERROR_REFUSED (-111) /* ECONNREFUSED */

/* The address of an IPv6 socket for IPv4 begins with these words (RFC 4291, 2.5.5.2). */
#define MAPPED(a) ((a)[0] == 0 && (a)[1] == 0 && (a)[2] == bpf_htonl(0xffff))

/* The address that the socket is to use: of IPv4 also in an IPv6 socket. */
static __always_inline void read_address(struct bpf_sock_addr *ctx, int v6, __be32 *addr, __u8 *family)
{
	*family = v6 ? 6 : 4;
	addr[1] = addr[2] = addr[3] = 0;
	if (!v6) {
		addr[0] = ctx->user_ip4;
		return;
	}
	__be32 a[4] = { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3] };
	if (MAPPED(a)) {
		*family = 4;
		addr[0] = a[3];
		return;
	}
	__builtin_memcpy(addr, a, 16);
}

static __always_inline void write_address(struct bpf_sock_addr *ctx, int v6, const __be32 *addr, __u32 family,
					  __be16 port)
{
	ctx->user_port = port;
	if (!v6) {
		ctx->user_ip4 = addr[0];
		return;
	}
	ctx->user_ip6[0] = family == 4 ? 0 : addr[0];
	ctx->user_ip6[1] = family == 4 ? 0 : addr[1];
	ctx->user_ip6[2] = family == 4 ? bpf_htonl(0xffff) : addr[2];
	ctx->user_ip6[3] = family == 4 ? addr[0] : addr[3];
}

/* The client's address, which is known if the socket is bound; else, as IPVS sees it, that of the service. */
static __always_inline void read_source(struct bpf_sock *sk, int v6, struct packet *p)
{
	__be32 a[4] = { 0 };
	if (!v6 || p->family == 4) {
		a[0] = sk->src_ip4;
	} else {
		a[0] = sk->src_ip6[0];
		a[1] = sk->src_ip6[1];
		a[2] = sk->src_ip6[2];
		a[3] = sk->src_ip6[3];
	}
	__builtin_memcpy(p->saddr, a[0] | a[1] | a[2] | a[3] ? a : p->daddr, 16);
	p->sport = bpf_htons(sk->src_port);
}

/* 1: the system call goes on; 0: it fails with ECONNREFUSED. */
static __always_inline int balance(struct bpf_sock_addr *ctx, int v6, int connect)
{
	struct bpf_sock *sk = ctx->sk;
	if (bpf_get_netns_cookie(ctx) != netns_cookie || !sk)
		return 1;
	struct packet packet = { .protocol = ctx->protocol, .dport = ctx->user_port };
	if (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_UDP)
		return 1;
	read_address(ctx, v6, packet.daddr, &packet.family);
	service_handle service = settings.tuning & STANDBY ? 0 : service_find(&packet, sk->mark);
	struct local_socket *socket =
		bpf_sk_storage_get(&local_sockets, sk, 0, service ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	if (!socket)
		return 1;
	__u64 cookie = bpf_get_socket_cookie(ctx);
	if (connect)
		local_socket_clear(socket, cookie);
	if (!service)
		return 1;
	struct scratch *scratch = scratch_claim();
	if (!scratch)
		return 1;
	struct packet *p = &scratch->packet;
	*p = packet;
	read_source(sk, v6, p);
	struct local_flow *flow = 0;
	enum local_verdict verdict = local_balance(socket, p, service - 1, cookie, connect, &flow);
	if (verdict == LOCAL_REWRITE && flow)
		write_address(ctx, v6, flow->addr, flow->family, flow->port);
	scratch_release();
	if (verdict != LOCAL_REFUSE)
		return 1;
	bpf_set_retval(ERROR_REFUSED);
	return 0;
}

/* A peer's address: where it is a server that the socket was given, the service's address takes its place. */
static __always_inline void translate_back(struct bpf_sock_addr *ctx, int v6)
{
	struct bpf_sock *sk = ctx->sk;
	struct local_socket *socket = sk ? bpf_sk_storage_get(&local_sockets, sk, 0, 0) : 0;
	if (!socket)
		return;
	__be32 addr[4];
	__u8 family;
	read_address(ctx, v6, addr, &family);
	__be16 port = ctx->user_port;
	for (int i = 0; i < SOCKET_FLOWS; i++) {
		struct local_flow *f = &socket->flow[i];
		if (f->family == family && f->port == port && same_address(f->addr, addr)) {
			write_address(ctx, v6, f->vip, family, f->vport);
			return;
		}
	}
}

SEC("cgroup/connect4")
int ek_connect4(struct bpf_sock_addr *ctx)
{
	return balance(ctx, 0, 1);
}

SEC("cgroup/connect6")
int ek_connect6(struct bpf_sock_addr *ctx)
{
	return balance(ctx, 1, 1);
}

SEC("cgroup/sendmsg4")
int ek_sendmsg4(struct bpf_sock_addr *ctx)
{
	return balance(ctx, 0, 0);
}

SEC("cgroup/sendmsg6")
int ek_sendmsg6(struct bpf_sock_addr *ctx)
{
	return balance(ctx, 1, 0);
}

SEC("cgroup/recvmsg4")
int ek_recvmsg4(struct bpf_sock_addr *ctx)
{
	translate_back(ctx, 0);
	return 1;
}

SEC("cgroup/recvmsg6")
int ek_recvmsg6(struct bpf_sock_addr *ctx)
{
	translate_back(ctx, 1);
	return 1;
}

SEC("cgroup/getpeername4")
int ek_getpeername4(struct bpf_sock_addr *ctx)
{
	translate_back(ctx, 0);
	return 1;
}

SEC("cgroup/getpeername6")
int ek_getpeername6(struct bpf_sock_addr *ctx)
{
	translate_back(ctx, 1);
	return 1;
}

SEC("cgroup/sock_release")
int ek_sock_release(struct bpf_sock *sk)
{
	struct local_socket *socket = bpf_sk_storage_get(&local_sockets, sk, 0, 0);
	if (socket && socket->counted)
		local_conns_end(bpf_get_socket_cookie(sk), socket->counted, socket->protocol);
	return 1;
}

char _license[] SEC("license") = "Dual MIT/GPL";
