/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The schedulers: which real server gets a new connection. One table says how each of them chooses. To add a
 * scheduler: a line of the table, and an enumerator of enum scheduler in abi.h; to add a kind of choice: a file here,
 * and a case in schedule(). crates/core/src/schedulers has a reference model of all of them.
 */
#ifndef EVENKEEL_SCHEDULE_H
#define EVENKEEL_SCHEDULE_H

enum sched_kind {
	SCHED_KIND_NONE, /* no choice: only persistence templates have servers */
	SCHED_KIND_WALK,
	SCHED_KIND_SCAN, /* by a rule */
	SCHED_KIND_HASH,
	SCHED_KIND_TWOS,
	SCHED_KIND_LBLC,
	SCHED_KIND_LBLCR,
};

struct sched_info {
	__u16 kind; /* enum sched_kind */
	__u16 rule; /* of SCHED_KIND_SCAN: enum rule */
};

static const struct sched_info schedulers[16] = {
	[SCHED_RR] = { SCHED_KIND_WALK },
	[SCHED_WRR] = { SCHED_KIND_WALK },
	[SCHED_LC] = { SCHED_KIND_SCAN, RULE_LC },
	[SCHED_WLC] = { SCHED_KIND_SCAN, RULE_WLC },
	[SCHED_SED] = { SCHED_KIND_SCAN, RULE_SED },
	[SCHED_NQ] = { SCHED_KIND_SCAN, RULE_NQ },
	[SCHED_FO] = { SCHED_KIND_SCAN, RULE_FO },
	[SCHED_OVF] = { SCHED_KIND_SCAN, RULE_OVF },
	[SCHED_DH] = { SCHED_KIND_HASH },
	[SCHED_SH] = { SCHED_KIND_HASH },
	[SCHED_MH] = { SCHED_KIND_HASH },
	[SCHED_TWOS] = { SCHED_KIND_TWOS },
	[SCHED_LBLC] = { SCHED_KIND_LBLC },
	[SCHED_LBLCR] = { SCHED_KIND_LBLCR },
	[SCHED_NONE] = { SCHED_KIND_NONE },
};

static __always_inline __u32 sched_kind(__u32 scheduler)
{
	return schedulers[scheduler & 15].kind;
}

/* It makes the same choice for every packet of a flow. */
static __always_inline int is_hash_scheduler(__u32 scheduler)
{
	return sched_kind(scheduler) == SCHED_KIND_HASH;
}

/* It makes another choice for a flow's next packet, so that the flow needs an entry. */
static __always_inline int needs_entries(__u32 scheduler)
{
	__u32 kind = sched_kind(scheduler);
	return kind != SCHED_KIND_HASH && kind != SCHED_KIND_NONE;
}

/* The destination of a new connection; NO_DEST if no server is available. */
__noinline __u32 schedule(const struct sched_request *r)
{
	struct service *s = r ? service_at(r->service) : 0;
	if (!s)
		return NO_DEST;
	const struct sched_info *info = &schedulers[s->scheduler & 15];
	switch (info->kind) {
	case SCHED_KIND_WALK:
		return schedule_walk(r->service);
	case SCHED_KIND_SCAN:
		return schedule_scan(r->service, info->rule);
	case SCHED_KIND_HASH:
		return schedule_hash(r);
	case SCHED_KIND_TWOS:
		return schedule_twos(r->service);
	case SCHED_KIND_LBLC:
		return schedule_lblc(r->service, r->target);
	case SCHED_KIND_LBLCR:
		return schedule_lblcr(r->service, r->target);
	default:
		return NO_DEST;
	}
}

#endif
