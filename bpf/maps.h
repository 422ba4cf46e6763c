/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The maps: who writes and who reads each, and why it has its size. All of them are pinned, so that they outlive every
 * process.
 */
#ifndef EVENKEEL_MAPS_H
#define EVENKEEL_MAPS_H

/*
 * A static table: the one value of a map. Its address is a constant in the program, so that an index leads to an
 * element without a map lookup. Only for what user space alone writes: two versions of the program that run side by
 * side during an upgrade must share what the program writes, and may each have their own copy of such a table. The
 * name may have ten letters, since the skeleton cuts the section's name at 15.
 */
#define TABLE(name) SEC(".bss." #name)

/*
 * The element of a static table; 0 if the index is out of range. The verifier requires that the index is in one
 * register, and that its test comes before the address.
 */
#define TABLE_GET(table, index)                                              \
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

/* The same for a table of 2^n elements, of whose index only the last n bits count. */
#define TABLE_GET_MASKED(table, index)                                       \
	({                                                                   \
		__u64 at_ = (index);                                         \
		asm volatile("" : "+r"(at_));                                \
		&(table)[at_ & (sizeof(table) / sizeof((table)[0]) - 1)];    \
	})

/* User space writes, the program reads. */
struct settings settings TABLE(settings);

/* User space writes, the program reads: (address, port, protocol) to a service. */
struct endpoint endpoints[EK_SERVICE_SLOTS] TABLE(endpoints);

/* User space writes, the program reads: the source of a NAT server's replies to a destination. */
struct endpoint nat_dests[EK_NAT_SLOTS] TABLE(nat_dests);

/* The program writes and reads: see route_cache_lookup(). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EK_ROUTE_CACHE);
	__type(key, __u32);
	__type(value, __u64);
} route_cache SEC(".maps");

/* The program writes and reads: destinations of flows without an entry, see conn/stateless.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EK_FLOW_CLASSES);
	__type(key, __u32);
	__type(value, __u64);
} flow_classes SEC(".maps");

/* User space writes, the program reads: the firewall marks of destination addresses. */
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

/* User space writes, the program reads; the program writes only service_half.next. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, EK_MAX_SERVICES);
	__type(key, __u32);
	__type(value, struct service);
} services SEC(".maps");

/* User space writes the first two cache lines of an element, the program writes the third. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, EK_MAX_DESTS);
	__type(key, __u32);
	__type(value, struct dest);
} dests SEC(".maps");

/* User space writes, the program reads: server lists and scheduler tables, allocated in ranges. */
__u32 lists[EK_LIST_WORDS] TABLE(lists);

/* The program writes results; the program and user space increment versions. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, EK_LIST_WORDS / EK_BLOCK);
	__type(key, __u32);
	__type(value, struct block);
} blocks SEC(".maps");

/*
 * User space writes, the program reads; by destination. It is no part of struct dest, so that two versions of the
 * program can share destinations.
 */
struct block_refs block_refs[EK_MAX_DESTS] TABLE(block_refs);

/* The program writes; user space reads by mapping it. The loader sets the size, a power of two of lines. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct conn_line);
} conns SEC(".maps");

/*
 * The program writes and reads: the overflow bits, one for each line of the connection table. The bit of a line is
 * set before an entry that belongs to this line, or to a line before it, is stored behind it. A lookup ends at a line
 * without the bit: lines are 64 bytes and mostly not cached, and nearly every new connection looks for an entry that
 * does not exist. Bits are never cleared; the cost is a longer lookup where the table was full once.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 8); /* the loader sets it: lines / 64 */
	__type(key, __u32);
	__type(value, __u64);
} conn_overflow SEC(".maps");

/*
 * The program writes and reads, user space clears. The loader sets the size: a line for every eight lines of
 * connections.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, EK_FLOW_CACHE_MIN_LINES);
	__type(key, __u32);
	__type(value, struct flow_cache_line);
} flow_cache SEC(".maps");

/* User space writes, the XDP program reads. */
struct device devices[EK_DEVICES] TABLE(devices);

/* User space writes, the XDP program reads: the VLAN device of a frame with tags. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, EK_DEVICES);
	__type(key, struct vlan_key);
	__type(value, __u32);
} vlans SEC(".maps");

/* The program writes, each CPU its own counters; user space reads and adds them up. */
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

/* By enum reason. */
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
