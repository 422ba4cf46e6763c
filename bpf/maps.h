/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Every map: who writes, who reads, why this size. All of them are pinned, so that they outlive every process. */
#ifndef EVENKEEL_MAPS_H
#define EVENKEEL_MAPS_H

/*
 * A table is the one value of a map: its address is a constant in the program, and no look-up stands between an index and its
 * element. Only for what user space alone writes: an upgrade may copy such a map, where two programs have to share others.
 */
#define TABLE(name) SEC(".bss." #name)

/*
 * An element of a table; 0 if it has none of this index. The verifier wants to see the index in one register, and the test before
 * the address.
 */
#define TABLE_GET(table, index)                                                     \
	({                                                                   \
		__u64 at_ = (index);                                         \
		typeof(&(table)[0]) element_ = 0;                            \
		asm volatile("" : "+r"(at_));                                \
		if (at_ < sizeof(table) / sizeof((table)[0])) {              \
			asm volatile("" : "+r"(at_));                        \
			element_ = &(table)[at_];                            \
		}                                                            \
		element_;                                                    \
	})

/* The same of a table of 2^n elements, of whose index the last n bits count. */
#define TABLE_GET_MASKED(table, index)                                                \
	({                                                                   \
		__u64 at_ = (index);                                         \
		asm volatile("" : "+r"(at_));                                \
		&(table)[at_ & (sizeof(table) / sizeof((table)[0]) - 1)];    \
	})

/* User space writes, the program reads. */
struct settings settings TABLE(settings);

/* User space writes, the program reads: (address, port, protocol) -> service. */
struct endpoint endpoints[EK_SERVICE_SLOTS] TABLE(endpoints); /* a section's name has 15 characters at most */

/* User space writes, the program reads: a real server behind NAT, as its answers name it -> destination. */
struct endpoint nat_dests[EK_NAT_SLOTS] TABLE(nat_dests);

/* The program writes and reads: see route_known(). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EK_ROUTE_CACHE);
	__type(key, __u32);
	__type(value, __u64);
} route_cache SEC(".maps");

/* The program writes and reads: where flows without an entry go, see crowded.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EK_FLOW_CLASSES);
	__type(key, __u32);
	__type(value, __u64);
} flow_classes SEC(".maps");

/* User space writes, the program reads: the firewall marks of addresses. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, EK_MARK_NETS);
	__type(key, struct mark_net);
	__type(value, struct mark_rule_set);
} mark_rules SEC(".maps");

/* The program writes and reads: next hops towards clients. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, EK_REPLY_ROUTES);
	__type(key, __u32);
	__type(value, struct reply_route);
} reply_routes SEC(".maps");

/* User space writes; the program writes only service_half.next. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, EK_MAX_SERVICES);
	__type(key, __u32);
	__type(value, struct service);
} services SEC(".maps");

/* User space writes each entry's first two lines, the program the third. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, EK_MAX_DESTS);
	__type(key, __u32);
	__type(value, struct dest);
} dests SEC(".maps");

/* User space writes: server lists and tables, handed out in ranges. */
__u32 lists[EK_LIST_WORDS] TABLE(lists);

/* The program writes what is best, both raise versions. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, EK_LIST_WORDS / EK_BLOCK);
	__type(key, __u32);
	__type(value, struct block);
} blocks SEC(".maps");

/* User space writes: by destination. Not a part of it, so that two versions of the program can share destinations. */
struct block_refs block_refs[EK_MAX_DESTS] TABLE(block_refs);

/* The program writes; user space reads by mapping it. The loader sets the size (a power of two of lines). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct conn_line);
} conns SEC(".maps");

/*
 * The program writes and reads: a bit for each line of the connection table, set once an entry that belongs to it, or to
 * a line before it, was put behind it. A look that meets a line without the bit need not go on: the lines of a bucket are
 * 64 bytes each and cold, and nearly every new connection looks for an entry that is not there. The bits are never taken
 * back: the price of that is a longer look where the table was full once.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 8); /* the loader sets it: lines / 64 */
	__type(key, __u32);
	__type(value, __u64);
} conn_overflow SEC(".maps");

/* The program writes and reads, user space clears. The loader sets the size: a line for every eight of connections. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, EK_FLOW_CACHE_MIN_LINES);
	__type(key, __u32);
	__type(value, struct flow_cache_line);
} flow_cache SEC(".maps");

/* User space writes, the XDP program reads. */
struct device devices[EK_DEVICES] TABLE(devices);

/* User space writes, the XDP program reads: VLANs by the tags of their frames. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, EK_DEVICES);
	__type(key, struct vlan_key);
	__type(value, __u32);
} vlans SEC(".maps");

/* The program counts on each CPU by itself; user space adds up. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EK_MAX_SERVICES);
	__type(key, __u32);
	__type(value, struct counters);
} service_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EK_MAX_DESTS);
	__type(key, __u32);
	__type(value, struct counters);
} dest_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, __u64);
} packet_counters SEC(".maps");

/* The one timer that frees expired connections, with or without a daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct expire_state);
} expiry SEC(".maps");

#endif
