/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * VLANs under XDP (IEEE 802.1Q). Drivers hand over frames with their tags. If a frame belongs to a VLAN of this
 * director, its tags are popped, and the pipeline handles it as a frame of the VLAN's device. At the end the tags of
 * the egress device are pushed. In tc the network stack does both.
 */
#ifndef EVENKEEL_VLAN_H
#define EVENKEEL_VLAN_H

/*
 * The slow path's result for a frame: an action of XDP, and for XDP_TX the egress device << ACTION_BITS; 0 is the
 * ingress device. EK_HOP_VLAN is set if the device is a VLAN.
 */
#define ACTION_BITS 4

static __always_inline struct device *device_at(__u32 ifindex)
{
#pragma unroll
	for (int i = 0; i < EK_DEVICE_PROBES; i++) {
		struct device *dev = TABLE_GET_MASKED(devices, ifindex + i);
		if (!dev->ifindex)
			return 0;
		if (dev->ifindex == ifindex)
			return dev;
	}
	return 0;
}

/*
 * Is the frame addressed to this device? Frames for other hosts arrive where a switch floods or the device is
 * promiscuous; they must not be forwarded twice.
 */
static __always_inline int is_own_frame(__u32 ifindex, void *frame)
{
	struct device *dev = device_at(ifindex);
	return dev && *(__u32 *)dev->mac == *(__u32 *)frame && *(__u16 *)(dev->mac + 4) == *(__u16 *)(frame + 4);
}

static __always_inline int is_vlan_tag(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD);
}

/* A tag in struct device's form, without priority (three bits) and drop eligibility. */
static __always_inline __u32 vlan_tag(__be16 proto, __be16 control)
{
	return (__u32)bpf_ntohs(proto) << 16 | (bpf_ntohs(control) & 0xfff);
}

/* The device that received a packet; its VLAN if it had tags. */
static __always_inline __u32 ingress_device(struct xdp_md *ctx, struct packet *p)
{
	__u32 in = ctx->ingress_ifindex;
	/* or else the compiler chooses between two addresses, one of them in the context, which the verifier rejects */
	asm volatile("" : "+r"(in));
	if (!p->vlan)
		return in;
	struct scratch *scratch = scratch_get();
	return scratch ? scratch->vlan.ifindex : 0;
}

/* Pops the tags of a frame of a known VLAN. 0: the frame has no tags, or those of no known VLAN, and is unchanged. */
static __noinline int vlan_pop(struct xdp_md *ctx)
{
	struct scratch *scratch = scratch_get();
	struct ethhdr *eth = (void *)(long)ctx->data;
	__be16 *word = (void *)eth + 12; /* Ethertype, control, Ethertype, control, Ethertype */
	if (!scratch || (void *)(word + 3) > (void *)(long)ctx->data_end || !is_vlan_tag(word[0]))
		return 0;
	struct vlan_key key = { .ifindex = ctx->ingress_ifindex, .tags = { vlan_tag(word[0], word[1]) } };
	__u32 count = 1;
	scratch->vlan.tags[0] = word[0];
	scratch->vlan.tags[1] = word[1];
	if (is_vlan_tag(word[2])) {
		if ((void *)(word + 5) > (void *)(long)ctx->data_end)
			return 0;
		key.tags[1] = vlan_tag(word[2], word[3]);
		scratch->vlan.tags[2] = word[2];
		scratch->vlan.tags[3] = word[3];
		count = 2;
	}
	__u32 *vlan = bpf_map_lookup_elem(&vlans, &key);
	if (!vlan)
		return 0;
	scratch->vlan.count = count;
	scratch->vlan.ifindex = *vlan;
	struct ethhdr was = *eth;
	if (bpf_xdp_adjust_head(ctx, count * 4))
		return 0;
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return 0;
	__builtin_memcpy(eth, &was, 12); /* the Ethertype is the one after the tags */
	return 1;
}

/* Pushes tags before the Ethertype. 0 on success, -1 without headroom. */
static __always_inline int vlan_push(struct xdp_md *ctx, const __be16 *tags, __u32 count)
{
	struct ethhdr *eth = (void *)(long)ctx->data, was;
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return -1;
	was = *eth;
	if (bpf_xdp_adjust_head(ctx, count == 2 ? -8 : -4))
		return -1;
	eth = (void *)(long)ctx->data;
	__be16 *to = (void *)eth + 12;
	if ((void *)(to + 5) > (void *)(long)ctx->data_end)
		return -1;
	__builtin_memcpy(eth, &was, 12);
	to[0] = tags[0];
	to[1] = tags[1];
	if (count == 2) {
		to[2] = tags[2];
		to[3] = tags[3];
	}
	/* the Ethertype itself has not moved */
	return 0;
}

/* xdp_finish() for frames from a VLAN or to one. */
static __noinline int xdp_finish_vlan(struct xdp_md *ctx, struct packet *p, __u32 result)
{
	__u32 action = result & ((1 << ACTION_BITS) - 1), out = result >> ACTION_BITS & ~EK_HOP_VLAN;
	struct scratch *scratch = scratch_get();
	if (!scratch || action == XDP_DROP)
		return XDP_DROP;
	if (action != XDP_TX) {
		if (p->vlan && vlan_push(ctx, scratch->vlan.tags, scratch->vlan.count))
			return XDP_DROP;
		return action;
	}
	out = out ? out : ingress_device(ctx, p);
	struct device *to = device_at(out);
	if (to && to->lower) {
		__be16 tags[2 * EK_VLAN_TAGS] = {
			bpf_htons(to->tags[0] >> 16), bpf_htons(to->tags[0]),
			bpf_htons(to->tags[1] >> 16), bpf_htons(to->tags[1]),
		};
		if (vlan_push(ctx, tags, to->tags[1] ? 2 : 1)) {
			count_reason(REASON_NO_HEADROOM);
			return XDP_DROP;
		}
		out = to->lower;
	}
	return out == ctx->ingress_ifindex ? XDP_TX : bpf_redirect(out, 0);
}

/* Turns the slow path's result into an action of XDP. */
static __always_inline int xdp_finish(struct xdp_md *ctx, struct packet *p, __u32 result)
{
	__u32 out = result >> ACTION_BITS;
	if (p->vlan || (out & EK_HOP_VLAN))
		return xdp_finish_vlan(ctx, p, result);
	if ((result & ((1 << ACTION_BITS) - 1)) != XDP_TX || !out || out == ctx->ingress_ifindex)
		return result & ((1 << ACTION_BITS) - 1);
	return bpf_redirect(out, 0);
}

/* The result that sends a frame by a device; 0: by the ingress device. */
static __always_inline __u32 xdp_send(__u32 ifindex)
{
	return XDP_TX | ifindex << ACTION_BITS;
}

#endif
