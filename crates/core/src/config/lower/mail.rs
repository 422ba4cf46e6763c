//! `smtp_server` and what belongs to it; who is told by mail, and in which order programs are.

use std::time::Duration;

use super::super::value::{Line, Section, Value};
use super::LoweringContext;
use crate::model::{Login, Mail, MailTls};

impl LoweringContext<'_> {
    /// Where mail goes; nothing if there is no relay, or nobody to write to.
    pub(super) fn lower_mail(&self) -> Option<Mail> {
        let words = |keyword: &str| {
            self.global_setting(|g| match &g.get(keyword)?.value {
                Value::Words(w) => Some(w.clone()),
                _ => None,
            })
        };
        let server = words("smtp_server")?;
        let lines = self.root.sections("global_defs").flat_map(|g| g.lines("notification_email"));
        let names = lines.filter_map(|(_, l)| if let Line::Name(n) = l { Some(n.clone()) } else { None });
        let mail = Mail {
            relay: server.first()?.clone(),
            port: server.get(1).and_then(|p| p.parse().ok()).unwrap_or(25),
            helo: self.global_setting(|g| g.text("smtp_helo_name")).map(str::to_owned),
            from: self.global_setting(|g| g.text("notification_email_from")).map(str::to_owned),
            to: names.collect(),
            timeout: self.global_setting(|g| g.seconds("smtp_connect_timeout")).unwrap_or(Duration::from_secs(30)),
            faults: self.global_setting(|g| g.get("no_email_faults").map(|_| ())).is_none(),
            tls: match self.global_setting(|g| g.text("smtp_tls")) {
                Some("starttls") => MailTls::StartTls,
                Some("on") => MailTls::On,
                _ => MailTls::Off,
            },
            login: words("smtp_login")
                .and_then(|w| Some(Login { user: w.first()?.clone(), password: w.get(1)?.clone() })),
        };
        (!mail.to.is_empty()).then_some(mail)
    }

    /// `smtp_alert` of a block, or what global_defs says for its kind, or for all.
    pub(super) fn sends_mail_alerts(&self, s: &Section, kind: &'static str, usual: bool) -> bool {
        let global = |k: &'static str| self.global_setting(|g| g.flag(k));
        if kind == "smtp_alert_checker" && global("no_checker_emails").is_some() {
            return false;
        }
        s.flag("smtp_alert").or_else(|| global(kind)).or_else(|| global("smtp_alert")).unwrap_or(usual)
    }

    /// `notify_ordered`
    pub(super) fn notify_ordered(&self) -> Option<Duration> {
        let limit = self.global_setting(|g| g.get("notify_ordered").map(|e| &e.value))?;
        Some(Duration::from_secs(if let Value::Uint(n) = limit { *n } else { 60 }))
    }
}
