//! Lints: what is probably a mistake, and what is not.

use std::net::IpAddr;

use evenkeel_core::config::environment::Environment;
use evenkeel_core::config::{Options, parse};

/// A machine with the real servers behind `eth1`.
struct TwoArmed;

impl Environment for TwoArmed {
    fn route_interface(&self, _: IpAddr) -> Option<String> {
        Some("eth1".into())
    }
}

/// The codes of a file's diagnostics.
fn codes(text: &str) -> Vec<String> {
    let parsed = parse("x.conf", text.to_owned(), &TwoArmed, &Options::default());
    parsed.diagnostics.iter().map(|d| d.code.to_string()).collect()
}

#[test]
fn a_device_with_virtual_addresses_or_nat_servers_should_not_be_left_alone() {
    let file = |global: &str, more: &str| {
        format!(
            "global_defs {{\n {global}\n}}\n\
             vrrp_instance V {{\n interface eth0\n virtual_router_id 51\n priority 100\n {more}\n \
             virtual_ipaddress {{\n  192.0.2.100/24\n }}\n}}\n\
             virtual_server 192.0.2.100 80 {{\n lvs_method NAT\n protocol TCP\n real_server 192.0.2.11 80 {{\n }}\n}}\n"
        )
    };
    let is_reported = |global, more| codes(&file(global, more)).contains(&"vip-device-off".to_owned());
    let is_nat_reported = |global| codes(&file(global, "")).contains(&"nat-device-off".to_owned());
    assert!(is_nat_reported("dataplane_interface eth1 off") && !is_nat_reported("dataplane_interface eth0 off"));
    assert!(is_reported("dataplane_interface eth0 off", ""));
    assert!(is_reported("dataplane_interface eth* off", ""));
    assert!(!is_reported("dataplane_interface eth1 off", ""));
    assert!(!is_reported("dataplane_interface eth* off\n dataplane_interface eth0 auto", ""), "the name goes first");
    assert!(!is_reported("dataplane_interface eth0 off", "use_vmac"), "the address is on vrrp.51");
}
