/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Answered connections: whether the handshakes of a destination's connections go on. User space compares the counts
 * (core/answers.rs): a server that is reached but whose answers are not, or that lacks the virtual address, has connections
 * whose clients try again and again, and none that goes on.
 *
 * A connection counts as answered by the first packet of the server that passes here (NAT), or by the first packet of
 * the client that is no SYN or INIT: with direct routing and tunnels the client's ACK shows that it got the server's
 * answer, and so does the RST of a scanner. A connection counts as retried if its client sends the SYN again before. A flood
 * of SYNs from forged addresses, which sends each only once, is in neither count. UDP has no handshake.
 */
#ifndef EVENKEEL_ANSWERED_H
#define EVENKEEL_ANSWERED_H

/* Counts the connection of a packet once in each way. A global function: the verifier checks it only once. */
__noinline int count_answered(struct conn *e, struct packet *p, __u32 direction)
{
	if (!e || !p)
		return 0;
	__u32 status = READ_ONCE(e->status);
	int is_first = p->protocol == IPPROTO_TCP ? (p->event & (SYN | RST)) == SYN : p->event == SCTP_EV_INIT;
	__u32 flag = direction == FROM_SERVER || !is_first ? CONN_ANSWERED : CONN_RETRIED;
	struct dest *d = dest_at(READ_ONCE(e->dest));
	if (!d || (CONN_FLAGS(status) & flag) ||
	    __sync_val_compare_and_swap(&e->status, status, status | flag << 8) != status)
		return 0;
	__sync_fetch_and_add(flag == CONN_ANSWERED ? &d->answered : &d->retried, 1);
	return 0;
}

#endif
