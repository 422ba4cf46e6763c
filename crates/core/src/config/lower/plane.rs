//! Which data plane, and what only the kernel's IPVS has.

use super::super::value::{Section, Value};
use super::Lower;
use crate::model::{Flush, HandChanges, PlaneChoice, SyncSetup};

impl Lower<'_> {
    /// `dataplane xdp|ipvs|auto`
    pub(super) fn plane(&self) -> PlaneChoice {
        match self.global(|g| g.text("dataplane")) {
            Some("xdp") => PlaneChoice::Xdp,
            Some("ipvs") => PlaneChoice::Ipvs,
            _ => PlaneChoice::Auto,
        }
    }

    /// `hand_changes repair|leave`
    pub(super) fn hand_changes(&self) -> HandChanges {
        match self.global(|g| g.text("hand_changes")) {
            Some("leave") => HandChanges::Leave,
            _ => HandChanges::Repair,
        }
    }

    /// `lvs_flush_on_stop [VS]`
    pub(super) fn flush_on_stop(&self) -> Flush {
        match self.global(|g| g.get("lvs_flush_on_stop")).map(|e| &e.value) {
            None => Flush::Own,
            Some(Value::Text(_)) => Flush::Own,
            Some(_) => Flush::All,
        }
    }

    /// `net_namespace_ipvs [NAME]`
    pub(super) fn ipvs_namespace(root: &Section) -> Option<String> {
        Some(match &root.get("net_namespace_ipvs")?.value {
            Value::Text(name) => name.clone(),
            _ => String::new(),
        })
    }

    /// `lvs_sync_daemon IF [inst] [NAME] [id N] [maxlen N] [port N] [ttl N] [group ADDRESS]`; read already.
    pub(super) fn sync_daemon(&self) -> Option<SyncSetup> {
        let entry = self.global(|g| g.get("lvs_sync_daemon"))?;
        let Value::Words(words) = &entry.value else { return None };
        let mut words = words.iter().map(String::as_str);
        let mut setup = SyncSetup { interface: words.next()?.to_owned(), ..SyncSetup::default() };
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
