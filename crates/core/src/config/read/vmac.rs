//! Virtual interfaces: the arguments of `use_vmac` and `use_ipvlan`.
//!
//! Only validity is checked here; `lower` reads the words again to build the interface.

use std::net::IpAddr;

use super::words::words_value;
use super::{Reader, abbreviate};
use crate::config::Diagnostic;
use crate::config::lex::Word;
use crate::config::tree::Statement;
use crate::config::value::Value;

impl Reader<'_> {
    /// `[[name] IFNAME] [MAC] [netlink_notify_msg] [group N]`
    pub(super) fn read_use_vmac(&mut self, st: &Statement<'_>) -> Option<Value> {
        let mut has_name = false;
        let mut rest = st.args().iter();
        while let Some(w) = rest.next() {
            match &*w.text {
                "name" => {
                    let v = self.next_argument(w, &mut rest)?;
                    self.read_interface_name(v)?;
                }
                "group" => {
                    let v = self.next_argument(w, &mut rest)?;
                    self.read_unsigned(v, 0, u64::from(u32::MAX))?;
                }
                "netlink_notify_msg" => {}
                t if t.contains(':') => self.read_mac(w)?,
                _ => {
                    self.read_interface_name(w)?;
                    if std::mem::replace(&mut has_name, true) {
                        let d = Diagnostic::error("duplicate", w.span, "a virtual interface has only one name");
                        self.report(d.label("a second name"));
                        return None;
                    }
                }
            }
        }
        Some(words_value(st.args()))
    }

    /// `[[name] IFNAME] [ADDRESS[/PREFIX]] [bridge|private|vepa] [group N]`
    pub(super) fn read_use_ipvlan(&mut self, st: &Statement<'_>) -> Option<Value> {
        let mut rest = st.args().iter();
        while let Some(w) = rest.next() {
            let addr = w.text.split('/').next().unwrap_or("");
            match &*w.text {
                "name" => {
                    let v = self.next_argument(w, &mut rest)?;
                    self.read_interface_name(v)?;
                }
                "group" => {
                    let v = self.next_argument(w, &mut rest)?;
                    self.read_unsigned(v, 0, u64::from(u32::MAX))?;
                }
                "bridge" | "private" | "vepa" => {}
                _ if addr.parse::<IpAddr>().is_ok() => {}
                _ => {
                    self.read_interface_name(w)?;
                }
            }
        }
        Some(words_value(st.args()))
    }

    /// A unicast MAC address of five or six bytes, outside of the ranges that RFC 9568, 7.3, reserves for VRRP.
    fn read_mac(&mut self, w: &Word<'_>) -> Option<()> {
        let bytes: Option<Vec<u8>> =
            w.text.split(':').map(|b| u8::from_str_radix(b, 16).ok().filter(|_| b.len() <= 2)).collect();
        let d = Diagnostic::error("not-a-mac", w.span, format!("`{}` is not a usable MAC address", abbreviate(w)));
        let expected = match bytes.as_deref() {
            Some([0, 0, 0x5e, 0, 1 | 2, ..]) => {
                "the addresses of RFC 9568 are assigned automatically; write another address, or none"
            }
            Some([first, ..]) if first & 1 != 0 => "expected a unicast address",
            Some(b) if b.len() == 5 || b.len() == 6 => return Some(()),
            _ => "expected five or six bytes in hexadecimal, such as 02:00:5e:10:00:01",
        };
        self.report(d.label(expected));
        None
    }
}
