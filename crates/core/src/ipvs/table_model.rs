//! A model of a table in IPVS's terms: it applies changes to plain values, so that their result is known before the first
//! change is made. `ipvsadm -R --atomic` uses it.

use std::collections::BTreeMap;

use super::{Change, Dest, Service, ServiceId};

const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EEXIST: i32 = 17;

/// Services and their destinations, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TableModel(BTreeMap<ServiceId, (Service, Vec<Dest>)>);

impl TableModel {
    /// The model of these services, each with its destinations, newest first.
    pub fn from_services<'a, D>(all: impl Iterator<Item = (&'a Service, D)>) -> TableModel
    where
        D: DoubleEndedIterator<Item = &'a Dest>,
    {
        TableModel(all.map(|(s, dests)| (s.id, (s.clone(), dests.rev().copied().collect()))).collect())
    }

    /// Applies a change. Changes of timeouts, sync daemons and statistics have no effect.
    ///
    /// # Errors
    ///
    /// The errno that IPVS returns for the change (`ip_vs_genl_set_cmd()`).
    pub fn apply_change(&mut self, change: &Change) -> Result<(), i32> {
        match change {
            Change::AddService(s) if self.0.contains_key(&s.id) => return Err(EEXIST),
            Change::AddService(s) => {
                self.0.insert(s.id, (s.clone(), Vec::new()));
            }
            Change::EditService(s) => self.0.get_mut(&s.id).ok_or(ESRCH)?.0 = s.clone(),
            Change::RemoveService(id) => {
                self.0.remove(id).ok_or(ESRCH)?;
            }
            Change::AddDest(id, d) => {
                let (_, dests) = self.0.get_mut(id).ok_or(ESRCH)?;
                if dests.iter().any(|e| e.server_key() == d.server_key()) {
                    return Err(EEXIST);
                }
                dests.push(*d);
            }
            Change::EditDest(id, d) => {
                let (_, dests) = self.0.get_mut(id).ok_or(ESRCH)?;
                *dests.iter_mut().find(|e| e.server_key() == d.server_key()).ok_or(ENOENT)? = *d;
            }
            Change::RemoveDest(id, d) => {
                let (_, dests) = self.0.get_mut(id).ok_or(ESRCH)?;
                let at = dests.iter().position(|e| e.server_key() == d.server_key()).ok_or(ENOENT)?;
                dests.remove(at);
            }
            Change::Flush => self.0.clear(),
            Change::Zero(_) | Change::SetTimeouts(_) | Change::StartDaemon(_) | Change::StopDaemon(_) => {}
        }
        Ok(())
    }

    /// The changes from this table to another. Destinations are added before others are removed, so that a service that
    /// keeps destinations is never empty in between. Destinations that stay keep their place in the list.
    pub fn changes_to(&self, other: &TableModel) -> Vec<Change> {
        let mut changes = Vec::new();
        for (id, (service, dests)) in &other.0 {
            let none = (service.clone(), Vec::new());
            let (had, old) = match self.0.get(id) {
                Some(old) => old,
                None => {
                    changes.push(Change::AddService(service.clone()));
                    &none
                }
            };
            if had != service {
                changes.push(Change::EditService(service.clone()));
            }
            for d in dests {
                match old.iter().find(|e| e.server_key() == d.server_key()) {
                    None => changes.push(Change::AddDest(*id, *d)),
                    Some(e) if e != d => changes.push(Change::EditDest(*id, *d)),
                    Some(_) => {}
                }
            }
            let gone = old.iter().filter(|e| !dests.iter().any(|d| d.server_key() == e.server_key()));
            changes.extend(gone.map(|d| Change::RemoveDest(*id, *d)));
        }
        changes.extend(self.0.keys().filter(|id| !other.0.contains_key(id)).map(|id| Change::RemoveService(*id)));
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    fn service(port: u16, scheduler: &str) -> Service {
        let id = ServiceId::Address { protocol: Protocol::Tcp, addr: [10, 0, 0, 100].into(), port };
        Service::new(id, scheduler)
    }

    fn dest(n: u8, weight: i32) -> Dest {
        Dest { weight, ..Dest::new([10, 0, 0, n].into(), 80) }
    }

    #[test]
    fn a_restore_changes_only_what_differs() {
        let (a, b) = (service(80, "rr"), service(81, "wlc"));
        let mut now = TableModel::default();
        for c in [
            Change::AddService(a.clone()),
            Change::AddDest(a.id, dest(1, 1)),
            Change::AddDest(a.id, dest(2, 1)),
            Change::AddService(b.clone()),
        ] {
            now.apply_change(&c).expect("possible");
        }
        let mut then = now.clone();
        for c in [
            Change::Flush,
            Change::AddService(a.clone()),
            Change::AddDest(a.id, dest(2, 5)),
            Change::AddDest(a.id, dest(3, 1)),
        ] {
            then.apply_change(&c).expect("possible");
        }
        let changes = now.changes_to(&then);
        let wanted = [
            Change::EditDest(a.id, dest(2, 5)),
            Change::AddDest(a.id, dest(3, 1)),
            Change::RemoveDest(a.id, dest(1, 1)),
            Change::RemoveService(b.id),
        ];
        assert_eq!(changes, wanted);
        assert_eq!(then.changes_to(&then), []);
        for c in &changes {
            now.apply_change(c).expect("possible");
        }
        assert_eq!(now.changes_to(&then), []);
    }

    #[test]
    fn rejected_changes_return_the_errno_of_ipvs() {
        let (a, mut m) = (service(80, "rr"), TableModel::default());
        assert_eq!(m.apply_change(&Change::AddDest(a.id, dest(1, 1))), Err(ESRCH));
        assert_eq!(m.apply_change(&Change::AddService(a.clone())), Ok(()));
        assert_eq!(m.apply_change(&Change::AddService(a.clone())), Err(EEXIST));
        assert_eq!(m.apply_change(&Change::EditDest(a.id, dest(1, 1))), Err(ENOENT));
        assert_eq!(m.apply_change(&Change::EditService(service(81, "rr"))), Err(ESRCH));
    }
}
