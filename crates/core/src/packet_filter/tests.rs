//! `ruleset.json` is what nft 1.0.6 printed of a ruleset with the usual forms: sets, verdict maps, a policy of drop.

use super::*;

fn verdict(ruleset: &Ruleset, device: &str, addr: &str, protocol: Protocol, port: u16) -> FilterVerdict {
    let addr = addr.parse().expect("an address");
    ruleset.verdict(&NewConnection { device, addr, protocol, port })
}

#[test]
fn rules_accept_drop_or_may_do_either() {
    use Protocol::{Sctp, Tcp, Udp};
    let ruleset = parse_nft_json(include_str!("ruleset.json")).expect("parsed");
    let policy = || FilterVerdict::Drop("the policy of chain input of table inet filter".to_owned());
    let is = |device, addr, protocol, port| verdict(&ruleset, device, addr, protocol, port);
    assert_eq!(is("eth0", "192.0.2.100", Tcp, 80), FilterVerdict::Accept);
    assert_eq!(is("eth0", "2001:db8::1", Tcp, 443), FilterVerdict::Accept);
    assert_eq!(is("eth0", "192.0.2.100", Tcp, 81), policy());
    assert_eq!(is("eth0", "192.0.2.100", Udp, 80), policy(), "the port is TCP's");
    assert!(matches!(is("eth0", "192.0.2.100", Tcp, 0), FilterVerdict::MayDrop(_)), "any port");
    // A rate limit, and the addresses of clients, are not known.
    assert!(matches!(is("eth0", "192.0.2.100", Udp, 53), FilterVerdict::MayDrop(_)));
    assert!(matches!(is("eth1", "192.0.2.100", Tcp, 80), FilterVerdict::MayDrop(_)));
    assert!(matches!(is("eth1", "fd00::1", Tcp, 80), FilterVerdict::MayDrop(r) if r.contains("chain inside")));
    assert!(matches!(is("eth1", "2001:db8::1", Sctp, 80), FilterVerdict::Accept));
    // prerouting comes first
    assert!(matches!(is("eth2", "192.0.2.101", Tcp, 80), FilterVerdict::Drop(r) if r.contains("chain pre")));
    assert_eq!(is("eth2", "192.0.2.100", Tcp, 80), policy());
    assert!(matches!(is("eth3", "192.0.2.100", Tcp, 80), FilterVerdict::Drop(r) if r.contains("chain pre")));
    assert_eq!(is("eth9", "192.0.2.100", Tcp, 80), policy(), "no case of the map");
    assert_eq!(is("lo", "192.0.2.100", Tcp, 80), FilterVerdict::Accept);
}

#[test]
fn without_rules_all_is_accepted_and_what_is_not_understood_is_in_doubt() {
    let empty = parse_nft_json("{\"nftables\": [{\"metainfo\": {}}]}").expect("parsed");
    assert_eq!(verdict(&empty, "eth0", "192.0.2.1", Protocol::Tcp, 80), FilterVerdict::Accept);
    let with_rule = |family: &str, expr: &str| {
        parse_nft_json(&format!(
            "{{\"nftables\": [{{\"chain\": {{\"family\": \"{family}\", \"table\": \"t\", \"name\": \"c\", \"hook\": \"input\", \
             \"prio\": 0, \"policy\": \"accept\"}}}}, {{\"rule\": {{\"family\": \"{family}\", \"table\": \"t\", \"chain\": \"c\", \
             \"handle\": 7, \"expr\": {expr}}}}}]}}"
        ))
        .expect("parsed")
    };
    let of = |family: &str, expr: &str| verdict(&with_rule(family, expr), "eth0", "192.0.2.1", Protocol::Tcp, 80);
    let rule = || "rule 7 of chain c of table ip t".to_owned();
    assert_eq!(of("ip", "[{\"drop\": null}]"), FilterVerdict::Drop(rule()));
    assert_eq!(of("ip6", "[{\"drop\": null}]"), FilterVerdict::Accept, "of the other family");
    assert_eq!(of("arp", "[{\"drop\": null}]"), FilterVerdict::Accept);
    let unknown = "{\"xt\": {\"type\": \"match\", \"name\": \"recent\"}}";
    assert_eq!(of("ip", &format!("[{unknown}, {{\"drop\": null}}]")), FilterVerdict::MayDrop(rule()));
    assert_eq!(of("ip", &format!("[{unknown}, {{\"accept\": null}}]")), FilterVerdict::Accept);
    assert_eq!(of("ip", "[{\"xt\": {\"type\": \"target\", \"name\": \"TARPIT\"}}]"), FilterVerdict::MayDrop(rule()));
    assert_eq!(of("ip", "[{\"queue\": null}]"), FilterVerdict::MayDrop(rule()));
    let endless = "[{\"jump\": {\"target\": \"c\"}}]";
    assert!(matches!(of("ip", endless), FilterVerdict::MayDrop(_)), "a loop, which the kernel rejects");
    assert!(parse_nft_json("nonsense").is_err() && parse_nft_json("{}").is_err());
}
