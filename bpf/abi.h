/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the program and user space agree on: every structure that lies in a map, and every constant in it.
 *
 * Rust has no second copy: its types are generated from this object's BTF. Words are in host byte order unless the
 * type says __be. Times are jiffies cut to 32 bits; compare them by signed difference.
 */
#ifndef EVENKEEL_ABI_H
#define EVENKEEL_ABI_H

/*
 * Raised whenever a map's layout changes. A daemon rewrites maps of an older layout by the names of their members, as long as
 * what is in them means the same: EK_OLDEST_ABI is the oldest one of which that holds (the connections' hash and keys, the
 * numbers of enumerators).
 */
#define EK_ABI 1
#define EK_OLDEST_ABI 1

#define EK_MAX_SERVICES 16384u
#define EK_MAX_DESTS 65536u
#define EK_SERVICE_SLOTS 65536u /* open-addressed, at most a quarter full */
#define EK_SERVICE_PROBES 8
#define EK_NAT_SLOTS 131072u /* the same for real servers behind NAT, at most half full */
#define EK_NAT_PROBES 16
#define EK_NAT_SIBLINGS 16 /* services that may share one real server's address and port by NAT */
#define EK_LIST_WORDS (1u << 20) /* server lists and scheduler tables of all services, both halves */
#define EK_BLOCK 16u /* servers that stand together in a list, of whom the best one is remembered */
#define EK_DEVICES 1024u
#define EK_DEVICE_PROBES 4
#define EK_REPLY_ROUTES 1024u /* next hops towards clients */
#define EK_REPLY_ROUTE_PROBES 4
#define EK_ROUTE_CACHE 32768u /* clients whose way is remembered for their other connections */
#define EK_FLOW_CLASSES 65536u /* of flows that have no entry */
#define EK_FLOW_CACHE_ENTRIES 10 /* in a line of `recent` */
#define EK_FLOW_CACHE_LOCKED 1u /* in its `spell`, below the spell's number: somebody writes it */
#define EK_FLOW_CACHE_DELETED 1u /* a flow that was there in this spell */
#define EK_FLOW_CACHE_MIN_LINES 65536u /* lines of `recent`, so that what these do not say of a flow has 32 bits */
#define EK_SH_SIZE 256 /* IP_VS_SH_TAB_SIZE, and dh's */
#define EK_MH_SIZE 4093 /* ip_vs_mh_primes[], IP_VS_MH_TAB_INDEX 12 */
#define EK_MARK_NETS 65536u
#define EK_MARK_RULES 16 /* sets of members that may overlap at one address */
#define EK_BUCKET_LINES 12 /* a connection lives in one of these many adjoining lines of its hash */

/*
 * An address lies in a packet's order; IPv4 has its word in [0] and zeros behind it.
 *
 * One element, written by user space only.
 */
struct settings {
	__u64 secret[2];       /* of the connection hash; drawn once, kept over upgrades */
	__u32 abi;             /* EK_ABI */
	__u32 conn_mask;       /* lines of the connection table - 1 */
	__u32 hz;              /* jiffies in a second */
	__u32 has_wildcard_port;        /* services on port 0 exist: look for them too */
	__u32 has_ftp;         /* services on TCP port 21 exist: they take data connections too */
	__u32 has_nat;         /* real servers behind NAT exist: look for their replies */
	__u32 timeout_tcp[16]; /* by enum tcp_state */
	__u32 timeout_sctp[16]; /* by enum sctp_state */
	__u32 timeout_udp;
	__u32 timeout_fragment; /* how long the rest of a packet is waited for */
	__u32 control_rearm; /* what a template that still controls connections gets when it expires */
	__u32 grace;         /* an expired entry is freed for another flow only this much later */
	__u32 expire_lines;   /* lines looked at in one turn of the sweep */
	__u32 no_dest;       /* all ones: see no_dest() */
	__u32 flow_cache_bits;   /* lines of `recent`: 1 << this */
	__u32 flow_cache_mask;   /* that less 1 */
	__u32 second_shift;  /* jiffies >> this: about a second; how long ways to clients are believed */
	__u32 epoch_shift;   /* jiffies >> this: four of those; how long recent flows are believed */
	__u32 lblc_expiration;  /* jiffies */
	__u32 lblcr_expiration; /* jiffies */
	__u32 conn_reuse_mode;  /* as the sysctl of this name */
	__u32 tuning;           /* enum tuning */
	__u32 error_limit;      /* ICMP errors of ours in a second on one CPU (RFC 1812, 4.3.2.8) */
	__u32 change_count;          /* turns that somebody has taken to change services; user space's own */
	__u32 has_mark;       /* services on firewall marks exist */
	__u32 has_mark_rules;    /* some marks have members */
	__u32 has_mark_nat; /* such services have real servers behind NAT */
	__u64 expire_interval_ns;      /* between two turns */
	__u64 clock_jiffies; /* jiffies at the moment clock_ns of CLOCK_MONOTONIC, for whoever lists timeouts */
	__u64 clock_ns;
};

/* The kernel's sysctls of these names (ipvs-sysctl.rst). */
enum tuning {
	EXPIRE_NODEST_CONN = 1,
	EXPIRE_QUIESCENT_TEMPLATE = 2,
	SLOPPY_TCP = 4,
	SLOPPY_SCTP = 8,
	SECURE_TCP = 16, /* 3: always */
	STANDBY = 32,    /* not of the kernel: connections begin elsewhere, those that are known go on here */
	SCHEDULE_ICMP = 64,
	NAT_ICMP_SEND = 128,
	NO_PMTU_DISC = 256, /* pmtu_disc=0 */
	CACHE_BYPASS = 512,
};

/* Where an (address, port, protocol) leads; a firewall mark stands as address, port 0, protocol 0. family 0: never used; index 0: removed, go on probing. */
struct endpoint {
	__be32 addr[4];
	__be16 port;
	__u8 protocol;
	__u8 family; /* 4 or 6 */
	__u32 index; /* of the service or destination, plus one */
	__u32 unused[2];
};

enum scheduler {
	SCHED_RR = 0,
	SCHED_WRR,
	SCHED_LC,
	SCHED_WLC,
	SCHED_LBLC,
	SCHED_LBLCR,
	SCHED_DH,
	SCHED_SH,
	SCHED_MH,
	SCHED_SED,
	SCHED_NQ,
	SCHED_FO,
	SCHED_OVF,
	SCHED_TWOS,
	SCHED_NONE,
};

enum service_flags {
	SERVICE_LIVE = 1,
	SERVICE_PERSISTENT = 2,
	SERVICE_ONE_PACKET = 4,
	SERVICE_FALLBACK = 8, /* sh-fallback, mh-fallback */
	SERVICE_PORT = 16,    /* sh-port, mh-port */
	SERVICE_FLAG3 = 32,   /* flag-3 */
	SERVICE_EXTERNAL = 64, /* not of a configuration; user space's own */
};

/* What becomes of a removed server's connections. */
enum removal_policy {
	REMOVAL_DROP = 0,   /* their packets are dropped until they end: IPVS's way, expire_nodest_conn=0 */
	REMOVAL_DRAIN,      /* they go on for a while, then as REMOVAL_REJECT */
	REMOVAL_REJECT,     /* their clients are told: TCP by a RST, others by port unreachable */
	REMOVAL_RESCHEDULE, /* their next packet begins anew at another server, as far as it can: UDP, a SYN; else rejected */
};

/*
 * A service's servers, and its lookup table. A change is written into the half that is not in force; then
 * service.generation flips, and no packet has seen a part of it.
 */
struct service_half {
	__u32 list_base;  /* into `lists`: indices of destinations, newest first, the kernel's order */
	__u32 list_len;
	__u32 table_base; /* into `lists`: what a table scheduler walks (rr, wrr) or looks into (dh, sh, mh) */
	__u32 table_len;
	__u32 next;  /* how many times the table was walked on; the only word here that the program writes */
	__u32 start; /* `next` when this half came into force */
	__u32 position; /* rr: destination + 1 that was chosen last at that moment; wrr: the round's weight (cw) */
	__u32 blocks; /* EK_BLOCK: the list begins at a multiple of it, and its blocks remember their best servers */
};

/*
 * EK_BLOCK servers of a list that is scanned, by where it lies: word / EK_BLOCK. What a scan has found among them holds as long
 * as nothing changed that a choice depends on. Whoever changes such a thing raises the version afterwards; whoever scans
 * reads it before. So what somebody notes late does not hold.
 */
struct block {
	__u64 best; /* the destination, twos: what all of them weigh; in the high half the version that it was found at */
	__u32 version;
	__u32 unused;
};

/* In which blocks a destination stands, by half: plus one; 0: in none. */
struct block_refs {
	__u32 block[2];
};

struct service {
	__be32 addr[4];
	__be16 port;
	__u8 protocol;
	__u8 family;
	__u8 scheduler;
	__u8 removal_policy; /* enum on_removal */
	__u8 unused0[2];
	__u32 flags;
	__u32 generation; /* its lowest bit names the half in force */
	__be32 persist_mask[4];
	__u32 persist_seconds;
	__u32 persist_timeout; /* jiffies */
	__u32 drain_timeout;   /* jiffies: of REMOVAL_DRAIN */
	__u32 drain_seconds;
	__u32 mark; /* 0; or the packets' firewall mark, instead of address, port and protocol */
	struct service_half half[2];
};

/* Addresses that packets get firewall marks for: the key of a longest-prefix match. IPv4 lies in ::ffff:0:0/96. */
struct mark_net {
	__u32 prefix;
	__be32 addr[4];
};

struct mark_rule {
	__u32 mark; /* 0: the end */
	__u16 first, last; /* ports, host order */
	__u8 protocol; /* 0: any */
	__u8 unused[3];
};

/* What is wanted of the packets to a network, its own members and those of the networks around it; the first one counts. */
struct mark_rule_set {
	struct mark_rule of[EK_MARK_RULES];
};

enum dest_flags {
	DEST_LIVE = 1,      /* the entry is taken */
	DEST_AVAILABLE = 2, /* it is in its service's list; without it, it only waits for its connections to end */
};

/* As IP_VS_CONN_F_MASQ, _LOCALNODE, _TUNNEL, _DROUTE. */
enum forwarding { FORWARD_NAT = 0, FORWARD_LOCAL = 1, FORWARD_TUN = 2, FORWARD_DR = 3 };

/* As IP_VS_CONN_F_TUNNEL_TYPE_* and IP_VS_TUNNEL_ENCAP_FLAG_*. */
enum tunnel { TUNNEL_IPIP = 0, TUNNEL_GUE = 1, TUNNEL_GRE = 2 };
enum tunnel_flags { TUNNEL_CSUM = 1, TUNNEL_REMCSUM = 2 };

#define EK_HOP_VLAN (1u << 27) /* in next_hop.ifindex: it is a VLAN, which XDP sends to by its tags */

struct next_hop {
	__u32 ifindex; /* and EK_HOP_VLAN */
	__u8 dmac[6];
	__u8 smac[6];
};

/* dest.hop: 1 and 2 are hops[0] and hops[1]. The other one is written, then this word flips. */
enum hop { HOP_NONE = 0, HOP_LOCAL = 3 };

struct dest {
	/* first line: written by user space, read for every packet */
	__u32 service; /* index */
	__u32 flags;
	__s32 weight;
	__u32 u_threshold;
	__u32 l_threshold;
	__u32 hop; /* enum hop */
	struct next_hop hops[2];
	__u8 method;
	__u8 family;
	__be16 port; /* 0: the packet's own */
	__u8 tunnel;
	__u8 tunnel_flags;
	__be16 tunnel_port;
	/* second line: written by user space, read for NAT and tunnels */
	__be32 addr[4];
	__be32 source[4]; /* of what is sent through a tunnel */
	__u32 mtu;        /* of its way, what a tunnel adds taken off; 0: not known */
	__u32 last_weight; /* the last one that was not 0: mh keeps a quiesced server's place */
	__u32 nat_next;       /* the next destination + 1 with this address, port and protocol by NAT */
	__u32 removed;    /* jiffies: when it left its service */
	__u32 unused0[4];
	/* third line: written by the program */
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
	__u64 out_packets;
	__u64 out_bytes;
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

/* The kernel's IP_VS_SCTP_S_*. */
enum sctp_state {
	SCTP_NONE = 0,
	SCTP_INIT1,
	SCTP_INIT,
	SCTP_COOKIE_SENT,
	SCTP_COOKIE_REPLIED,
	SCTP_COOKIE_WAIT,
	SCTP_COOKIE,
	SCTP_COOKIE_ECHOED,
	SCTP_ESTABLISHED,
	SCTP_SHUTDOWN_SENT,
	SCTP_SHUTDOWN_RECEIVED,
	SCTP_SHUTDOWN_ACK_SENT,
	SCTP_REJECTED,
	SCTP_CLOSED,
	SCTP_STATES,
};

enum conn_flags {
	CONN_INACTIVE = 1,
	CONN_TEMPLATE = 2,
	CONN_ASSURED = 4,  /* a template: one of its connections has been established */
	CONN_NO_OUTPUT = 8,  /* the server's half is not seen: DR, TUN (IP_VS_CONN_F_NOOUTPUT) */
	CONN_AUX = 16,    /* neither: a memory of a scheduler, a fragmented packet, answers; counts nowhere */
};

/* What key1 means in its bits 40 to 46; bit 47: of IPv6, which takes a whole line. */
enum key_kind {
	KIND_CONN = 1,
	KIND_TEMPLATE = 2,
	KIND_DEAD_TEMPLATE = 3,
	KIND_LBLC = 4,    /* lblc, lblcr: key0 the packet's destination, key1 the service */
	KIND_LBLCR_DEST = 5,   /* lblcr: key1 the service | destination << 14 */
	KIND_FRAGMENT = 6, /* key0 the addresses, key1 the packet's identification */
	KIND_REPLY_TUPLE = 7,   /* key0 client and real server, key1 their ports: what a marked connection's answers look like */
};

#define KEY_FREE 0ull
#define KEY_BUSY (~0ull)     /* claimed by somebody who is writing it */
#define KEY_TAIL (~0ull - 1) /* the second half of a line that one IPv6 entry takes */
#define KEY_V6 (1ull << 47)

/*
 * A connection or a persistence template. key1 is also the lock: free, busy, or a whole key; only a compare-and-swap
 * takes it from one to another.
 */
struct conn {
	__u64 key0;    /* client address | service address << 32, as they are in the packet; IPv6: the client's first half */
	__u64 key1;    /* client port | service port << 16 | protocol << 32 | kind << 40 */
	__u32 dest;    /* index */
	__u32 expires; /* jiffies */
	__u32 status;    /* state | flags << 8 | way back << 16: one word, changed by compare-and-swap */
	__u32 control; /* a connection: its template's entry + 1, or 0; a template: how many connections it controls;
			  a note: the connection's entry + 1 */
};

/* Two entries of IPv4; or one of IPv6, whose second half has the rest of the key. */
struct conn_line {
	struct conn entry[2];
};

/* The second half of an IPv6 entry, over a struct conn. */
struct conn_tail {
	__u64 client; /* its second half */
	__u64 key1;   /* KEY_TAIL */
	__u64 vip[2];
};

/*
 * Flows that have been seen of late, in one spell, whose number is << 1 there: see recent.h. A flow is called by what its line
 * does not say of its client's address and port. Who would be called 0, a free place, or EK_FLOW_CACHE_DELETED is never noted.
 */
struct flow_cache_line {
	__u32 epoch;
	__u16 value[EK_FLOW_CACHE_ENTRIES];
	__u32 tag[EK_FLOW_CACHE_ENTRIES];
};

/* A next hop towards clients, found by a route look-up; a connection names it by its number + 1. */
struct reply_route {
	struct next_hop hop;
	__u32 taken;
	__u32 mtu; /* of the way, bytes; 0: not known */
};

#define EK_VLAN_TAGS 2 /* of VLANs, one in the other */

/*
 * A device that the XDP program is attached to, or a VLAN on one; the tc program need not ask. Open-addressed by ifindex.
 * A tag is its Ethertype << 16 | its VLAN's number, in host order, the outermost one first; 0: there is none.
 */
struct device {
	__u32 ifindex;
	__u8 mac[6];
	__u16 unused;
	__u32 lower; /* a VLAN: the device whose frames have its tags */
	__u32 tags[EK_VLAN_TAGS];
};

/* Which VLAN a tagged frame is of. */
struct vlan_key {
	__u32 ifindex; /* the device that it came by */
	__u32 tags[EK_VLAN_TAGS];
};

/* Why a packet went where it went; one counter each. Those between REASON_LOCAL and REASON_ICMP deserve attention. */
enum reason {
	REASON_NOT_OURS = 0,   /* no such service: to the kernel; not counted, so that it costs nothing */
	REASON_FORWARDED = 1,
	REASON_REPLIED,        /* a real server's answer, translated back */
	REASON_LOCAL,          /* for a real server that is this director: to the kernel */
	REASON_FRAGMENT,       /* a later piece of a packet whose first piece was not seen; to the kernel */
	REASON_NO_CONN,      /* TCP without a connection and without SYN; to the kernel, which answers RST */
	REASON_NO_SERVER,      /* no real server can take it; to the kernel, which refuses it */
	REASON_DEST_UNAVAILABLE,      /* its real server was removed: dropped, as IPVS does with expire_nodest_conn=0 */
	REASON_NO_NEXT_HOP,         /* the real server's MAC address is not known: dropped */
	REASON_TTL,            /* TTL used up: dropped */
	REASON_TABLE_FULL,     /* forwarded by hash, without an entry */
	REASON_INSERT_RACE,           /* two CPUs met over one entry; the loser used the winner's */
	REASON_NO_HEADROOM,        /* the driver leaves no room in front of the frame for a tunnel's header: dropped */
	REASON_NO_ROUTE,       /* an answer to where the kernel knows no way: dropped */
	REASON_TOO_BIG,        /* more than the way's MTU: dropped, and the sender told */
	REASON_ICMP,           /* an ICMP error, carried to the side that it concerns */
	REASON_DRAINED,        /* forwarded to a removed server that is drained */
	REASON_REJECTED,       /* its real server was removed: its client told */
	REASON_STANDBY,        /* of no connection that is known here, while others begin them: to the kernel */
	REASON_CACHE_BYPASS,         /* no real server can take it: to the kernel, which routes it to where it wants (cache_bypass) */
	REASON_UNEXPECTED_REPLY,        /* a real server's, of no connection: it is told (nat_icmp_send) */
	REASON_EVICTED,     /* in a full bucket a new connection took the place of one that was half-open */
	REASONS,
};

struct expire_state {
	struct bpf_timer timer;
	__u32 cursor;
	__u32 turns;
	__u64 freed;
};

#endif
