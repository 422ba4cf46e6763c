//! What a reload changes besides services: virtual routers, scripts, checks, settings.
//!
//! Services have steps ([`super::Step`]), because a data plane has to do them one by one. The rest is handed whole to the
//! threads that own it; what changes in it is found here, so that `evenkeel plan` and a reload say the same.

use std::fmt;
use std::time::Duration;

use crate::model::{Config, VirtualServer, VrrpInstance, VrrpScript};

/// One change of what is not a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A new virtual router.
    AddInstance(String),
    /// A virtual router that goes; its addresses with it.
    RemoveInstance(String),
    /// A virtual router that stays, and what is new about it.
    EditInstance(String, Vec<String>),
    /// A tracked script: added, removed or changed.
    Script(&'static str, String),
    /// The health checks of a real server.
    Checks(String),
    /// Whom a firewall mark is for, and how many sets these are now.
    Members(String, usize),
    /// A setting of `global_defs`.
    Setting(&'static str),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::AddInstance(what) => write!(f, "add instance {what}"),
            Change::RemoveInstance(what) => write!(f, "remove instance {what}"),
            Change::EditInstance(name, what) => write!(f, "change instance {name}: {}", what.join(", ")),
            Change::Script(how, name) => write!(f, "{how} script {name}"),
            Change::Checks(server) => write!(f, "change the checks of {server}"),
            Change::Members(service, n) => write!(f, "change the members of {service}, {n} from now on"),
            Change::Setting(name) => write!(f, "change the setting {name}"),
        }
    }
}

/// What turns one configuration into another, services apart.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let mut out = Vec::new();
    settings(old, new, &mut out);
    instances(&old.instances, &new.instances, &mut out);
    scripts(&old.scripts, &new.scripts, &mut out);
    checks(&old.virtual_servers, &new.virtual_servers, &mut out);
    members(&old.virtual_servers, &new.virtual_servers, &mut out);
    out
}

fn settings(old: &Config, new: &Config, out: &mut Vec<Change>) {
    let (a, b) = (&old.global, &new.global);
    let mut differ = |yes: bool, name| {
        if yes {
            out.push(Change::Setting(name));
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
    differ(a.tuning != b.tuning, "lvs_timeouts, or another of the packet path");
    differ(a.dataplane_interfaces != b.dataplane_interfaces, "dataplane_interface");
}

fn instances(old: &[VrrpInstance], new: &[VrrpInstance], out: &mut Vec<Change>) {
    // The virtual router on its link is what stays over a reload; its name may change.
    for n in new {
        match old.iter().find(|o| o.identity() == n.identity()) {
            None => {
                let what = format!("{}: virtual router {} on {}, priority {}", n.name, n.vrid, n.interface, n.priority);
                out.push(Change::AddInstance(what));
            }
            Some(o) if o != n => out.push(Change::EditInstance(n.name.clone(), edits(o, n))),
            Some(_) => {}
        }
    }
    for o in old.iter().filter(|o| !new.iter().any(|n| n.identity() == o.identity())) {
        let held: Vec<String> = o.all_vips().map(|v| v.addr.to_string()).collect();
        out.push(Change::RemoveInstance(format!("{}, and with it {}", o.name, held.join(" "))));
    }
}

/// What is new about a virtual router, in words.
fn edits(o: &VrrpInstance, n: &VrrpInstance) -> Vec<String> {
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
    differ("release_interval", format!("{:?}", o.release), format!("{:?}", n.release));
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
    if o.group != n.group {
        out.push(format!("sync group {}", n.group.as_deref().unwrap_or("none")));
    }
    if o.tracks != n.tracks {
        out.push("what it tracks".to_owned());
    }
    if out.is_empty() {
        out.push("its timing or options".to_owned());
    }
    out
}

fn scripts(old: &[VrrpScript], new: &[VrrpScript], out: &mut Vec<Change>) {
    for n in new {
        match old.iter().find(|o| o.name == n.name) {
            None => out.push(Change::Script("add", n.name.clone())),
            Some(o) if o != n => out.push(Change::Script("change", n.name.clone())),
            Some(_) => {}
        }
    }
    for o in old.iter().filter(|o| !new.iter().any(|n| n.name == o.name)) {
        out.push(Change::Script("remove", o.name.clone()));
    }
}

/// Of services that stay; those of others come and go with them.
fn members(old: &[VirtualServer], new: &[VirtualServer], out: &mut Vec<Change>) {
    for v in new.iter().filter(|v| v.key.mark != 0) {
        if old.iter().any(|o| o.key == v.key && o.members != v.members) {
            out.push(Change::Members(v.key.to_string(), v.members.len()));
        }
    }
}

fn checks(old: &[VirtualServer], new: &[VirtualServer], out: &mut Vec<Change>) {
    let known: std::collections::HashMap<_, _> =
        old.iter().flat_map(|v| v.servers.iter().map(move |r| ((v.key, r.key), &r.checks))).collect();
    for v in new {
        for r in &v.servers {
            if known.get(&(v.key, r.key)).is_some_and(|checks| **checks != r.checks) {
                out.push(Change::Checks(format!("{} of {}", r.key, v.key)));
            }
        }
    }
}
