//! Which data plane, and what only the kernel's IPVS has.

use super::super::value::{Section, Value};
use super::LoweringContext;
use crate::model::{DataPlaneMode, DriftPolicy, FlushScope, SyncConfig, VrrpInstance};

impl LoweringContext<'_> {
    /// `dataplane xdp|ipvs|auto`
    pub(super) fn dataplane_choice(&self) -> DataPlaneMode {
        match self.global_setting(|g| g.text("dataplane")) {
            Some("xdp") => DataPlaneMode::Xdp,
            Some("ipvs") => DataPlaneMode::Ipvs,
            _ => DataPlaneMode::Auto,
        }
    }

    /// `hand_changes repair|leave`
    pub(super) fn hand_changes(&self) -> DriftPolicy {
        match self.global_setting(|g| g.text("hand_changes")) {
            Some("leave") => DriftPolicy::Leave,
            _ => DriftPolicy::Repair,
        }
    }

    /// `lvs_flush_on_stop [VS]`
    pub(super) fn flush_on_stop(&self) -> FlushScope {
        match self.global_setting(|g| g.get("lvs_flush_on_stop")).map(|e| &e.value) {
            None => FlushScope::Configured,
            Some(Value::Text(_)) => FlushScope::Configured,
            Some(_) => FlushScope::All,
        }
    }

    /// `net_namespace_ipvs [NAME]`
    pub(super) fn ipvs_namespace(root: &Section) -> Option<String> {
        Some(match &root.get("net_namespace_ipvs")?.value {
            Value::Text(name) => name.clone(),
            _ => String::new(),
        })
    }

    /// `lvs_sync_daemon`, or its old form inside an instance. The VRID of the instance that says who tells and who listens
    /// is the id where none is written (keepalived.conf(5)).
    pub(super) fn lower_sync_daemon(&self, instances: &[VrrpInstance]) -> Option<SyncConfig> {
        let of_instance = |s: &Section| {
            let e = s.entries.iter().rev().find(|e| e.keyword.name == "lvs_sync_daemon_interface")?;
            let Value::Text(interface) = &e.value else { return None };
            Some(SyncConfig {
                interface: interface.clone(),
                instance: Some(s.name().to_owned()),
                ..SyncConfig::default()
            })
        };
        let mut setup =
            self.global_sync_daemon().or_else(|| self.root.sections("vrrp_instance").find_map(of_instance))?;
        let instance = instances.iter().find(|i| setup.instance.as_ref() == Some(&i.name));
        setup.syncid = setup.syncid.or_else(|| instance.map(|i| i.vrid.get()));
        Some(setup)
    }

    /// `lvs_sync_daemon IF [inst] [NAME] [id N] [maxlen N] [port N] [ttl N] [group ADDRESS]`; read already.
    fn global_sync_daemon(&self) -> Option<SyncConfig> {
        let entry = self.global_setting(|g| g.get("lvs_sync_daemon"))?;
        let Value::Words(words) = &entry.value else { return None };
        let mut words = words.iter().map(String::as_str);
        let mut setup = SyncConfig { interface: words.next()?.to_owned(), ..SyncConfig::default() };
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_default();
            match word {
                "inst" => setup.instance = Some(value().to_owned()),
                "id" => setup.syncid = value().parse().ok(),
                "maxlen" => setup.maxlen = value().parse().ok(),
                "port" => setup.port = value().parse().ok(),
                "ttl" => setup.ttl = value().parse().ok(),
                "group" => setup.group = value().parse().ok(),
                name => setup.instance = Some(name.to_owned()),
            }
        }
        Some(setup)
    }
}
