/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The interface between the BPF program and user space: every structure that is stored in a map, and its constants.
 *
 * Rust has no second copy. Its structures are generated from the BTF of this object, its constants from this file
 * (crates/sys/build.rs). Numbers are in host byte order unless their type is __be. Times are jiffies, cut to 32 bits;
 * compare them by their signed difference.
 */
#ifndef EVENKEEL_ABI_H
#define EVENKEEL_ABI_H

/*
 * The number of the map layout. Raise EK_ABI whenever the layout of a map changes: a newer program then rewrites the
 * maps of the older one, member by member, by their names (crates/sys/src/bpf/migrate.rs). EK_OLDEST_ABI is the
 * oldest layout whose contents mean the same. Raise it to EK_ABI when a meaning changes (the hash of the connection
 * table, a key, the number of an enumerator): tables of older layouts are then replaced by empty ones. An enumerator that
 * is appended changes neither. LATER_LAYOUT in tests/build.rs replaces some of these lines, and must follow them.
 */
#define EK_ABI 2
#define EK_OLDEST_ABI 1

#define EK_MAX_SERVICES 16384u
#define EK_MAX_DESTS 65536u
#define EK_SERVICE_SLOTS 65536u /* of the open-addressed table `endpoints`, which is at most a quarter full */
#define EK_SERVICE_PROBES 8
#define EK_INACTIVE 8 /* added to the family in `endpoints`: the service is inactive */
#define EK_NAT_SLOTS 131072u /* of the open-addressed table `nat_dests`, which is at most half full */
#define EK_NAT_PROBES 16
#define EK_NAT_SIBLINGS 16 /* services that share a NAT server's address and port, and whose replies are tried in turn */
#define EK_NAT_BY_TUPLE 4294967295u /* dest.nat_next of a further one: its connections have reply tuples */
#define EK_LIST_WORDS (1u << 20) /* server lists and scheduler tables of all services, both halves */
#define EK_BLOCK 16u /* consecutive servers of a list, whose best one is cached */
#define EK_DEVICES 1024u
#define EK_DEVICE_PROBES 4
#define EK_REPLY_ROUTES 1024u
#define EK_REPLY_ROUTE_PROBES 4
#define EK_ROUTE_CACHE 32768u /* clients whose reply route is cached for their other connections */
#define EK_FLOW_CLASSES 65536u
#define EK_FLOW_CACHE_ENTRIES 10 /* in a line of the flow cache */
#define EK_FLOW_CACHE_LOCKED 1u /* in a line's `epoch`, below the number of the epoch: a CPU is writing the line */
#define EK_FLOW_CACHE_DELETED 1u /* the tag of an entry that was deleted in this epoch */
#define EK_FLOW_CACHE_MIN_LINES 65536u /* so that the tag, which is what the line's index does not say, has 32 bits */
#define EK_SH_SIZE 256 /* IP_VS_SH_TAB_SIZE, and dh's */
#define EK_MH_SIZE 4093 /* ip_vs_mh_primes[], IP_VS_MH_TAB_INDEX 12 */
#define EK_MARK_NETS 65536u
#define EK_MARK_RULES 16 /* rules that may overlap at one address */
#define EK_BUCKET_LINES 12 /* a connection is in one of this many consecutive lines from its hash on */

/*
 * Handles: an index + 1. 0 is no handle. Only service_get() and its like turn a handle into a pointer.
 */
typedef __u32 conn_handle;
typedef __u32 service_handle;
typedef __u32 dest_handle;

/* Addresses are in network byte order. An IPv4 address is in word [0], and the other words are 0. */

/* One element, written by user space only. */
struct settings {
	__u64 secret[2];       /* of the hashes; random, kept over upgrades */
	__u32 abi;             /* EK_ABI */
	__u32 conn_mask;       /* lines of the connection table - 1 */
	__u32 hz;              /* jiffies per second */
	__u32 has_wildcard_port; /* there are services on port 0 */
	__u32 has_ftp;         /* there are services on TCP port 21: they take data connections too */
	__u32 has_nat;         /* there are NAT servers */
	__u32 timeout_tcp[16]; /* by enum tcp_state */
	__u32 timeout_sctp[16]; /* by enum sctp_state */
	__u32 timeout_udp;
	__u32 timeout_fragment; /* how long the later fragments of a packet are waited for */
	__u32 control_rearm; /* the timeout of an expired template that still controls connections */
	__u32 grace;         /* how long after its expiry an entry may be reused for another flow */
	__u32 expire_lines;  /* lines checked in one turn of the expiry timer */
	__u32 no_dest;       /* all ones: see no_dest() */
	__u32 flow_cache_bits; /* the flow cache has 1 << this lines */
	__u32 flow_cache_mask; /* lines of the flow cache - 1 */
	__u32 second_shift;  /* jiffies >> this: about a second; the lifetime of a cached reply route */
	__u32 epoch_shift;   /* jiffies >> this: four of these, an epoch; the lifetime of a flow cache entry */
	__u32 lblc_expiration;  /* jiffies */
	__u32 lblcr_expiration; /* jiffies */
	__u32 conn_reuse_mode;  /* the sysctl of this name */
	__u32 tuning;           /* enum tuning */
	__u32 error_limit;      /* ICMP errors per second that one CPU may send (RFC 1812, 4.3.2.8) */
	__u32 change_count;     /* changes of services so far; used by user space only */
	__u32 has_mark;       /* there are services on firewall marks */
	__u32 has_mark_rules; /* `mark_rules` is not empty */
	__u32 has_mark_nat;   /* connections have reply tuples: of services on firewall marks, or by EK_NAT_BY_TUPLE */
	__u32 has_inactive;   /* there are inactive services */
	__u32 serve_all;      /* not 0: inactive services are served too: see service/service.h */
	__u64 expire_interval_ns; /* between two turns of the expiry timer */
	__u64 clock_jiffies; /* jiffies when CLOCK_MONOTONIC was clock_ns; user space lists timeouts by them */
	__u64 clock_ns;
};

/* The kernel's sysctls of these names (ipvs-sysctl.rst). */
enum tuning {
	EXPIRE_NODEST_CONN = 1,
	EXPIRE_QUIESCENT_TEMPLATE = 2,
	SLOPPY_TCP = 4,
	SLOPPY_SCTP = 8,
	SECURE_TCP = 16, /* 3: always */
	STANDBY = 32,    /* no sysctl: new connections are left to the kernel, known ones are forwarded */
	SCHEDULE_ICMP = 64,
	NAT_ICMP_SEND = 128,
	NO_PMTU_DISC = 256, /* pmtu_disc=0 */
	CACHE_BYPASS = 512,
};

/*
 * A slot of an open-addressed table: from (address, port, protocol) to a service, or to a NAT server. A firewall mark
 * is stored as an address, with port 0 and protocol 0. family 0: the slot was never used; index 0: it was removed, and
 * probing goes on.
 */
struct endpoint {
	__be32 addr[4];
	__be16 port;
	__u8 protocol;
	__u8 family; /* 4 or 6; of an inactive service EK_INACTIVE more */
	__u32 index; /* service_handle or dest_handle */
	__u32 unused[2];
};

/* To add a scheduler: an enumerator here, and a line of schedulers[] in sched/schedule.h. */
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
	SERVICE_EXTERNAL = 64, /* created by another program than the daemon; used by user space only */
	SERVICE_INACTIVE = 128, /* this host does not serve the address now: see service/service.h */
};

/* What happens to the connections of a removed server. */
enum removal_policy {
	REMOVAL_DROP = 0,   /* their packets are dropped until they expire: IPVS with expire_nodest_conn=0 */
	REMOVAL_DRAIN,      /* they are forwarded for drain_timeout, then treated as by REMOVAL_REJECT */
	REMOVAL_REJECT,     /* their clients get a RST (TCP) or an ICMP port unreachable */
	REMOVAL_RESCHEDULE, /* packets that may create a connection go to another server; others are rejected */
};

/*
 * A service's server list and scheduler table. A service has two halves. User space writes a change into the half that
 * is not in force, then increments service.generation, so that no packet sees a part of a change.
 */
struct service_half {
	__u32 list_base;  /* in `lists`: indices of destinations, newest first, which is the kernel's order */
	__u32 list_len;
	__u32 table_base; /* in `lists`: the table of a scheduler that walks (rr, wrr) or hashes (dh, sh, mh) */
	__u32 table_len;
	__u32 next;  /* steps of the walk so far; the only word here that the program writes */
	__u32 start; /* `next` at the moment when this half came into force */
	__u32 position; /* at that moment: rr: the handle of the last destination; wrr: the current weight (cw) */
	__u32 blocks; /* EK_BLOCK: the list begins at a multiple of it, and results are cached for its blocks */
};

/*
 * The cached result of a scan over EK_BLOCK servers of a list. Its index is the block's position in `lists` / EK_BLOCK.
 *
 * The result holds while `version` is unchanged. The program and user space increment the version after they changed
 * something that a choice depends on; a scan reads the version before it reads the servers. A result that is stored
 * too late therefore has an old version and does not hold.
 */
struct block {
	__u64 best; /* low half: the best destination; twos: the sum of weights; high half: the version of the scan */
	__u32 version;
	__u32 unused;
};

/* The blocks that a destination belongs to, one for each half: the block's index + 1; 0: none. */
struct block_refs {
	__u32 block[2];
};

struct service {
	__be32 addr[4];
	__be16 port;
	__u8 protocol;
	__u8 family;
	__u8 scheduler;
	__u8 removal_policy; /* enum removal_policy */
	__u8 unused0[2];
	__u32 flags;
	__u32 generation; /* the lowest bit is the index of the half in force */
	__be32 persist_mask[4];
	__u32 persist_seconds;
	__u32 persist_timeout; /* jiffies */
	__u32 drain_timeout;   /* jiffies: of REMOVAL_DRAIN */
	__u32 drain_seconds;
	__u32 mark; /* the firewall mark of the packets, which replaces address, port and protocol; 0: none */
	struct service_half half[2];
};

/* The key of `mark_rules`, a longest-prefix match of destination addresses. IPv4 is in ::ffff:0:0/96. */
struct mark_net {
	__u32 prefix;
	__be32 addr[4];
};

/* Packets of a protocol to a range of ports get a firewall mark. */
struct mark_rule {
	__u32 mark; /* 0: there are no more rules */
	__u16 first, last; /* ports, host byte order */
	__u8 protocol; /* 0: any */
	__u8 unused[3];
};

/* The rules of a network: its own and those of the networks that contain it. The first match counts. */
struct mark_rule_set {
	struct mark_rule of[EK_MARK_RULES];
};

enum dest_flags {
	DEST_LIVE = 1,      /* the element is in use */
	DEST_AVAILABLE = 2, /* it is in its service's list; without: it is removed, and still has connections */
};

/* IP_VS_CONN_F_MASQ, _LOCALNODE, _TUNNEL, _DROUTE. */
enum forwarding { FORWARD_NAT = 0, FORWARD_LOCAL = 1, FORWARD_TUN = 2, FORWARD_DR = 3 };

/* IP_VS_CONN_F_TUNNEL_TYPE_* and IP_VS_TUNNEL_ENCAP_FLAG_*. */
enum tunnel { TUNNEL_IPIP = 0, TUNNEL_GUE = 1, TUNNEL_GRE = 2 };
enum tunnel_flags { TUNNEL_CSUM = 1, TUNNEL_REMCSUM = 2 };

#define EK_HOP_VLAN (1u << 27) /* in next_hop.ifindex: the device is a VLAN, whose tags XDP has to push */

struct next_hop {
	__u32 ifindex; /* and EK_HOP_VLAN */
	__u8 dmac[6];
	__u8 smac[6];
};

/* dest.hop: 1 is hops[0], 2 is hops[1]. User space writes the other one, then this word. */
enum hop { HOP_NONE = 0, HOP_LOCAL = 3 };

/* A destination: a real server of a service. */
struct dest {
	/* first cache line: written by user space, read for every packet */
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
	/* second cache line: written by user space, read for NAT and tunnels */
	__be32 addr[4];
	__be32 source[4]; /* the outer source address of tunnelled packets */
	__u32 mtu;        /* path MTU, less the tunnel's overhead; 0: not known */
	__u32 last_weight; /* the last weight other than 0: mh keeps the table entries of a quiesced server */
	dest_handle nat_next; /* the next destination with the same address, port and protocol; or EK_NAT_BY_TUPLE */
	__u32 removed;    /* jiffies: when it was removed from its service */
	__u32 unused0[4];
	/* third cache line: written by the program */
	__u32 active;
	__u32 inactive;
	__u32 persistent;
	__u32 overload;
	__u32 created;  /* connections of TCP and SCTP so far: see conn/answered.h */
	__u32 answered; /* of these: the handshake went on */
	__u32 retried;  /* of these: the client tried again before */
	__u32 unused1[9];
};

struct counters {
	__u64 conns;
	__u64 in_packets;
	__u64 in_bytes; /* of the IP packets */
	__u64 out_packets;
	__u64 out_bytes;
};

/* The kernel's IP_VS_TCP_S_*: `ipvsadm -Lc` and the sync protocol use their numbers. */
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
	CONN_ASSURED = 4,  /* of a template: one of its connections was established */
	CONN_NO_OUTPUT = 8, /* replies do not pass the director: DR, TUN (IP_VS_CONN_F_NOOUTPUT) */
	CONN_AUX = 16,     /* an auxiliary entry (lblc, fragment, reply tuple), which is in no count */
	CONN_ANSWERED = 32, /* counted in dest.answered */
	CONN_RETRIED = 64,  /* counted in dest.retried */
};

/* The kind of an entry: bits 40 to 46 of key1. Bit 47 is KEY_V6. */
enum key_kind {
	KIND_CONN = 1,
	KIND_TEMPLATE = 2,
	KIND_DEAD_TEMPLATE = 3,
	KIND_LBLC = 4,        /* lblc, lblcr: key0 is the packet's destination address, key1 the service */
	KIND_LBLCR_DEST = 5,  /* lblcr: key1 is the service | destination << 14 */
	KIND_FRAGMENT = 6,    /* key0 has the addresses, key1 the packet's identification */
	KIND_REPLY_TUPLE = 7, /* key0 has client and real server, key1 their ports: see conn/reply_tuple.h */
	KIND_LOCAL = 8,       /* of a local client: key0 is the socket's cookie; see local/socket.h */
};

#define KEY_FREE 0ull
#define KEY_BUSY (~0ull)     /* claimed by a CPU that is writing the entry */
#define KEY_TAIL (~0ull - 1) /* the second half of a line that holds one IPv6 entry */
#define KEY_V6 (1ull << 47)

/*
 * An entry of the connection table: a connection, a persistence template, or an auxiliary entry. key1 is also the lock:
 * it is KEY_FREE, KEY_BUSY or a whole key, and only a compare-and-swap changes it from one to another.
 */
struct conn {
	__u64 key0;    /* client address | service address << 32, as in a packet; IPv6: the client's first half */
	__u64 key1;    /* client port | service port << 16 | protocol << 32 | enum key_kind << 40 */
	__u32 dest;    /* index */
	__u32 expires; /* jiffies */
	__u32 status;  /* state | enum conn_flags << 8 | reply route << 16; changed by compare-and-swap as one word */
	__u32 control; /* of a connection: conn_handle of its template; of a template: the number of its connections;
			  of a reply tuple: conn_handle of its connection */
};

/*
 * A cache line of the connection table: two IPv4 entries, or one IPv6 entry, whose second half has the rest of the
 * key.
 */
struct conn_line {
	struct conn entry[2];
};

/* The second half of an IPv6 entry; it has the size of a struct conn. */
struct conn_tail {
	__u64 client; /* its second half */
	__u64 key1;   /* KEY_TAIL */
	__u64 vip[2];
};

/*
 * A cache line of the flow cache: see conn/flow_cache.h. `epoch` is the number of the epoch << 1. A tag is that part
 * of the client's address and port that the line's index does not say. Flows with the tags 0 (a free entry) and
 * EK_FLOW_CACHE_DELETED are never cached.
 */
struct flow_cache_line {
	__u32 epoch;
	__u16 value[EK_FLOW_CACHE_ENTRIES];
	__u32 tag[EK_FLOW_CACHE_ENTRIES];
};

/* A next hop towards clients, found by a route lookup. Connections and caches refer to it by its index + 1. */
struct reply_route {
	struct next_hop hop;
	__u32 taken;
	__u32 mtu; /* path MTU, bytes; 0: not known */
};

#define EK_VLAN_TAGS 2 /* of stacked VLANs */

/*
 * A device that the XDP program is attached to, or a VLAN on one. The table is open-addressed by ifindex. A tag is its
 * Ethertype << 16 | VLAN ID, in host byte order, the outermost one first; 0: none. The tc program does not use it.
 */
struct device {
	__u32 ifindex;
	__u8 mac[6];
	__u16 sends_xdp; /* XDP programs of other devices can send by it, or by the lower device */
	__u32 lower; /* of a VLAN: the device whose frames have its tags */
	__u32 tags[EK_VLAN_TAGS];
};

/* The key of `vlans`. */
struct vlan_key {
	__u32 ifindex; /* the ingress device */
	__u32 tags[EK_VLAN_TAGS];
};

/*
 * Why a packet was forwarded, passed to the kernel or dropped. `packet_counters` has one counter for each. What happens
 * to the packet is its verdict: see lib/outcome.h.
 */
enum reason {
	REASON_NOT_OURS = 0,   /* no service matches; not counted, so that it costs nothing */
	REASON_FORWARDED = 1,
	REASON_REPLIED,        /* a reply of a NAT server, translated back */
	REASON_LOCAL,          /* the real server is this director: passed */
	REASON_FRAGMENT,       /* a later fragment whose first fragment was not seen: passed */
	REASON_NO_CONN,        /* no connection, and the packet may not create one: passed; TCP gets a RST */
	REASON_NO_SERVER,      /* no real server is available: rejected */
	REASON_DEST_UNAVAILABLE, /* the real server was removed: dropped, as IPVS does with expire_nodest_conn=0 */
	REASON_NO_NEXT_HOP,    /* the real server's MAC address is not known: dropped */
	REASON_TTL,            /* the TTL expired: dropped, and the sender gets an ICMP error */
	REASON_TABLE_FULL,     /* forwarded by hash, without an entry */
	REASON_INSERT_RACE,    /* two CPUs inserted the same connection; the second entry was removed */
	REASON_NO_HEADROOM,    /* the driver leaves no headroom for a tunnel's header or a VLAN's tags: dropped */
	REASON_NO_ROUTE,       /* the kernel has no route for a reply: dropped */
	REASON_TOO_BIG,        /* larger than the path MTU: dropped, and the sender gets an ICMP error */
	REASON_ICMP,           /* an ICMP error, forwarded to the side that it concerns */
	REASON_DRAINED,        /* forwarded to a removed server that is drained */
	REASON_REJECTED,       /* the real server was removed: the client gets a RST or an ICMP error */
	REASON_STANDBY,        /* of no known connection, while new ones are left to the kernel: passed */
	REASON_CACHE_BYPASS,   /* no real server is available: passed, and routed to its destination (cache_bypass) */
	REASON_UNEXPECTED_REPLY, /* a NAT server's packet without a connection: rejected (nat_icmp_send) */
	REASON_EVICTED,        /* a new connection took the slot of a half-open one in a full bucket */
	REASON_MARTIAN,        /* the source names no single other host, and there is no connection: dropped */
	REASON_BAD_HEADER,     /* its headers are not valid: dropped; or its IPv4 options are the kernel's business: passed */
	REASONS,
};

struct expire_state {
	struct bpf_timer timer;
	__u32 cursor; /* the next line */
	__u32 turns;
	__u64 freed;
};

#endif
