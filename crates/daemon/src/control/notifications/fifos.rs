//! The notify FIFOs (`notify_fifo`, `vrrp_notify_fifo`, `lvs_notify_fifo`), and the lines written to them, which are
//! keepalived's.

use std::collections::BTreeMap;
use std::path::Path;

use evenkeel_core::model::Fifo;
use evenkeel_sys::{fifo, user};

/// The open FIFOs by their configuration.
#[derive(Default)]
pub struct Fifos(BTreeMap<Fifo, fifo::Fifo>);

impl Fifos {
    /// Opens the FIFOs that are new and closes those that are not configured any more.
    pub fn configure(&mut self, wanted: &[Fifo]) {
        self.0.retain(|f, _| wanted.contains(f));
        for f in wanted {
            if self.0.contains_key(f) {
                continue;
            }
            let owner = f.user.as_ref().map(|(u, g)| user::lookup_ids(u, g.as_deref())).transpose();
            match owner.and_then(|o| fifo::Fifo::open(Path::new(&f.path), o)) {
                Ok(open) => {
                    self.0.insert(f.clone(), open);
                }
                Err(e) => tracing::error!(fifo = %f.path, "{e}"),
            }
        }
    }

    /// Writes a transition of an instance or a group: `INSTANCE "V" MASTER 100`.
    pub fn write_vrrp(&mut self, kind: &str, name: &str, state: &str, priority: u8) {
        self.write_line(&format!("{kind} \"{name}\" {state} {priority}\n"), |f| f.vrrp);
    }

    /// Writes a transition of a real server: `RS [10.0.0.7]:tcp:80 [10.0.0.1]:tcp:80 UP`. keepalived ends such lines
    /// with a NUL byte after the newline, which is a bug that readers of lines trip over; this does not.
    pub fn write_server(&mut self, server: &str, service: &str, state: &str) {
        self.write_line(&format!("RS {server} {service} {state}\n"), |f| f.servers);
    }

    /// Writes a transition of a virtual service: `VS [10.0.0.1]:tcp:80 UP`.
    pub fn write_service(&mut self, service: &str, state: &str) {
        self.write_line(&format!("VS {service} {state}\n"), |f| f.servers);
    }

    fn write_line(&mut self, line: &str, is_reader: impl Fn(&Fifo) -> bool) {
        for (f, open) in self.0.iter_mut().filter(|(f, _)| is_reader(f)) {
            if let Err(e) = open.write_line(line.as_bytes()) {
                let (fifo, line) = (&f.path, line.trim_end());
                tracing::warn!(%fifo, "the line `{line}` was not written to the FIFO {fifo}: {e}");
            }
        }
    }
}
