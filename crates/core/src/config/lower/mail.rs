//! `smtp_server` and its settings: how mail is sent, and to whom.

use std::time::Duration;

use super::LoweringContext;
use crate::config::value::{Line, Value};
use crate::model::{Login, Mail, MailTls};

impl LoweringContext<'_> {
    /// The mail settings; `None` without `smtp_server` or without `notification_email`.
    pub(crate) fn lower_mail(&self) -> Option<Mail> {
        let words = |keyword: &str| {
            self.global_setting(|g| match &g.get(keyword)?.value {
                Value::Words(w) => Some(w.clone()),
                _ => None,
            })
        };
        let server = words("smtp_server")?;
        let lines = self.root.sections("global_defs").flat_map(|g| g.lines("notification_email"));
        let recipients = lines.filter_map(|(_, l)| if let Line::Name(n) = l { Some(n.clone()) } else { None });
        let mail = Mail {
            relay: server.first()?.clone(),
            port: server.get(1).and_then(|p| p.parse().ok()).unwrap_or(25),
            helo: self.global_setting(|g| g.text("smtp_helo_name")).map(str::to_owned),
            from: self.global_setting(|g| g.text("notification_email_from")).map(str::to_owned),
            to: recipients.collect(),
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
}
