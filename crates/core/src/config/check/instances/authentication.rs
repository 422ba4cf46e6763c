//! Checks of `authentication` and `auth_hmac`.

use super::super::super::Diagnostic;
use super::super::super::value::{Section, Value};
use super::super::CheckContext;
use super::InstanceCheck;

impl InstanceCheck<'_> {
    pub(super) fn check_authentication(&self, c: &mut CheckContext<'_>) {
        for a in self.section.sections("authentication") {
            self.check_password(c, a);
        }
        for a in self.section.sections("authentication").filter(|a| a.text("auth_type") == Some("AH") && self.master) {
            let message = "`auth_type AH` conflicts with `state MASTER`";
            c.report(
                Diagnostic::warning("auth-ah", a.args_span("auth_type"), message)
                    .label("the instance starts as BACKUP, to learn the sequence numbers of its peers")
                    .note(self.section.args_span("state"), "the state")
                    .help("write `state BACKUP`"),
            );
        }
        for a in self.section.sections("auth_hmac") {
            check_hmac_keys(c, a);
        }
    }

    fn check_password(&self, c: &mut CheckContext<'_>, a: &Section) {
        let span = a.args_span("auth_pass");
        if self.version == 3 {
            c.report(
                Diagnostic::warning("auth-v3", span, "VRRPv3 has no authentication")
                    .label("ignored")
                    .help("use version 2, or filter IP protocol 112"),
            );
        }
        match a.text("auth_pass").filter(|p| !p.is_empty()) {
            None if a.has("auth_pass") => {
                let d = Diagnostic::error("missing-keyword", span, "the password is empty");
                c.report(d.label("keepalived disables the authentication"));
            }
            None => {
                c.report_missing(a, "auth_pass", "this authentication");
            }
            Some(p) if p.len() > 8 => c.report(
                Diagnostic::warning("auth-length", span, "VRRP uses only the first eight characters of a password")
                    .label(format!("{} characters", p.len()))
                    .help("shorten it on all directors"),
            ),
            Some(_) => {}
        }
    }
}

fn check_hmac_keys(c: &mut CheckContext<'_>, a: &Section) {
    // The first byte of a key is its number.
    let is_key = |n: u64| {
        a.get_all("key").any(|e| match &e.value {
            Value::Bytes(b) => b.first().is_some_and(|number| u64::from(*number) == n),
            _ => false,
        })
    };
    match a.uint("active_key") {
        Some(n) if is_key(n) => c.report(
            Diagnostic::lint("hmac-peers", a.span, "only evenkeel can verify these signatures")
                .label("keepalived 2.4 computes its MAC over other bytes, so each rejects the adverts of the other")
                .help("run evenkeel on all directors of this virtual router"),
        ),
        Some(n) => c.report(
            Diagnostic::error("undefined-key", a.args_span("active_key"), format!("no key has the number {n}"))
                .label("not defined in this block"),
        ),
        None => {
            c.report_missing(a, "active_key", "this auth_hmac");
        }
    }
}
