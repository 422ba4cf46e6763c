//! The typed configuration to what is in force: defaults, inheritance, and what this version cannot do yet.

mod checkers;
mod dataplane;
mod encap;
mod instances;
mod mail;
mod routes;
mod server_groups;
mod services;
mod tracked;
mod vmacs;

pub(super) use checkers::regex_pattern;
pub(super) use instances::counts_member_weights;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::value::{Section, Value};
use super::{Diagnostic, Environment, IprouteDirs, Span};
use crate::model::{
    AttachChoice, CheckKind, Config, Fifo, GlobalDefs, ProcessScheduling, ScriptCommand, Statics, TrackedObject,
    Tuning, Vmac,
};

/// The weight, and `reverse`, that a tracked object has of its own.
type DefaultWeights = BTreeMap<TrackedObject, (i16, bool)>;

/// What lowering needs, and what it finds.
pub(crate) struct LoweringContext<'l> {
    root: &'l Section,
    /// Every `global_defs` and every `SSL`, the last one first: each check asks them, and a file may have 100,000 checks.
    globals: Vec<&'l Section>,
    ssl: Vec<&'l Section>,
    environment: &'l dyn Environment,
    /// Where names of routes and rules are looked up.
    tables: &'l IprouteDirs,
    diagnostics: &'l mut Vec<Diagnostic>,
    reported: HashSet<String>,
    /// The interfaces that are to be made.
    vmacs: Vec<Vmac>,
}

/// Lowers a whole file. What cannot be used is left out, and told.
pub(crate) fn lower(
    root: &Section,
    environment: &dyn Environment,
    tables: &IprouteDirs,
    diagnostics: &mut Vec<Diagnostic>,
) -> Config {
    let last_first = |name: &'static str| {
        let mut all: Vec<&Section> = root.sections(name).collect();
        all.reverse();
        all
    };
    let (globals, ssl) = (last_first("global_defs"), last_first("SSL"));
    let mut l = LoweringContext {
        root,
        globals,
        ssl,
        environment,
        tables,
        diagnostics,
        reported: Default::default(),
        vmacs: Vec::new(),
    };
    let mut global = l.lower_global_defs();
    let mut usual = DefaultWeights::new();
    let mut scripts = l.lower_scripts(&global, &mut usual);
    let mut track_files = l.lower_track_files(&mut usual);
    let mut track_processes = l.lower_track_processes(&mut usual);
    let bfd = l.lower_bfd_instances(&mut usual);
    let mut instances = l.lower_instances(&usual);
    global.sync = l.lower_sync_daemon(&instances);
    let groups = l.lower_sync_groups(&mut instances, &usual);
    let virtual_servers = l.lower_services(&usual);
    let tracked: HashSet<&TrackedObject> = instances.iter().flat_map(|i| &i.tracks).map(|t| &t.object).collect();
    let checks = virtual_servers.iter().flat_map(|v| &v.servers).flat_map(|r| &r.checks);
    let files: HashSet<&str> = checks
        .filter_map(|c| if let CheckKind::File { name, .. } = &c.kind { Some(name.as_str()) } else { None })
        .collect();
    scripts.retain(|s| tracked.contains(&TrackedObject::Script(s.name.clone())));
    track_files.retain(|f| files.contains(&*f.name) || tracked.contains(&TrackedObject::File(f.name.clone())));
    track_processes.retain(|p| tracked.contains(&TrackedObject::Process(p.name.clone())));
    let announce_gaps = l.announcement_intervals();
    let statics = Statics {
        addresses: l.static_addresses(),
        routes: l.lower_routes(root, "static_routes"),
        rules: l.lower_rules(root, "static_rules"),
    };
    l.apply_track_groups(&mut instances, &statics);
    Config {
        global,
        scripts,
        track_files,
        track_processes,
        bfd,
        instances,
        sync_groups: groups,
        vmacs: std::mem::take(&mut l.vmacs),
        statics,
        link_delays: l.link_delays(),
        dynamic_interfaces: l.global_setting(|g| g.get("dynamic_interfaces").map(|_| ())).is_some(),
        announce_intervals: announce_gaps,
        namespace: root.text("net_namespace").map(str::to_owned),
        ipvs_namespace: LoweringContext::ipvs_namespace(root),
        virtual_servers,
    }
}

impl<'l> LoweringContext<'l> {
    /// What this version cannot do, and could not leave undone without harm.
    fn report_unsupported(&mut self, at: Span, what: String, label: &str) {
        self.diagnostics.push(Diagnostic::unsupported(at, what).label(label.to_owned()));
    }

    /// What this version leaves undone; each told once.
    fn report_not_in_force(&mut self, at: Span, what: &str) {
        if self.reported.insert(what.to_owned()) {
            self.diagnostics.push(
                Diagnostic::lint("not-in-force", at, format!("`{what}` is accepted, not in force yet"))
                    .label("no effect in this version"),
            );
        }
    }

    /// The last `global_defs` that has a keyword decides.
    fn global_setting<T>(&self, read: impl Fn(&'l Section) -> Option<T>) -> Option<T> {
        self.globals.iter().copied().find_map(read)
    }

    fn lower_global_defs(&self) -> GlobalDefs {
        let mut defs = GlobalDefs {
            router_id: self.global_setting(|g| g.text("router_id")).map(str::to_owned),
            child_wait: self.root.uint("child_wait_time").filter(|s| *s > 0).map(Duration::from_secs),
            reload_time: self
                .global_setting(|g| g.text("reload_time_file").map(str::to_owned))
                .map(|path| (path, self.global_setting(|g| Some(g.has("reload_repeat"))).unwrap_or(false))),
            reload_file: self.global_setting(|g| {
                g.get("reload_file").map(|e| match &e.value {
                    Value::Text(path) => path.clone(),
                    _ => String::new(),
                })
            }),
            disable_local_igmp: self.global_setting(|g| Some(g.has("disable_local_igmp"))).unwrap_or(false),
            script_user: self.global_setting(|g| match &g.get("script_user")?.value {
                Value::User(u) => Some((**u).clone()),
                _ => None,
            }),
            enable_script_security: self.global_setting(|g| g.flag("enable_script_security")).is_some(),
            fifos: self.lower_fifos(),
            mail: self.lower_mail(),
            notify_ordered: self.notify_ordered(),
            vrrp_rt_priority: self.global_setting(|g| g.uint("vrrp_rt_priority")).map(|n| n as u8),
            vrrp_cpus: self.cpu_affinity("vrrp_cpu_affinity"),
            checker_cpus: self.cpu_affinity("checker_cpu_affinity"),
            checker_scheduling: ProcessScheduling {
                nice: self.global_setting(|g| g.int("checker_priority")).map(|n| n as i8),
                rt_priority: self.global_setting(|g| g.uint("checker_rt_priority")).map(|n| n as u8),
                rttime_limit_us: self.global_setting(|g| g.uint("checker_rlimit_rttime")).map(|n| n as u32),
                lock_memory: self.global_setting(|g| g.flag("checker_no_swap")).unwrap_or(false),
            },
            umask: self.global_setting(|g| g.uint("umask")).map(|n| n as u32),
            connection_table_size: self
                .global_setting(|g| g.uint("connection_table_size"))
                .map(|n| (n as u32).next_power_of_two()),
            state_dump_file: self.global_setting(|g| g.text("state_dump_file")).map(str::to_owned),
            stats_dump_file: self.global_setting(|g| g.text("stats_dump_file")).map(str::to_owned),
            json_dump_file: self.global_setting(|g| g.text("json_dump_file")).map(str::to_owned),
            json_version_2: self.global_setting(|g| g.uint("json_version")) == Some(2),
            nftables: self.global_setting(|g| g.text("nftables")).filter(|n| is_nft_table_name(n)).map(str::to_owned),
            nftables_priority: self.global_setting(|g| g.int("nftables_priority")).map(|n| n as i32),
            nftables_counters: self.global_setting(|g| g.flag("nftables_counters")).is_some(),
            log_unknown_vrids: self.global_setting(|g| g.flag("log_unknown_vrids")).unwrap_or(false),
            rs_init_notifies: self.global_setting(|g| g.flag("rs_init_notifies")).unwrap_or(false),
            checker_concurrency: self.global_setting(|g| g.uint("checker_concurrency")).map(|n| n as u32),
            tuning: self.lower_tuning(),
            dataplane: self.dataplane_choice(),
            startup_script: self.lifecycle_script("startup_script", "startup_script_timeout"),
            shutdown_script: self.lifecycle_script("shutdown_script", "shutdown_script_timeout"),
            name_refresh: self.global_setting(|g| g.uint("name_refresh")).map(|n| n as u32),
            drift_policy: self.hand_changes(),
            flush_on_start: self.global_setting(|g| g.flag("lvs_flush")).is_some(),
            flush_on_stop: self.flush_on_stop(),
            ..GlobalDefs::default()
        };
        for g in self.root.sections("global_defs") {
            for e in g.get_all("dataplane_interface") {
                if let Value::Words(w) = &e.value
                    && let [device, hook] = w.as_slice()
                    && let Ok(hook) = hook.parse::<AttachChoice>()
                {
                    defs.dataplane_interfaces.insert(device.clone(), hook);
                }
            }
        }
        defs
    }

    /// `set_supplementary_groups`
    fn sets_supplementary_groups(&self) -> bool {
        self.global_setting(|g| g.flag("set_supplementary_groups")).unwrap_or(false)
    }

    /// `vrrp_cpu_affinity` and its like; their numbers were checked.
    fn cpu_affinity(&self, keyword: &'static str) -> Vec<u16> {
        match self.global_setting(|g| g.get(keyword)).map(|e| &e.value) {
            Some(Value::Words(words)) => words.iter().filter_map(|w| w.parse().ok()).collect(),
            _ => Vec::new(),
        }
    }

    /// IPVS's sysctls, and its timeouts, of which 0 keeps the kernel's.
    fn lower_tuning(&self) -> Tuning {
        let usual = Tuning::default();
        let number = |keyword, default| self.global_setting(|g| g.uint(keyword)).map_or(default, |n| n as u32);
        let yes = |keyword| self.global_setting(|g| g.flag(keyword)).unwrap_or(false);
        let mut t = Tuning {
            conn_reuse_mode: number("conn_reuse_mode", usual.conn_reuse_mode),
            expire_nodest_conn: yes("expire_nodest_conn"),
            expire_quiescent_template: yes("expire_quiescent_template"),
            sloppy_tcp: yes("sloppy_tcp"),
            sloppy_sctp: yes("sloppy_sctp"),
            secure_tcp: yes("secure_tcp"),
            schedule_icmp: yes("schedule_icmp"),
            nat_icmp_send: yes("nat_icmp_send"),
            pmtu_disc: self.global_setting(|g| g.flag("pmtu_disc")).unwrap_or(usual.pmtu_disc),
            cache_bypass: yes("cache_bypass"),
            lblc_expiration_s: number("lblc_expiration", usual.lblc_expiration_s),
            lblcr_expiration_s: number("lblcr_expiration", usual.lblcr_expiration_s),
            ..usual
        };
        for g in self.globals.iter().rev() {
            let Some(Value::Words(words)) = g.get("lvs_timeouts").map(|e| &e.value) else { continue };
            for pair in words.chunks(2) {
                let (Some(which), Some(Ok(seconds))) = (pair.first(), pair.get(1).map(|n| n.parse::<u32>())) else {
                    continue;
                };
                let place = match which.as_str() {
                    "tcp" => &mut t.tcp_s,
                    "tcpfin" => &mut t.tcpfin_s,
                    _ => &mut t.udp_s,
                };
                *place = if seconds > 0 { seconds } else { *place };
            }
        }
        t
    }

    /// A script that runs once, and its time, of which keepalived has 10 s.
    fn lifecycle_script(&self, script: &str, timeout: &str) -> Option<(ScriptCommand, Duration)> {
        let command = self.global_setting(|g| self.script_command(g, script))?;
        let seconds = self.global_setting(|g| g.uint(timeout)).unwrap_or(10);
        Some((command, Duration::from_secs(seconds)))
    }

    /// The script of a keyword, with who runs it.
    pub(super) fn script_command(&self, s: &Section, keyword: &str) -> Option<ScriptCommand> {
        let Value::Script(script) = &s.get(keyword)?.value else { return None };
        let default = || {
            self.global_setting(|g| match &g.get("script_user")?.value {
                Value::User(u) => Some((**u).clone()),
                _ => None,
            })
        };
        let user = script.user.clone().or_else(default);
        Some(ScriptCommand { argv: script.argv.clone(), user, groups: self.sets_supplementary_groups() })
    }

    /// The FIFOs, each once.
    fn lower_fifos(&self) -> Vec<Fifo> {
        let kinds = [
            ("notify_fifo", "notify_fifo_script", true, true),
            ("vrrp_notify_fifo", "vrrp_notify_fifo_script", true, false),
            ("lvs_notify_fifo", "lvs_notify_fifo_script", false, true),
        ];
        let mut out: Vec<Fifo> = Vec::new();
        for (keyword, reader, vrrp, servers) in kinds {
            let Some(script) = self.global_setting(|g| match &g.get(keyword)?.value {
                Value::Script(s) => Some(s),
                _ => None,
            }) else {
                continue;
            };
            let Some(path) = script.argv.first() else { continue };
            let reader = self.global_setting(|g| self.script_command(g, reader)).map(|mut r| {
                r.argv.push(path.clone());
                r
            });
            match out.iter_mut().find(|f| f.path == *path) {
                Some(f) => {
                    (f.vrrp, f.servers) = (f.vrrp || vrrp, f.servers || servers);
                    f.readers.extend(reader);
                }
                None => {
                    let (path, user, readers) = (path.clone(), script.user.clone(), reader.into_iter().collect());
                    out.push(Fifo { path, user, vrrp, servers, readers });
                }
            }
        }
        out
    }
}

/// What nft(8) takes for a name without quotes.
fn is_nft_table_name(name: &str) -> bool {
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic());
    first && name.len() < 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}
