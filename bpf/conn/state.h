/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The state machines of TCP and SCTP, as in the kernel's IPVS: tcp_states[], sctp_states[]. Each has a table for
 * packets from the client, for packets from the server, and for packets from a client whose replies do not pass the
 * director.
 */
#ifndef EVENKEEL_STATE_H
#define EVENKEEL_STATE_H

enum direction { FROM_CLIENT = 0, FROM_SERVER = 1, CLIENT_ONLY = 2 };

#define SECURE 3 /* the offset of the tables of secure_tcp (tcp_states_dos[]) */

#define NO TCP_NONE
#define ES TCP_ESTABLISHED
#define SS TCP_SYN_SENT
#define SR TCP_SYN_RECV
#define FW TCP_FIN_WAIT
#define TW TCP_TIME_WAIT
#define CL TCP_CLOSE
#define CW TCP_CLOSE_WAIT
#define LA TCP_LAST_ACK
#define LI TCP_LISTEN
#define SA TCP_SYNACK

/* Rows: SYN, FIN, ACK, RST. Columns: the present state, NO ES SS SR FW TW CL CW LA LI SA. */
static const __u8 tcp_table[6][4][16] = {
	[FROM_CLIENT] = {
		{ SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR },
		{ CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW },
		{ ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES },
		{ CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR },
	},
	[FROM_SERVER] = {
		{ SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR },
		{ TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW },
		{ ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES },
		{ CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL },
	},
	[CLIENT_ONLY] = {
		{ SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR },
		{ CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW },
		{ ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES },
		{ CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL },
	},
	[SECURE + FROM_CLIENT] = {
		{ SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SA },
		{ CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, SA },
		{ ES, ES, SS, SR, FW, TW, CL, CW, CL, LI, SA },
		{ CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL },
	},
	[SECURE + FROM_SERVER] = {
		{ SS, ES, SS, SA, SS, SS, SS, SS, SS, LI, SA },
		{ TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW },
		{ ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES },
		{ CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL },
	},
	[SECURE + CLIENT_ONLY] = {
		{ SA, ES, ES, SR, SA, SA, SA, SA, SA, SA, SA },
		{ CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW },
		{ ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES },
		{ CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL },
	},
};

#undef NO
#undef ES
#undef SS
#undef SR
#undef FW
#undef TW
#undef CL
#undef CW
#undef LA
#undef LI
#undef SA

/* Of RST, SYN, FIN and ACK the first flag that is set counts (tcp_state_idx()). A segment with none of them closes. */
static __always_inline __u32 tcp_next(__u32 table, __u32 state, __u8 flags)
{
	__u32 row = flags & RST ? 3 : flags & SYN ? 0 : flags & FIN ? 1 : 2;
	if (!(flags & (RST | SYN | FIN | ACK)))
		return TCP_CLOSE;
	return tcp_table[table < 6 ? table : 0][row & 3][state & 15];
}

/* tcp_state_active_table[] */
static __always_inline int tcp_active(__u32 state)
{
	return state == TCP_ESTABLISHED || (state >= TCP_SYN_SENT && state <= TCP_SYN_RECV) || state == TCP_SYNACK;
}

#define NO SCTP_NONE
#define I1 SCTP_INIT1
#define IN SCTP_INIT
#define CS SCTP_COOKIE_SENT
#define CR SCTP_COOKIE_REPLIED
#define CW SCTP_COOKIE_WAIT
#define CO SCTP_COOKIE
#define CE SCTP_COOKIE_ECHOED
#define ES SCTP_ESTABLISHED
#define SS SCTP_SHUTDOWN_SENT
#define SR SCTP_SHUTDOWN_RECEIVED
#define SA SCTP_SHUTDOWN_ACK_SENT
#define RJ SCTP_REJECTED
#define CL SCTP_CLOSED

/* Rows: enum sctp_event. Columns: the present state, in the order of enum sctp_state. */
static const __u8 sctp_table[3][SCTP_EVENTS][16] = {
	[FROM_CLIENT] = {
		{ ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL },
		{ I1, IN, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, IN, IN },
		{ CW, CW, CW, CS, CR, CO, CO, CE, ES, SS, SR, SA, RJ, CL },
		{ CR, IN, IN, CR, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL },
		{ ES, I1, IN, CS, CR, CW, CO, ES, ES, SS, SR, SA, RJ, CL },
		{ SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL },
		{ CL, IN, IN, CS, CR, CW, CO, CE, ES, CL, SR, CL, RJ, CL },
		{ CL, CL, CL, CS, CR, CW, CO, CE, ES, SS, SR, CL, RJ, CL },
		{ CL, I1, IN, CS, CR, CW, CO, CL, ES, SS, SR, SA, RJ, CL },
		{ CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL },
	},
	[FROM_SERVER] = {
		{ ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL },
		{ CW, CW, CW, CW, CW, CW, CW, CW, ES, CW, CW, CW, CW, CW },
		{ CS, CS, CS, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL },
		{ CE, CE, CE, CE, CE, CE, CE, CE, ES, CE, CE, CE, CE, CE },
		{ ES, ES, ES, ES, ES, ES, ES, ES, ES, SS, SR, SA, RJ, CL },
		{ SS, SS, SS, SS, SS, SS, SS, SS, SS, SS, SR, SA, RJ, CL },
		{ SA, SA, SA, SA, SA, CW, CO, CE, ES, SA, SA, SA, RJ, CL },
		{ CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL },
		{ CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, SR, SA, RJ, CL },
		{ CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL },
	},
	[CLIENT_ONLY] = {
		{ ES, I1, IN, CS, CR, ES, CO, CE, ES, SS, SR, SA, RJ, CL },
		{ I1, IN, IN, IN, IN, IN, CO, CE, ES, SS, SR, SA, IN, IN },
		{ CE, CE, CE, CE, CE, CE, CO, CE, ES, SS, SR, SA, RJ, CL },
		{ ES, ES, ES, ES, ES, ES, CO, CE, ES, SS, SR, SA, RJ, CL },
		{ ES, I1, IN, ES, ES, CW, ES, ES, ES, SS, SR, SA, RJ, CL },
		{ SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL },
		{ CL, IN, IN, CS, CR, CW, CO, CE, CL, CL, SR, CL, RJ, CL },
		{ CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, CL, CL, RJ, CL },
		{ CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL },
		{ CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL },
	},
};

#undef NO
#undef I1
#undef IN
#undef CS
#undef CR
#undef CW
#undef CO
#undef CE
#undef ES
#undef SS
#undef SR
#undef SA
#undef RJ
#undef CL

/* The effect of a packet on a connection: the next state, and the timeout and activity that belong to it. */
struct state_transition {
	__u32 state;
	__u32 timeout; /* jiffies */
	__u32 active;
};

static __always_inline struct state_transition state_transition(__u32 direction, __u32 state, struct packet *p)
{
	struct state_transition t = { .timeout = settings.timeout_udp };
	if (p->protocol == IPPROTO_TCP) {
		t.state = tcp_next(direction + (settings.tuning & SECURE_TCP ? SECURE : 0), state, p->event);
		t.timeout = settings.timeout_tcp[t.state & 15];
		t.active = tcp_active(t.state);
	} else if (p->protocol == IPPROTO_SCTP) {
		__u32 event = p->event < SCTP_EVENTS ? p->event : SCTP_DATA;
		t.state = sctp_table[direction < 3 ? direction : 0][event][state & 15];
		t.timeout = settings.timeout_sctp[t.state & 15];
		t.active = t.state == SCTP_ESTABLISHED;
	}
	return t;
}

#endif
