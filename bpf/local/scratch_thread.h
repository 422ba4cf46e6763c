/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Scratch memory of a thread: see lib/scratch.h. A program of local clients begins with scratch_claim() and ends with
 * scratch_release().
 */
#ifndef EVENKEEL_SCRATCH_THREAD_H
#define EVENKEEL_SCRATCH_THREAD_H

#define EVENKEEL_SCRATCH_THREAD

#include "../lib/scratch.h"

#define MAX_THREADS 8192 /* that connect or send at the same moment */

static const struct scratch scratch_zero;

/* By thread ID. A thread runs one program at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_THREADS);
	__type(key, __u32);
	__type(value, struct scratch);
} thread_scratch SEC(".maps");

static __always_inline struct scratch *scratch_get(void)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid();
	return bpf_map_lookup_elem(&thread_scratch, &thread);
}

static __always_inline struct scratch *scratch_claim(void)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid();
	if (bpf_map_update_elem(&thread_scratch, &thread, &scratch_zero, BPF_ANY))
		return 0;
	return bpf_map_lookup_elem(&thread_scratch, &thread);
}

static __always_inline void scratch_release(void)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid();
	bpf_map_delete_elem(&thread_scratch, &thread);
}

#endif
