//! Settings of the data plane: which one runs, what happens to external changes, and IPVS's own settings.

use super::LoweringContext;
use crate::config::value::{Section, Value};
use crate::model::{DataPlaneMode, DriftPolicy, FlushScope, SyncConfig, VrrpInstance};

impl LoweringContext<'_> {
    /// `dataplane xdp|ipvs|auto`
    pub(crate) fn dataplane_choice(&self) -> DataPlaneMode {
        match self.global_setting(|g| g.text("dataplane")) {
            Some("xdp") => DataPlaneMode::Xdp,
            Some("ipvs") => DataPlaneMode::Ipvs,
            _ => DataPlaneMode::Auto,
        }
    }

    /// `hand_changes repair|leave`: what happens to changes of the data plane that others make.
    pub(crate) fn drift_policy(&self) -> DriftPolicy {
        match self.global_setting(|g| g.text("hand_changes")) {
            Some("leave") => DriftPolicy::Leave,
            _ => DriftPolicy::Repair,
        }
    }

    /// `lvs_flush_on_stop [VS]`: which services a stop removes.
    pub(crate) fn flush_on_stop(&self) -> FlushScope {
        match self.global_setting(|g| g.get("lvs_flush_on_stop")).map(|e| &e.value) {
            None => FlushScope::Configured,
            Some(Value::Text(_)) => FlushScope::Configured,
            Some(_) => FlushScope::All,
        }
    }

    /// `net_namespace_ipvs [NAME]`: the network namespace of IPVS; an empty name means the default one.
    pub(crate) fn ipvs_namespace(root: &Section) -> Option<String> {
        Some(match &root.get("net_namespace_ipvs")?.value {
            Value::Text(name) => name.clone(),
            _ => String::new(),
        })
    }

    /// `lvs_sync_daemon`, or its older form `lvs_sync_daemon_interface` inside an instance.
    ///
    /// Without an explicit id, the sync id is the VRID of the instance whose state decides between the master daemon,
    /// which sends, and the backup daemon, which receives (keepalived.conf(5)).
    pub(crate) fn lower_sync_daemon(&self, instances: &[VrrpInstance]) -> Option<SyncConfig> {
        let in_instance = |s: &Section| {
            let e = s.entries.iter().rev().find(|e| e.keyword.name == "lvs_sync_daemon_interface")?;
            let Value::Text(interface) = &e.value else { return None };
            Some(SyncConfig {
                interface: interface.clone(),
                instance: Some(s.name().to_owned()),
                ..SyncConfig::default()
            })
        };
        let mut config =
            self.global_sync_daemon().or_else(|| self.root.sections("vrrp_instance").find_map(in_instance))?;
        let instance = instances.iter().find(|i| config.instance.as_ref() == Some(&i.name));
        config.syncid = config.syncid.or_else(|| instance.map(|i| i.vrid.get()));
        Some(config)
    }

    /// `lvs_sync_daemon IF [inst] [NAME] [id N] [maxlen N] [port N] [ttl N] [group ADDRESS]`; `read` has checked the
    /// words.
    fn global_sync_daemon(&self) -> Option<SyncConfig> {
        let entry = self.global_setting(|g| g.get("lvs_sync_daemon"))?;
        let Value::Words(words) = &entry.value else { return None };
        let mut words = words.iter().map(String::as_str);
        let mut config = SyncConfig { interface: words.next()?.to_owned(), ..SyncConfig::default() };
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_default();
            match word {
                "inst" => config.instance = Some(value().to_owned()),
                "id" => config.syncid = value().parse().ok(),
                "maxlen" => config.maxlen = value().parse().ok(),
                "port" => config.port = value().parse().ok(),
                "ttl" => config.ttl = value().parse().ok(),
                "group" => config.group = value().parse().ok(),
                name => config.instance = Some(name.to_owned()),
            }
        }
        Some(config)
    }
}
