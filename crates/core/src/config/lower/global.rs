//! `global_defs`: the settings of the daemon and of the packet path.

use std::time::Duration;

use super::LoweringContext;
use crate::config::value::Value;
use crate::model::{AttachOverride, GlobalDefs, ProcessScheduling, ScriptCommand, Tuning};

impl LoweringContext<'_> {
    /// All settings of `global_defs`. The last block that has a setting decides.
    pub(crate) fn lower_global_defs(&self) -> GlobalDefs {
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
            script_user: self.script_user(),
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
            drift_policy: self.drift_policy(),
            flush_on_start: self.global_setting(|g| g.flag("lvs_flush")).is_some(),
            flush_on_stop: self.flush_on_stop(),
            serve_any_address: self.global_setting(|g| g.flag("serve_any_address")).is_some(),
            ignores_local_clients: self.global_setting(|g| g.flag("local_clients")) == Some(false),
            ..GlobalDefs::default()
        };
        for g in self.root.sections("global_defs") {
            for e in g.get_all("dataplane_interface") {
                if let Value::Words(w) = &e.value
                    && let [device, mode] = w.as_slice()
                    && let Ok(mode) = mode.parse::<AttachOverride>()
                {
                    defs.dataplane_interfaces.insert(device, mode);
                }
            }
        }
        defs
    }

    /// The processor numbers of `vrrp_cpu_affinity` or `checker_cpu_affinity`; empty without one.
    fn cpu_affinity(&self, keyword: &'static str) -> Vec<u16> {
        match self.global_setting(|g| g.get(keyword)).map(|e| &e.value) {
            Some(Value::Words(words)) => words.iter().filter_map(|w| w.parse().ok()).collect(),
            _ => Vec::new(),
        }
    }

    /// The settings that are sysctls of IPVS (net/netfilter/ipvs/ip_vs_ctl.c), and `lvs_timeouts`, where 0 keeps the
    /// kernel's default.
    fn lower_tuning(&self) -> Tuning {
        let defaults = Tuning::default();
        let number = |keyword, default| self.global_setting(|g| g.uint(keyword)).map_or(default, |n| n as u32);
        let enabled = |keyword| self.global_setting(|g| g.flag(keyword)).unwrap_or(false);
        let mut t = Tuning {
            conn_reuse_mode: number("conn_reuse_mode", defaults.conn_reuse_mode),
            expire_nodest_conn: enabled("expire_nodest_conn"),
            expire_quiescent_template: enabled("expire_quiescent_template"),
            sloppy_tcp: enabled("sloppy_tcp"),
            sloppy_sctp: enabled("sloppy_sctp"),
            secure_tcp: enabled("secure_tcp"),
            schedule_icmp: enabled("schedule_icmp"),
            nat_icmp_send: enabled("nat_icmp_send"),
            pmtu_disc: self.global_setting(|g| g.flag("pmtu_disc")).unwrap_or(defaults.pmtu_disc),
            cache_bypass: enabled("cache_bypass"),
            lblc_expiration_s: number("lblc_expiration", defaults.lblc_expiration_s),
            lblcr_expiration_s: number("lblcr_expiration", defaults.lblcr_expiration_s),
            ..defaults
        };
        for g in self.globals.iter().rev() {
            let Some(Value::Words(words)) = g.get("lvs_timeouts").map(|e| &e.value) else { continue };
            for pair in words.chunks(2) {
                let (Some(name), Some(Ok(seconds))) = (pair.first(), pair.get(1).map(|n| n.parse::<u32>())) else {
                    continue;
                };
                let timeout = match name.as_str() {
                    "tcp" => &mut t.tcp_s,
                    "tcpfin" => &mut t.tcpfin_s,
                    _ => &mut t.udp_s,
                };
                *timeout = if seconds > 0 { seconds } else { *timeout };
            }
        }
        t
    }

    /// `startup_script` or `shutdown_script` with its timeout, 10 s by default as in keepalived.
    fn lifecycle_script(&self, script: &str, timeout: &str) -> Option<(ScriptCommand, Duration)> {
        let command = self.global_setting(|g| self.script_command(g, script))?;
        let seconds = self.global_setting(|g| g.uint(timeout)).unwrap_or(10);
        Some((command, Duration::from_secs(seconds)))
    }
}

/// Whether nft(8) accepts the name without quotes.
fn is_nft_table_name(name: &str) -> bool {
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic());
    first && name.len() < 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}
