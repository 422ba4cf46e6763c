/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Small helpers of every file: memory access, time, addresses. */
#ifndef EVENKEEL_COMMON_H
#define EVENKEEL_COMMON_H

#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))

#define NO_DEST (~0u) /* no destination's index */

/* Has the time `when` come? */
static __always_inline int is_past(__u32 when, __u32 now)
{
	return (__s32)(now - when) >= 0;
}

/* Jiffies to units of about a second. */
static __always_inline __u32 to_seconds(__u32 jiffies)
{
	return jiffies >> (settings.second_shift & 31);
}

/* Eight bytes of an IPv6 address. */
static __always_inline __u64 addr_words(const __be32 *w)
{
	return (__u64)w[0] | (__u64)w[1] << 32;
}

static __always_inline struct service *service_at(__u32 index)
{
	return bpf_map_lookup_elem(&services, &index);
}

static __always_inline struct service *service_get(service_handle service)
{
	return service ? service_at(service - 1) : 0;
}

static __always_inline struct dest *dest_at(__u32 index)
{
	return bpf_map_lookup_elem(&dests, &index);
}

#endif
