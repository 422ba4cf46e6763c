use super::*;
use crate::config::parse_text;

fn file_config() -> Config {
    let one = |port: u16| {
        format!(
            "virtual_server 192.0.2.1 {port} {{\nlvs_sched wrr\nlvs_method DR\nprotocol TCP\n\
             real_server 10.0.0.1 {port} {{\nweight 4\nTCP_CHECK {{\nconnect_port 99\n}}\n}}\n\
             real_server 10.0.0.2 {port} {{\n}}\n}}\n"
        )
    };
    let parsed = parse_text("t", &(one(80) + &one(81)));
    parsed.valid_config().unwrap_or_else(|| panic!("{}", parsed.render(false))).clone()
}

fn new_override(services: ServiceSelector, server: u8, action: OverrideAction) -> Override {
    Override { services, server: IpAddr::from([10, 0, 0, server]), port: None, action, until_reload: false }
}

fn service_at(port: u16) -> ServiceSelector {
    ServiceSelector::Address(IpAddr::from([192, 0, 2, 1]), port)
}

/// Last byte, weight, drained of each server, by service.
fn server_summary(config: &Config) -> Vec<Vec<(u8, u32, bool)>> {
    let server = |r: &RealServer| (crate::model::last_octet(r.key.addr), r.weight.get(), r.drained);
    config.virtual_servers.iter().map(|v| v.servers.iter().map(server).collect()).collect()
}

#[test]
fn overrides_apply_on_top_of_the_file() {
    let file = file_config();
    let mut overrides = Overrides::default();
    overrides.add(&file, new_override(service_at(80), 3, OverrideAction::Add { weight: None })).expect("new");
    overrides.add(&file, new_override(service_at(80), 1, OverrideAction::SetWeight(9))).expect("there");
    overrides.add(&file, new_override(ServiceSelector::All, 2, OverrideAction::Drain)).expect("there");
    let config = overrides.apply(&file);
    assert_eq!(
        server_summary(&config),
        [vec![(1, 9, false), (2, 1, true), (3, 4, false)], vec![(1, 4, false), (2, 1, true)]]
    );
    let new = &config.virtual_servers[0].servers[2];
    assert!(new.alpha && new.checks[0].connect.connect_port == Some(99), "checked as the first is");
    overrides.add(&file, new_override(service_at(80), 3, OverrideAction::Remove)).expect("it was added");
    overrides.add(&file, new_override(ServiceSelector::All, 2, OverrideAction::Revert)).expect("it was drained");
    overrides.add(&file, new_override(service_at(80), 1, OverrideAction::SetWeight(8))).expect("again");
    assert_eq!(overrides.descriptions(), ["10.0.0.1 of 192.0.2.1:80 has weight 8"]);
    overrides
        .add(&file, Override { until_reload: true, ..new_override(service_at(81), 1, OverrideAction::Remove) })
        .expect("there");
    assert_eq!(server_summary(&overrides.apply(&file))[1], [(2, 1, false)]);
    overrides.drop_until_reload();
    assert_eq!(
        server_summary(&overrides.apply(&file)),
        [vec![(1, 8, false), (2, 1, false)], vec![(1, 4, false), (2, 1, false)]]
    );
    overrides.add(&file, new_override(service_at(80), 1, OverrideAction::Revert)).expect("weighed");
    assert!(overrides.is_empty() && overrides.apply(&file) == file);
}

#[test]
fn an_override_that_matches_nothing_is_rejected() {
    let file = file_config();
    let mut overrides = Overrides::default();
    for (bad, why) in [
        (new_override(service_at(82), 1, OverrideAction::Drain), "no virtual server 192.0.2.1:82"),
        (new_override(service_at(80), 9, OverrideAction::Drain), "has no real server 10.0.0.9"),
        (new_override(service_at(80), 1, OverrideAction::Add { weight: None }), "already has real server 10.0.0.1"),
        (new_override(ServiceSelector::All, 9, OverrideAction::Add { weight: None }), "name one virtual server"),
        (new_override(service_at(80), 1, OverrideAction::SetWeight(1 << 31)), "too large"),
        (new_override(service_at(80), 1, OverrideAction::Revert), "there is no override"),
        (new_override(ServiceSelector::Group("g".into()), 1, OverrideAction::Drain), "no virtual server group g"),
    ] {
        let error = overrides.add(&file, bad).expect_err(why);
        assert!(error.contains(why), "{error}");
    }
    assert!(overrides.is_empty());
    // The file may have changed since: an override that matches nothing has no effect.
    overrides.add(&file, new_override(service_at(80), 2, OverrideAction::Drain)).expect("there");
    assert_eq!(overrides.apply(&Config::default()), Config::default());
}
