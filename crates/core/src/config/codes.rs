//! The codes of diagnostics, each with its meaning, its consequence and its remedy: what `evenkeel explain CODE`
//! prints.

/// A code and its explanation.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// The code, as diagnostics show it in brackets after `error` or `warning`.
    pub name: &'static str,
    /// The explanation.
    pub text: &'static str,
}

const fn code(name: &'static str, text: &'static str) -> Code {
    Code { name, text }
}

/// Finds a code by its name.
pub fn find(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|c| c.name == name)
}

/// All codes, in alphabetical order.
#[rustfmt::skip]
pub const CODES: &[Code] = &[
    code("advert-int", "The advertisement interval does not fit the protocol version. VRRPv2 (RFC 3768, 5.3.7) uses whole seconds, 1 to 255. \
        VRRPv3 (RFC 9568, 5.2.7) uses hundredths of a second, up to 40.95 s. For intervals below one second write `version 3` on all directors."),
    code("auth-ah", "The authentication header contains a sequence number. A director that starts as MASTER would send numbers that its peers \
        have seen already and therefore drop (RFC 2402, 3.3.2). Write `state BACKUP`."),
    code("auth-length", "VRRPv2 sends the first eight characters of a password only (RFC 2338, 5.3.6.2). Two passwords that start with the same eight \
        characters are equal. Shorten the password on all directors."),
    code("auth-v3", "VRRPv3 has no authentication (RFC 9568, 9), so the block has no effect. Filter IP protocol 112 at the edge of the link instead."),
    code("bad-key", "A key of `auth_hmac` is 32 to 64 bytes long. It is written as text, as `hex:` and digits, or as `file:PATH`."),
    code("bad-random", "`${_RANDOM}` takes no argument, a minimum, or a minimum and a maximum."),
    code("bad-repetition", "`~SEQ(NAME, [[FIRST,] STEP,] LAST) LINE` repeats the rest of its line for each number, `~SEQx` in hexadecimal. \
        `~LST(NAME, VALUE…) LINE` and `~LST({A,B}, {1,2}, {3,4}) LINE` repeat it for each value. The sign of the step must lead from the first to the last number."),
    code("byte-order-mark", "The file starts with a byte order mark (the bytes EF BB BF), which some editors write. It is skipped here; keepalived reads it as text. Remove it."),
    code("deprecated", "The keyword is an old name. It works, but `keepalived -t` exits with status 5. Write the new name."),
    code("down-delay", "A director reports that its interface is down only after this delay. If the delay is longer than the backup waits for \
        adverts, the backup takes over first, and two directors are MASTER for a moment when the interface comes up again. Write a shorter delay."),
    code("dr-port", "Direct routing and tunnels do not change the port of a packet, so the real server receives it on the port of the service. \
        Give the real server the port of the service, or use NAT."),
    code("duplicate", "The object is defined twice. The diagnostic shows both definitions. The second one is skipped, except that a second virtual server adds its real servers to the first one."),
    code("duplicate-vip", "Two instances have the same address on the same interface. If both are MASTER, two directors can hold the address. Remove it from one of them."),
    code("duplicate-vrid", "Two instances on one link have the same `virtual_router_id`. Each would treat the adverts of the other as those of its own peers \
        (RFC 9568, 5.2.3). Every virtual router on a link, including those of other machines, needs a VRID of its own."),
    code("encap", "The encapsulation of a route is invalid. Write `encap ip` or `encap ip6` with `dst` or `id`, `encap mpls LABEL/LABEL`, or \
        `encap ila LOCATOR`, as in ip-route(8). `as`, which swaps MPLS labels, is ignored, as in keepalived."),
    code("expansion-limit", "`~SEQ`, `~LST`, definitions or includes exceed a limit: 1,000,000 lines, 1 MiB in a line, 32 levels of nesting, or \
        256 MiB in total. The usual cause is a definition that refers to itself, directly or through another one."),
    code("extra-words", "The keyword takes fewer arguments. The further words are ignored, as in keepalived. Write each keyword on a line of its own."),
    code("family", "IPv4 and IPv6 addresses are mixed where only one family is possible. The first virtual address determines the family of an instance; \
        addresses of the other family go into `virtual_ipaddress_excluded`. A service and its real servers have one family, except with TUN."),
    code("fwmark", "A service on a firewall mark accepts all packets with the mark, of any protocol. evenkeel's packet path marks packets itself, by `member` lines. \
        Marks that other programs set are visible to it only in tc, if they are set before. The kernel's IPVS sees the marks of netfilter."),
    code("hmac-peers", "It is not known which bytes the MAC of `auth_hmac` covers in keepalived 2.4. Signed adverts of evenkeel and keepalived have the same \
        format, but each rejects the MAC of the other, so that both would become MASTER. `mode receive-only` and `permissive` do not help, since an existing MAC is always verified. Run evenkeel on all directors."),
    code("include-loop", "A file includes itself, directly or through another file. Remove one of the includes."),
    code("include-missing", "No file has this name or matches this pattern, so its content is missing. With plain `include` this is a warning. \
        With `includem`, `includew`, `includeb`, `includea` and `include_check` it is an error, and keepalived exits with status 6."),
    code("include-unreadable", "The file exists but cannot be read. Directories, executable files and special files are never read."),
    code("ipvlan", "An ipvlan has the MAC address of its parent interface. To send IPv4 adverts it needs an address: `use_ipvlan ADDRESS`."),
    code("label-length", "The label of an address is the name of an interface alias, with at most 15 characters."),
    code("link-local", "A link-local address (fe80::/10) exists on every link (RFC 4291, 2.5.6). Select the link with `bind_if`."),
    code("loopback", "VRRP needs other routers on the link, and a loopback interface has none. Write the interface of the link."),
    code("mail-login", "`smtp_login` requires `smtp_tls`, since the password is never sent in clear text."),
    code("mail-nobody", "`smtp_server` is set without `notification_email`, so no mail is sent."),
    code("max-hops", "`max_hops` is the maximum difference between the sent and the received TTL of a BFD packet. It cannot exceed the TTL."),
    code("missing-argument", "The keyword needs an argument. For most keywords keepalived exits with status 2."),
    code("missing-block", "The keyword needs a block, but there is no `{` after it or on the next line."),
    code("missing-brace", "A block is not closed before the end of its file, or before a block that is valid at the top level only."),
    code("missing-keyword", "A required keyword is missing in the block."),
    code("name-length", "The name is too long."),
    code("nat-device-off", "`dataplane_interface NAME off` keeps the packet path away from the interface that leads to a real server behind NAT. \
        Its replies come in there and are not translated back, so no connection to it works. Remove the line, or use direct routing or a tunnel."),
    code("never-in-force", "The keyword of keepalived is accepted and has no effect here, on purpose. docs/configuration.md gives the reason."),
    code("no-members", "The group has no members, so it is skipped."),
    code("no-peer", "Unicast is configured without a peer. Like keepalived, the instance uses multicast. Add `unicast_peer`."),
    code("no-real-server", "The virtual server has no real servers, so it is skipped."),
    code("no-vip", "The instance has no virtual address, so a failover moves nothing. If this is intended, write `no_virtual_ipaddress`."),
    code("nopreempt", "`nopreempt` requires `state BACKUP` on all directors. It has no effect for an address owner (priority 255), which always takes over."),
    code("not-a-boolean", "Expected on, off, true, false, yes or no, in lower case."),
    code("not-a-digest", "Expected the MD5 digest of a page as 32 hexadecimal digits."),
    code("not-a-domain", "A domain name consists of labels of 1 to 63 characters, separated by dots, with at most 253 characters in total (RFC 1035, 2.3.4)."),
    code("not-a-mac", "Expected a unicast MAC address of five or six bytes, outside of the range that VRRP reserves (RFC 9568, 7.3)."),
    code("not-a-netmask", "A netmask consists of one bits followed by zero bits, such as 255.255.255.0."),
    code("not-a-number", "Expected a number in decimal digits. `0x10`, `1e3`, `10s` and `1,5` are not numbers."),
    code("not-a-path", "Expected an absolute path, which starts with `/`."),
    code("not-a-prefix", "A prefix length is 0 to 32 for IPv4 and 0 to 128 for IPv6."),
    code("not-a-status", "HTTP status codes are 100 to 999, alone or as ranges."),
    code("not-an-address", "Expected an IP address, such as 192.0.2.1 or 2001:db8::1. Names are not resolved here, and a port is a separate word."),
    code("not-an-interface", "The name of a network interface has 1 to 15 characters and contains neither `/` nor `:`."),
    code("not-hex", "Expected an even number of hexadecimal digits."),
    code("not-in-force", "The keyword of keepalived is accepted and stored, but this version does not implement it. It is reported once."),
    code("not-supported", "This version does not implement it, and running without it would do harm: a service that forwards nothing, or two masters. \
        The daemon rejects the file. `evenkeeld -t` accepts it, as keepalived does."),
    code("nul-byte", "The line contains a NUL byte: the file is damaged or is not a text file. The line is skipped."),
    code("off-link", "Direct routing only replaces the destination MAC address, so the real server must be on a link of the director. \
        Add an address of that network to the director, or use TUN."),
    code("one-member", "A sync group keeps several instances in one state. With one member it has no effect."),
    code("ops", "One-packet scheduling treats each packet as a connection of its own, which works for UDP only. It is ignored."),
    code("out-of-range", "The number is outside the range of its keyword. keepalived uses the default instead."),
    code("own-interface", "An instance always tracks its own interface, unless `dont_track_primary` is set. Remove the line."),
    code("port-zero", "A service without a port accepts all ports. Only persistence then sends all connections of a client to one real server. Add `persistence_timeout` or a port."),
    code("preempt-delay", "`preempt_delay` applies to a backup that takes over from a live master of lower priority. With state MASTER or `nopreempt` \
        that does not happen, so it is ignored."),
    code("quorum", "The quorum can never be reached: the weights of all real servers are less, or `quorum_max` of a tracked process is. A hysteresis must be less than its quorum."),
    code("regex", "The PCRE2 expression is invalid. keepalived accepts it without a message, but no page can match it, so the file is rejected here."),
    code("reply-length", "`min_reply_length` is greater than `max_reply_length` (default 255)."),
    code("rule-preference", "The kernel inserts a rule without a preference before the existing ones, so the order can differ between two directors. Write `preference N`."),
    code("scheduler-flag", "The flag belongs to another scheduler and has no effect with this one."),
    code("script-missing", "The script does not exist or cannot be executed. keepalived disables tracked scripts in this case; for other scripts \
        the failure shows when they run."),
    code("script-quotes", "A script is one word, or a quoted string with its arguments. The words after it are the user and the group that run it."),
    code("script-security", "Without `enable_script_security` nothing guarantees that only root can modify scripts that run as root. `keepalived -t` exits \
        with status 6."),
    code("script-timeout", "A run that takes longer than `interval` delays the next run. Write a `timeout` of at most `interval`."),
    code("script-unsafe", "A user other than root owns or can write a part of the path, and can thereby run any program as root."),
    code("script-user", "With `enable_script_security`, but without `script_user` and without a user keepalived_script, scripts without a user of their own do not run."),
    code("strict", "The setting violates strict mode, which allows only what the RFCs define."),
    code("thresholds", "A real server is overloaded from `uthreshold` connections on until it has fewer than `lthreshold`. `lthreshold` must be less than `uthreshold`."),
    code("too-many-decimals", "Times have a resolution of one microsecond, that is six decimals of a second."),
    code("too-many-findings", "The file has too many errors to show. Usually one mistake is multiplied by a repetition or a missing brace. Correct the first errors and check again."),
    code("too-many-vips", "An advert counts its addresses in one byte (RFC 9568, 5.2.5). keepalived treats further addresses as excluded ones."),
    code("tunnel-port", "GUE runs over UDP and needs a port. The other tunnels have no port."),
    code("undefined-group", "`virtual_server group NAME` needs a `virtual_server_group NAME { … }` in the file."),
    code("undefined-key", "`active_key` is not the number of a key in the block."),
    code("undefined-name", "`${NAME}` is replaced only below a line `$NAME=VALUE`. Otherwise it stays as it is, and keepalived reads \
        its braces as a block."),
    code("undefined-name-tracked", "The tracked object is not defined in the file."),
    code("undefined-script", "`track_script` needs a `vrrp_script NAME { … }` in the file."),
    code("unexpected-brace", "The brace matches nothing: it is an extra `}`, or it opens a block after a keyword that has none."),
    code("unknown-instance", "The group contains an instance that the file does not define."),
    code("unknown-interface", "The machine on which the file is checked has no such interface. If the interface is created later, \
        write `dynamic_interfaces` in global_defs."),
    code("unknown-keyword", "The block has no such keyword. keepalived reports it and continues; after an unknown block it also skips the rest of the enclosing block. \
        `evenkeel explain` lists all keywords."),
    code("unknown-user", "The machine on which the file is checked has no such user or group."),
    code("unknown-value", "The value is not one of the words that the keyword takes."),
    code("unknown-word", "The word has no meaning here."),
    code("unreadable-file", "A file that the configuration refers to cannot be read."),
    code("unterminated-string", "A quoted string is not closed on its line. A quote inside of it is written as `\\\"`."),
    code("untracked-route", "A route is tracked by its interface. A multipath route, a blackhole or another route without an interface is added but not tracked."),
    code("unused-script", "No instance or sync group tracks the script, so it does not run."),
    code("version", "VRRPv2 (RFC 3768) supports IPv4 only."),
    code("vip-device-off", "`dataplane_interface NAME off` keeps the packet path away from the interface, but an instance puts virtual addresses on it. \
        Clients that come in by it reach the director's own stack and not the real servers. Remove the line, unless all clients come in by other interfaces."),
    code("vip-not-held", "No instance of the file holds the address of the service, so its packets reach this director only by other means."),
    code("vip-prefix", "An address without a prefix length is added as /32 (or /128). This is right if the director has another address of the same \
        network, and wrong if it has none."),
    code("vmac", "The keyword requires `use_vmac`."),
    code("vrf", "`vrf` is for unicast instances without an interface."),
    code("weight-in-group", "The members of a sync group share one state, so the weights of what a member tracks are ignored unless the group has \
        `sync_group_tracking_weight`."),
];
