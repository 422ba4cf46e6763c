//! Every diagnostic's code with what it means and how to mend it: what `evenkeel explain CODE` prints.

/// A code and its explanation.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// As it stands in brackets behind `error` or `warning`.
    pub name: &'static str,
    /// What it means, why it matters, how to mend it.
    pub text: &'static str,
}

const fn code(name: &'static str, text: &'static str) -> Code {
    Code { name, text }
}

/// The code of this name.
pub fn find(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|c| c.name == name)
}

/// All of them, in alphabetical order.
#[rustfmt::skip]
pub const CODES: &[Code] = &[
    code("advert-int", "The advert interval does not fit the protocol's version. VRRPv2 (RFC 3768, 5.3.7) counts whole seconds, 1 to 255. \
        VRRPv3 (RFC 9568, 5.2.7) counts hundredths, up to 40.95 s. Write `version 3` on every director for intervals under a second."),
    code(
        "auth-ah",
        "The authentication header counts its packets, and a director that begins as master would send numbers that others \
         have seen (RFC 2402, 3.3.2).",
    ),
    code("auth-length", "Only the first eight characters of a VRRPv2 password are sent (RFC 2338, 5.3.6.2). Directors whose passwords \
        begin alike agree, whatever follows."),
    code("auth-v3", "VRRPv3 has no authentication (RFC 9568, 9): the block has no effect. Filter protocol 112 at the edge of the link instead."),
    code("bad-key", "A key of `auth_hmac` is 32 to 64 bytes long: as text, as `hex:` and digits, or in a file as `file:PATH`."),
    code("bad-random", "`${_RANDOM}` takes nothing, a lowest number, or a lowest and a highest one."),
    code("bad-repetition", "`~SEQ(NAME, [[FIRST,] STEP,] LAST) LINE` repeats the rest of its line with NAME as each number, `~SEQx` in \
        hexadecimal; `~LST(NAME, VALUE…) LINE` and `~LST({A,B}, {1,2}, {3,4}) LINE` with each value. The step must lead to the last number."),
    code("byte-order-mark", "Some editors begin a file with the bytes EF BB BF. They are skipped here; keepalived reads them as text."),
    code("deprecated", "An old name of a keyword. It works; `keepalived -t` exits with 5 for it. Write the new name."),
    code("down-delay", "A director whose interface goes down waits this long before it says so. If that is longer than the backup waits for \
        adverts, the backup takes over first, and when the interface comes back there are two masters for a moment."),
    code("dr-port", "With direct routing and tunnels the real server gets the client's packet as it is, with the port of the service. A port of its \
        own is not used. Give the real server the service's port, or forward by NAT."),
    code("duplicate", "The same thing is defined twice. The note points at the first definition; the second is left out."),
    code("duplicate-vip", "Two instances hold one address on one device. When both are master they fight over it."),
    code("duplicate-vrid", "Two instances on one link have the same `virtual_router_id`. Each would take the other's adverts for its own peer's \
        (RFC 9568, 5.2.3). Every virtual router on a link, those of other machines too, needs a number of its own."),
    code("encap", "A route can put its packets into something else: `encap ip` or `ip6` with `dst` or `id`, `encap mpls LABEL/LABEL`, \
        `encap ila LOCATOR`, as ip-route(8) has them. `as` swaps labels of MPLS routes, and is ignored here and in keepalived."),
    code("expansion-limit", "`~SEQ`, `~LST`, definitions or includes make more than this reads: 1,000,000 lines, 1 MiB on one line, 32 levels, or \
        256 MiB. Most often a definition names itself, directly or through another."),
    code("extra-words", "Words behind an argument that nobody reads, here or in keepalived. Each keyword stands on a line of its own."),
    code("family", "IPv4 and IPv6 are mixed where only one can be. An instance speaks for one family, which its first virtual address decides; \
        addresses of the other go into `virtual_ipaddress_excluded`. A service and its real servers are of one family, unless it forwards by TUN."),
    code("fwmark", "A service on a firewall mark takes whatever carries the mark, of any protocol. Our own packet path gives packets their marks itself, by `member` lines; it sees marks that others have given only in tc, and only if they were given before. The kernel's IPVS sees the marks of netfilter."),
    code("hmac-peers", "The bytes that keepalived 2.4 takes the MAC of `auth_hmac` over are not known here. Signed adverts of evenkeel and of keepalived have one \
        form, and each takes the other's for forged: both would be master. `mode receive-only` or `permissive` on all directors is no way around it, as signatures that are there are checked."),
    code("include-loop", "A file includes itself, directly or through another."),
    code("include-missing", "No file has this name, or none matches this pattern. What it should hold is missing. Plain `include` only tells; \
        `includem`, `includew`, `includeb`, `includea` and `include_check` make it an error, and keepalived exits with 6."),
    code("include-unreadable", "The file is there and cannot be read. Directories, executable files and what is no regular file are not read at all."),
    code("ipvlan", "An ipvlan shares its parent's MAC address; to send IPv4 adverts it needs an address of its own."),
    code("label-length", "The label of an address is the name of an alias: at most 15 characters."),
    code("link-local", "An address of fe80::/10 is the same on every link (RFC 4291, 2.5.6): `bind_if` says which is meant."),
    code("loopback", "VRRP speaks to other machines; on a loopback interface there are none."),
    code("mail-login", "`smtp_login` needs `smtp_tls`: a password is never sent in the clear."),
    code("mail-nobody", "`smtp_server` without `notification_email`: no mail is sent."),
    code("max-hops", "`max_hops` is how far the TTL of a BFD packet may have fallen; more than the TTL itself makes no sense."),
    code("missing-argument", "The keyword needs an argument. keepalived exits at once with status 2 for most of these."),
    code("missing-block", "The keyword opens a block, and no `{` stands behind it or on the next line."),
    code("missing-brace", "A block is not closed before its file ends, or before a block that stands only at the top level."),
    code("missing-keyword", "A block lacks a keyword without which it means nothing."),
    code("name-length", "The name is too long."),
    code("never-in-force", "A keyword of keepalived's that does nothing here, on purpose; docs/configuration.md says why."),
    code("no-members", "A group without members is left out."),
    code("no-peer", "Unicast is asked for, and no peer is named. keepalived falls back to multicast."),
    code("no-real-server", "A virtual server without real servers is left out."),
    code("no-vip", "Nothing moves when this instance fails over. If that is meant, write `no_virtual_ipaddress`."),
    code("nopreempt", "`nopreempt` needs `state BACKUP` on every director, and goes with no address owner: an owner always takes over."),
    code("not-a-boolean", "Expected on, off, true, false, yes or no, in small letters."),
    code("not-a-digest", "A digest is the MD5 of a page in 32 hexadecimal digits."),
    code("not-a-domain", "Labels of 1 to 63 characters with dots between them, 253 in all (RFC 1035, 2.3.4)."),
    code("not-a-mac", "A MAC address of five or six bytes, unicast, and none of those that VRRP takes for itself (RFC 9568, 7.3)."),
    code("not-a-netmask", "Ones, then zeros, as 255.255.255.0."),
    code("not-a-number", "Expected a number: decimal digits. `0x10`, `1e3`, `10s` and `1,5` are none."),
    code("not-a-path", "Expected an absolute path: one that begins with `/`."),
    code("not-a-prefix", "A prefix length is 0 to 32 for IPv4, 0 to 128 for IPv6."),
    code("not-a-status", "HTTP status codes are 100 to 999, alone or as ranges."),
    code("not-an-address", "Expected an address, as 192.0.2.1 or 2001:db8::1. Names are not resolved here, and a port is a word of its own."),
    code("not-an-interface", "The name of a network interface has 1 to 15 characters, without `/` and `:`."),
    code("not-hex", "An even number of hexadecimal digits."),
    code("not-in-force", "A keyword of keepalived's that this version reads, checks and keeps, and does not act on yet. Told once."),
    code("not-supported", "This version cannot do it yet, and to go on without it would do harm: a service that forwards nothing, or two masters. \
        The file is not taken. `evenkeeld -t` says what keepalived says, and accepts it."),
    code("nul-byte", "A NUL byte in a line: the file is damaged, or no text. The line is left out."),
    code("off-link", "Direct routing changes only the frame's destination, so the real server must be on a link of the director's."),
    code("one-member", "A sync group keeps several instances in one state; with one there is nothing to keep."),
    code("ops", "One-packet scheduling treats each packet as a connection of its own, which only UDP survives."),
    code("out-of-range", "The number is outside the range of its keyword; keepalived keeps the default."),
    code("own-interface", "An instance tracks its own interface in any case, unless `dont_track_primary` is set."),
    code("port-zero", "A service without a port takes every port, and only persistence keeps a client's connections together then."),
    code("preempt-delay", "`preempt_delay` is for a backup that takes over from a living master of lower priority; with state MASTER or nopreempt it \
        never does."),
    code("quorum", "The live weight that is asked for can never be there."),
    code("regex", "An expression as PCRE2 has it. keepalived takes a wrong one in silence; no page would match it, so that it is refused here."),
    code("reply-length", "`min_reply_length` is above `max_reply_length` (255 if none is written)."),
    code("rule-preference", "The kernel puts a rule without a preference somewhere before the others; two directors may differ."),
    code("scheduler-flag", "The flag belongs to another scheduler, and has no effect with this one."),
    code("script-missing", "The script is not there, is no program, or may not be run. keepalived disables tracked scripts of this kind, and finds out \
        about the others when it needs them."),
    code("script-quotes", "A script is one word, or a quoted string with its arguments; what follows is the user and the group that run it."),
    code("script-security", "Without `enable_script_security` nothing makes sure that only root can change what runs as root. `keepalived -t` exits \
        with 6."),
    code("script-timeout", "No second run starts while one is going on, so the interval is longer than written."),
    code("script-unsafe", "A part of the path belongs to, or may be written by, somebody else than root, who so could run what they like as root."),
    code("script-user", "With `enable_script_security`, and neither `script_user` nor a user keepalived_script, nobody may run a script."),
    code("strict", "Strict mode allows what the RFCs know and nothing else."),
    code("thresholds", "A real server is full at `uthreshold` connections until it has fewer than `lthreshold`; that must be less."),
    code("too-many-decimals", "Times are kept in microseconds."),
    code("too-many-findings", "Most often one mistake that a repetition or a missing brace multiplies: mend the first ones and check again."),
    code("too-many-vips", "An advert counts its addresses in one byte (RFC 9568, 5.2.5). keepalived moves the rest to the excluded ones."),
    code("tunnel-port", "GUE runs over UDP and needs its port; the other tunnels have none."),
    code("undefined-group", "`virtual_server group NAME` needs a `virtual_server_group NAME { … }`."),
    code("undefined-key", "`active_key` names none of the keys of its block."),
    code("undefined-name", "`${NAME}` is replaced only if `$NAME=value` stands somewhere above. What is not replaced stays, and keepalived then trips \
        over the braces."),
    code("undefined-name-tracked", "What is tracked is not defined in this file."),
    code("undefined-script", "`track_script` names a `vrrp_script NAME { … }` of the same file."),
    code("unexpected-brace", "A brace that fits nowhere: an extra `}`, or a block behind a keyword that has none."),
    code("unknown-instance", "A group names an instance that the file does not define."),
    code("unknown-interface", "The machine that checks the file has no such interface. On a director that is a mistake, unless it comes later: then \
        write `dynamic_interfaces` in global_defs."),
    code("unknown-keyword", "No keyword of this block. keepalived reports it and goes on, and a misspelt block takes the rest of the block around it \
        along. `evenkeel explain` lists all keywords."),
    code("unknown-user", "The machine that checks the file has no such user or group."),
    code("unknown-value", "The keyword takes one of a few words."),
    code("unknown-word", "A word that has no meaning where it stands."),
    code("unreadable-file", "A file that the configuration names cannot be read."),
    code("unterminated-string", "A quoted string ends on its line. A backslash takes the meaning of a quote inside it."),
    code("untracked-route", "A route is tracked by its interface. One without, a multipath route or a blackhole, is installed and not watched."),
    code("unused-script", "A script that nobody tracks is not run."),
    code("version", "VRRPv2 (RFC 3768) knows only IPv4."),
    code("vip-not-held", "No instance of this file holds the service's address, so its packets come here only by other means."),
    code("vip-prefix", "An address without a prefix length is put on as /32 (or /128): the right thing beside an address of the same network, the \
        wrong one if the director has no other."),
    code("vmac", "The keyword needs `use_vmac`."),
    code("vrf", "`vrf` names the VRF of an instance that has unicast peers and no interface."),
    code("weight-in-group", "Members of a sync group have one state, so weights that move the priority of one of them are ignored unless the group has \
        `sync_group_tracking_weight`."),
];
