/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the program and user space agree on: every structure that lies in a map, and every constant in it.
 *
 * Rust has no second copy: its types are generated from this object's BTF. Words are in host byte order unless the
 * type says __be. Times are jiffies cut to 32 bits; compare them by signed difference.
 */
#ifndef EVENKEEL_ABI_H
#define EVENKEEL_ABI_H

/* Raised whenever a map's layout changes: a daemon adopts only maps of its own ABI. */
#define EK_ABI 1

#define EK_MAX_SERVICES 16384u
#define EK_MAX_DESTS 65536u
#define EK_SERVICE_SLOTS 65536u /* open-addressed, at most a quarter full */
#define EK_SERVICE_PROBES 8
#define EK_LIST_WORDS (1u << 20) /* server lists and scheduler tables of all services, both halves */
#define EK_DEVICES 1024u
#define EK_DEVICE_PROBES 4
#define EK_BUCKET_LINES 4 /* a connection lives in one of these many adjoining lines of its hash */

/* One element, written by user space only. */
struct settings {
	__u64 secret[2];       /* of the connection hash; drawn once, kept over upgrades */
	__u32 abi;             /* EK_ABI */
	__u32 conn_mask;       /* lines of the connection table - 1 */
	__u32 hz;              /* jiffies in a second */
	__u32 any_port;        /* services on port 0 exist: look for them too */
	__u32 timeout_tcp[16]; /* by enum tcp_state */
	__u32 timeout_udp;
	__u32 control_rearm; /* what a template that still controls connections gets when it expires */
	__u32 grace;         /* an expired entry is freed for another flow only this much later */
	__u32 sweep_lines;   /* lines looked at in one turn of the sweep */
	__u32 no_dest;       /* all ones: see scan_from() */
	__u32 unused;
	__u64 sweep_ns;      /* between two turns */
	__u64 clock_jiffies; /* jiffies at the moment clock_ns of CLOCK_MONOTONIC, for whoever lists timeouts */
	__u64 clock_ns;
};

/* Where a (address, port, protocol) leads. index 0: nothing; `used` and index 0: removed, go on probing. */
struct service_slot {
	__be32 addr;
	__be16 port;
	__u8 protocol;
	__u8 used;
	__u32 index; /* of the service, plus one */
	__u32 unused;
};

enum scheduler { SCHED_RR = 0, SCHED_WRR = 1, SCHED_WLC = 2 };

enum service_flags { SERVICE_LIVE = 1, SERVICE_PERSISTENT = 2 };

/*
 * A service's servers, and its lookup table. A change is written into the half that is not in force; then
 * service.generation flips, and no packet has seen a part of it.
 */
struct service_half {
	__u32 list_base;  /* into `lists`: indices of destinations, newest first, the kernel's order */
	__u32 list_len;
	__u32 table_base; /* into `lists`: what a table scheduler walks (rr, wrr) */
	__u32 table_len;
	__u32 next;  /* how many times the table was walked on; the only word here that the program writes */
	__u32 start; /* `next` when this half came into force */
	__u32 place; /* rr: destination + 1 that was chosen last at that moment; wrr: the round's weight (cw) */
	__u32 unused;
};

struct service {
	__be32 addr;
	__be16 port;
	__u8 protocol;
	__u8 scheduler;
	__u32 flags;
	__u32 generation; /* its lowest bit names the half in force */
	__be32 persist_mask;
	__u32 persist_seconds;
	__u32 persist_timeout; /* jiffies */
	__u32 unused;
	struct service_half half[2];
	__u32 pad[8];
};

enum dest_flags {
	DEST_LIVE = 1,      /* the entry is taken */
	DEST_AVAILABLE = 2, /* it is in its service's list; without it, it only waits for its connections to end */
};

enum forwarding { FORWARD_DR = 3 }; /* as IP_VS_CONN_F_DROUTE */

struct next_hop {
	__u32 ifindex;
	__u8 dmac[6];
	__u8 smac[6];
};

struct dest {
	/* first line: written by user space */
	__be32 addr;
	__be16 port;
	__u8 method;
	__u8 unused0;
	__u32 service; /* index */
	__s32 weight;
	__u32 u_threshold;
	__u32 l_threshold;
	__u32 flags;
	__u32 hop; /* 0: not known; 1, 2: hops[hop - 1]. The other one is written, then this word flips. */
	struct next_hop hops[2];
	/* second line: written by the program */
	__u32 active;
	__u32 inactive;
	__u32 persistent;
	__u32 overload;
	__u32 unused1[12];
};

struct counters {
	__u64 conns;
	__u64 in_packets;
	__u64 in_bytes; /* of the IP packets */
};

/* The kernel's IP_VS_TCP_S_*: their order is what `ipvsadm -Lc` and the sync protocol number. */
enum tcp_state {
	TCP_NONE = 0,
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT = 4,
	TCP_TIME_WAIT = 5,
	TCP_CLOSE = 6,
	TCP_CLOSE_WAIT = 7,
	TCP_LAST_ACK = 8,
	TCP_LISTEN = 9,
	TCP_SYNACK = 10,
	TCP_STATES = 11,
};

enum conn_flags {
	CONN_INACTIVE = 1,
	CONN_TEMPLATE = 2,
	CONN_ASSURED = 4, /* a template: one of its connections has been established */
};

/* What key1 means in its bits 40 to 47. */
enum key_kind { KIND_CONN = 1, KIND_TEMPLATE = 2, KIND_DEAD_TEMPLATE = 3 };

#define KEY_FREE 0ull
#define KEY_BUSY (~0ull) /* claimed by somebody who is writing it */

/*
 * A connection or a persistence template. key1 is also the lock: free, busy, or a whole key; only a compare-and-swap
 * takes it from one to another.
 */
struct conn {
	__u64 key0;    /* client address | service address << 32, as they are in the packet */
	__u64 key1;    /* client port | service port << 16 | protocol << 32 | kind << 40 */
	__u32 dest;    /* index */
	__u32 expires; /* jiffies */
	__u32 life;    /* state | flags << 8: one word, changed by compare-and-swap */
	__u32 control; /* a connection: its template's entry + 1, or 0; a template: how many connections it controls */
};

struct conn_line {
	struct conn entry[2];
};

/* A device that the XDP program is attached to; the tc program need not ask. Open-addressed by ifindex. */
struct device {
	__u32 ifindex;
	__u8 mac[6];
	__u16 unused;
};

/* Why a packet went where it went; one counter each. Those after REASON_FORWARDED deserve somebody's attention. */
enum reason {
	REASON_NOT_OURS = 0,   /* no such service: to the kernel; not counted, so that it costs nothing */
	REASON_FORWARDED = 1,
	REASON_FRAGMENT,       /* of any TCP or UDP packet; to the kernel */
	REASON_NOT_FIRST,      /* TCP without a connection and without SYN; to the kernel, which answers RST */
	REASON_NO_SERVER,      /* no real server can take it; to the kernel, which refuses it */
	REASON_DEST_GONE,      /* its real server was removed: dropped, as IPVS does with expire_nodest_conn=0 */
	REASON_NO_HOP,         /* the real server's MAC address is not known: dropped */
	REASON_TTL,            /* TTL used up: dropped */
	REASON_TABLE_FULL,     /* forwarded by hash, without an entry */
	REASON_RACE,           /* two CPUs met over one entry; the loser used the winner's */
	REASONS,
};

struct sweep_state {
	struct bpf_timer timer;
	__u32 cursor;
	__u32 turns;
	__u64 freed;
};

#endif
