use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::model::Protocol;

fn any_services() -> impl Strategy<Value = Services> {
    let dest = (0u8..6, 0u32..3, prop::bool::ANY).prop_map(|(n, w, t)| {
        let key = ServerKey { addr: IpAddr::from([10, 0, 0, n]), port: 80 };
        let weight = Weight::new(w).expect("small");
        (key, DestSpec { weight, method: ForwardingMethod::Dr, u_threshold: u32::from(t), l_threshold: 0 })
    });
    let service =
        (prop::bool::ANY, prop::option::of(1u32..3), prop::collection::vec(dest, 0..6)).prop_map(|(rr, p, dests)| {
            let mut unique: Vec<(ServerKey, DestSpec)> = Vec::new();
            for d in dests {
                if !unique.iter().any(|(k, _)| *k == d.0) {
                    unique.push(d);
                }
            }
            let scheduler = if rr { Scheduler::Rr } else { Scheduler::Wlc };
            let persistence = p.map(|timeout_s| Persistence { timeout_s, mask: Ipv4Addr::BROADCAST.into() });
            ServiceState { spec: ServiceSpec { persistence, ..ServiceSpec::with_scheduler(scheduler) }, dests: unique }
        });
    prop::collection::btree_map(0u16..4, service, 0..4).prop_map(|m| {
        let key = |port| ServiceKey::new(Protocol::Tcp, IpAddr::from([10, 9, 9, 9]), port);
        m.into_iter().map(|(p, s)| (key(p), s)).collect()
    })
}

/// Ignores the order of destinations, which depends on the history and not on the state.
fn sorted(mut s: Services) -> Services {
    s.values_mut().for_each(|v| v.dests.sort_by_key(|(k, _)| *k));
    s
}

proptest! {
    #[test]
    fn the_steps_lead_from_observed_to_desired(desired in any_services(), observed in any_services()) {
        let mut state = observed.clone();
        apply(&diff(&desired, &observed), &mut state);
        prop_assert_eq!(sorted(state), sorted(desired.clone()));
        prop_assert_eq!(diff(&desired, &desired), vec![]);
    }

    #[test]
    fn a_service_that_keeps_servers_is_never_empty_in_between(desired in any_services(), observed in any_services()) {
        let mut state: Services = observed.clone();
        for step in diff(&desired, &observed) {
            apply(&[step], &mut state);
            let k = step.service();
            if let (Some(new), Some(old)) = (desired.get(&k), observed.get(&k))
                && !new.dests.is_empty() && !old.dests.is_empty()
            {
                prop_assert!(!state[&k].dests.is_empty());
            }
        }
    }
}

#[test]
fn a_dead_server_leaves_or_is_inhibited() {
    let text = "virtual_server 192.0.2.1 80 {\nlb_kind DR\nprotocol TCP\nreal_server 10.0.0.1 80 {\nweight 3\nTCP_CHECK {\n}\n}\n\
                real_server 10.0.0.2 80 {\ninhibit_on_failure\nTCP_CHECK {\n}\n}\n}\n";
    let config = crate::config::parse_text("t", text).valid_config().cloned().expect("valid");
    let life = |dead: bool| {
        move |v: &crate::model::VirtualServer| Some(crate::health::ServiceHealth::new(v, &|_| dead).0.active_servers(v))
    };
    let all = desired_services(&config.virtual_servers, &life(false));
    let weights = |s: &Services| -> BTreeMap<u8, u32> {
        s.values()
            .flat_map(|v| v.dests.iter().map(|(k, d)| (crate::model::last_octet(k.addr), d.weight.get())))
            .collect()
    };
    assert_eq!(weights(&all), BTreeMap::from([(1, 3), (2, 1)]));
    let none = desired_services(&config.virtual_servers, &life(true));
    assert_eq!(weights(&none), BTreeMap::from([(2, 0)]));
}
