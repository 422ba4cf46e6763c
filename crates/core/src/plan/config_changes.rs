//! Configuration changes: what a reload changes apart from services, namely VRRP instances, scripts, checks and settings.
//!
//! Services have steps ([`super::Step`]), because a data plane applies them one by one. The threads that own the rest get
//! it as a whole. This list of changes is only shown to the operator; `evenkeel plan` and a reload show the same list.

use std::fmt;
use std::time::Duration;

use crate::model::{Config, VirtualServer, VrrpInstance, VrrpScript};

/// A change of the configuration that is not a change of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigChange {
    /// A VRRP instance is added.
    AddInstance(String),
    /// A VRRP instance is removed together with its addresses.
    RemoveInstance(String),
    /// A VRRP instance is changed: its name, and a description of each change.
    EditInstance(String, Vec<String>),
    /// A tracked script is changed: `add`, `remove` or `change`, and its name.
    Script(&'static str, String),
    /// The health checks of a real server are changed.
    Checks(String),
    /// The mark rules of a service are changed: the service, and how many rules it has now.
    MarkRules(String, usize),
    /// A setting of `global_defs` is changed.
    Setting(&'static str),
}

impl fmt::Display for ConfigChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigChange::AddInstance(instance) => write!(f, "add instance {instance}"),
            ConfigChange::RemoveInstance(instance) => write!(f, "remove instance {instance}"),
            ConfigChange::EditInstance(name, edits) => write!(f, "change instance {name}: {}", edits.join(", ")),
            ConfigChange::Script(action, name) => write!(f, "{action} script {name}"),
            ConfigChange::Checks(server) => write!(f, "change the checks of {server}"),
            ConfigChange::MarkRules(service, n) => write!(f, "change the members of {service}, new number {n}"),
            ConfigChange::Setting(name) => write!(f, "change the setting {name}"),
        }
    }
}

/// The changes from one configuration to another, apart from services.
pub fn config_changes(old: &Config, new: &Config) -> Vec<ConfigChange> {
    let mut out = Vec::new();
    diff_settings(old, new, &mut out);
    diff_instances(&old.instances, &new.instances, &mut out);
    diff_scripts(&old.scripts, &new.scripts, &mut out);
    diff_checks(&old.virtual_servers, &new.virtual_servers, &mut out);
    diff_mark_rules(&old.virtual_servers, &new.virtual_servers, &mut out);
    out
}

fn diff_settings(old: &Config, new: &Config, out: &mut Vec<ConfigChange>) {
    let (a, b) = (&old.global, &new.global);
    let mut differ = |yes: bool, name| {
        if yes {
            out.push(ConfigChange::Setting(name));
        }
    };
    differ(a.router_id != b.router_id, "router_id");
    differ(a.mail != b.mail, "mail");
    differ(a.notify_ordered != b.notify_ordered, "notify_ordered");
    differ(a.script_user != b.script_user, "script_user");
    differ(a.enable_script_security != b.enable_script_security, "enable_script_security");
    differ(a.vrrp_rt_priority != b.vrrp_rt_priority, "vrrp_rt_priority (at the next start)");
    differ(a.vrrp_cpus != b.vrrp_cpus, "vrrp_cpu_affinity (at the next start)");
    differ(a.checker_cpus != b.checker_cpus, "checker_cpu_affinity (at the next start)");
    differ(a.umask != b.umask, "umask (at the next start)");
    differ(
        a.connection_table_size != b.connection_table_size,
        "connection_table_size (at the next start with no table)",
    );
    differ(a.reload_time != b.reload_time, "reload_time_file");
    differ(a.child_wait != b.child_wait, "child_wait_time");
    differ(a.disable_local_igmp != b.disable_local_igmp, "disable_local_igmp (at the next start)");
    differ(a.tuning != b.tuning, "lvs_timeouts or another setting of the data plane");
    differ(a.dataplane_interfaces != b.dataplane_interfaces, "dataplane_interface");
    differ(a.serve_any_address != b.serve_any_address, "serve_any_address");
    differ(a.ignores_local_clients != b.ignores_local_clients, "local_clients");
}

fn diff_instances(old: &[VrrpInstance], new: &[VrrpInstance], out: &mut Vec<ConfigChange>) {
    // An instance is identified by its virtual router and its interface. A reload may change its name.
    for n in new {
        match old.iter().find(|o| o.identity() == n.identity()) {
            None => {
                let instance =
                    format!("{}: virtual router {} on {}, priority {}", n.name, n.vrid, n.interface, n.priority);
                out.push(ConfigChange::AddInstance(instance));
            }
            Some(o) if o != n => out.push(ConfigChange::EditInstance(n.name.clone(), describe_edits(o, n))),
            Some(_) => {}
        }
    }
    for o in old.iter().filter(|o| !new.iter().any(|n| n.identity() == o.identity())) {
        let held: Vec<String> = o.all_vips().map(|v| v.addr.to_string()).collect();
        out.push(ConfigChange::RemoveInstance(format!("{} and its addresses {}", o.name, held.join(" "))));
    }
}

/// A description of each change of an instance.
fn describe_edits(o: &VrrpInstance, n: &VrrpInstance) -> Vec<String> {
    let mut out = Vec::new();
    let mut differ = |name: &str, a: String, b: String| {
        if a != b {
            out.push(format!("{name} {a} -> {b}"));
        }
    };
    let seconds = |t: Duration| format!("{} s", t.as_secs_f64());
    differ("name", o.name.clone(), n.name.clone());
    differ("priority", o.priority.to_string(), n.priority.to_string());
    differ("advert_int", seconds(o.advert_int), seconds(n.advert_int));
    differ("version", o.version.number().to_string(), n.version.number().to_string());
    differ("preempt", o.preempt.to_string(), n.preempt.to_string());
    differ("preempt_delay", seconds(o.preempt_delay), seconds(n.preempt_delay));
    differ("timer_expired_backup", format!("{:?}", o.timer_expired_backup), format!("{:?}", n.timer_expired_backup));
    differ("release_interval", format!("{:?}", o.release_intervals), format!("{:?}", n.release_intervals));
    differ("down_timer_adverts", o.down_timer_adverts.to_string(), n.down_timer_adverts.to_string());
    let (before, after): (Vec<_>, Vec<_>) = (o.all_vips().collect(), n.all_vips().collect());
    for v in after.iter().filter(|v| !before.contains(v)) {
        out.push(format!("add address {v}"));
    }
    for v in before.iter().filter(|v| !after.contains(v)) {
        out.push(format!("remove address {v}"));
    }
    if o.auth != n.auth {
        out.push("authentication".to_owned());
    }
    if o.sync_group != n.sync_group {
        out.push(format!("sync group {}", n.sync_group.as_deref().unwrap_or("none")));
    }
    if o.tracks != n.tracks {
        out.push("tracked objects".to_owned());
    }
    if out.is_empty() {
        out.push("timing or options".to_owned());
    }
    out
}

fn diff_scripts(old: &[VrrpScript], new: &[VrrpScript], out: &mut Vec<ConfigChange>) {
    for n in new {
        match old.iter().find(|o| o.name == n.name) {
            None => out.push(ConfigChange::Script("add", n.name.clone())),
            Some(o) if o != n => out.push(ConfigChange::Script("change", n.name.clone())),
            Some(_) => {}
        }
    }
    for o in old.iter().filter(|o| !new.iter().any(|n| n.name == o.name)) {
        out.push(ConfigChange::Script("remove", o.name.clone()));
    }
}

/// Compares the mark rules of services that stay. Those of added and removed services follow from the steps.
fn diff_mark_rules(old: &[VirtualServer], new: &[VirtualServer], out: &mut Vec<ConfigChange>) {
    for v in new.iter().filter(|v| v.key.fwmark != 0) {
        if old.iter().any(|o| o.key == v.key && o.mark_rules != v.mark_rules) {
            out.push(ConfigChange::MarkRules(v.key.to_string(), v.mark_rules.len()));
        }
    }
}

fn diff_checks(old: &[VirtualServer], new: &[VirtualServer], out: &mut Vec<ConfigChange>) {
    let known: std::collections::HashMap<_, _> =
        old.iter().flat_map(|v| v.servers.iter().map(move |r| ((v.key, r.key), &r.checks))).collect();
    for v in new {
        for r in &v.servers {
            if known.get(&(v.key, r.key)).is_some_and(|checks| **checks != r.checks) {
                out.push(ConfigChange::Checks(format!("{} of {}", r.key, v.key)));
            }
        }
    }
}
