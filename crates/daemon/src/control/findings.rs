//! The findings of the director: gathered from the parts, with the moment when each one began. A finding that begins or
//! ends is logged.

use std::collections::BTreeMap;

use evenkeel_core::ipc::{Finding, Severity};
use evenkeel_core::model::{Config, Family, ForwardingMethod};
use evenkeel_core::time::Instant;
use evenkeel_sys::{clock, sysctl};

use super::answers::answer_findings;
use super::controller::Controller;

/// The findings that stand, by ID and subject.
#[derive(Default)]
pub struct Findings {
    standing: BTreeMap<(String, String), (Instant, Finding)>,
}

impl Findings {
    /// Replaces the findings by those of this moment; logs those that begin, end, or change their severity. Returns them
    /// with their ages, the most severe ones first.
    fn update(&mut self, now: Instant, current: Vec<Finding>) -> Vec<Finding> {
        let mut before = std::mem::take(&mut self.standing);
        for finding in current {
            let key = (finding.id.clone(), finding.subject.clone());
            let (since, was) = before.remove(&key).map_or((now, None), |(since, f)| (since, Some(f.severity)));
            if was != Some(finding.severity) {
                log_begin(&finding);
            }
            self.standing.insert(key, (since, finding));
        }
        for (_, f) in before.values() {
            tracing::info!(finding = %f.id, subject = %f.subject, "no longer: {f}");
        }
        let with_age = |(since, f): &(Instant, Finding)| Finding {
            since_ms: now.duration_since(*since).as_millis() as u64,
            ..f.clone()
        };
        let mut all: Vec<Finding> = self.standing.values().map(with_age).collect();
        all.sort_by_key(|f| std::cmp::Reverse(f.severity));
        all
    }
}

fn log_begin(f: &Finding) {
    match f.severity {
        Severity::Warning => tracing::warn!(finding = %f.id, subject = %f.subject, "{f}"),
        Severity::Critical => tracing::error!(finding = %f.id, subject = %f.subject, "{f}"),
    }
}

impl Controller {
    /// Reads how many connections of each server went on.
    pub fn sample_answers(&mut self) {
        if let Some(plane) = &mut self.reconciler.plane {
            self.answers.add_sample(clock::now(), plane.answer_counts());
        }
    }

    /// Gathers the findings of all parts, and logs what is new.
    pub fn update_findings(&mut self) -> Vec<Finding> {
        let config = &self.configuration.active;
        let mut current = forwarding_findings(config);
        current.extend(
            self.configuration.discovery.warnings().map(|w| Finding::new("discovery", Severity::Warning, "", w)),
        );
        let deaths = self.health.edge_deaths;
        if deaths > 0 {
            let reason = format!("the edge process (health checks, scripts) has died {deaths} times since the start");
            current.push(Finding::new("edge-process-died", Severity::Warning, "", reason).with_remedy("see the log"));
        }
        if let Some(plane) = &mut self.reconciler.plane {
            for v in &config.virtual_servers {
                for r in &v.servers {
                    let Some(reason) = plane.unreachable_reason(r.key.addr) else { continue };
                    let subject = format!("{} of {}", r.key, v.key);
                    current.push(Finding::new("no-next-hop", Severity::Warning, subject, reason));
                }
            }
            current.extend(plane.findings());
            current.extend(answer_findings(config, &self.answers));
        }
        self.findings.update(clock::now(), current)
    }
}

/// Replies of real servers behind NAT take the kernel's routes, whose lookup fails where the kernel does not forward.
fn forwarding_findings(config: &Config) -> Vec<Finding> {
    let has_nat = |v6: bool| {
        let mut servers = config.virtual_servers.iter().flat_map(|v| &v.servers);
        servers.any(|r| r.method == ForwardingMethod::Nat && r.key.addr.is_ipv6() == v6)
    };
    let families = [(false, Family::V4, "net.ipv4.ip_forward"), (true, Family::V6, "net.ipv6.conf.all.forwarding")];
    let off = |v6, family| has_nat(v6) && sysctl::get_conf(family, "all", "forwarding") == Some(0);
    let off = families.into_iter().filter(|(v6, family, _)| off(*v6, *family));
    let finding = |name| {
        let reason = "replies of real servers behind NAT are dropped";
        Finding::new("no-forwarding", Severity::Critical, name, reason).with_remedy(format_args!("set {name}=1"))
    };
    off.map(|(.., name)| finding(name)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_finding_keeps_its_beginning_and_ends_when_it_is_not_found_any_more() {
        let mut findings = Findings::default();
        let start = clock::now();
        let server = |severity| Finding::new("no-next-hop", severity, "192.0.2.1:80", "no ARP reply");
        findings.update(start, vec![server(Severity::Warning)]);
        let after = start + Duration::from_secs(3);
        let stand = findings.update(
            after,
            vec![Finding::new("discovery", Severity::Warning, "", "no server"), server(Severity::Critical)],
        );
        assert_eq!(
            stand.iter().map(|f| (f.since_ms, f.severity)).collect::<Vec<_>>(),
            [(3000, Severity::Critical), (0, Severity::Warning)]
        );
        assert_eq!(stand[0].to_string(), "192.0.2.1:80: no ARP reply");
        assert!(findings.update(after, Vec::new()).is_empty());
    }
}
