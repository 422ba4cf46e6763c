//! Notifications: notify scripts, FIFOs, and which events are also sent by mail.

use std::time::Duration;

use super::LoweringContext;
use crate::config::value::{Section, Value};
use crate::model::{Fifo, NotifyConfig, ScriptCommand};

impl LoweringContext<'_> {
    /// `script_user`: the user and the group that run scripts without a user of their own.
    pub(crate) fn script_user(&self) -> Option<(String, Option<String>)> {
        self.global_setting(|g| match &g.get("script_user")?.value {
            Value::User(u) => Some((**u).clone()),
            _ => None,
        })
    }

    /// `set_supplementary_groups`: whether scripts get all groups of their user.
    pub(crate) fn sets_supplementary_groups(&self) -> bool {
        self.global_setting(|g| g.flag("set_supplementary_groups")).unwrap_or(false)
    }

    /// The script of a keyword, with the user and the groups that run it.
    pub(crate) fn script_command(&self, s: &Section, keyword: &str) -> Option<ScriptCommand> {
        let Value::Script(script) = &s.get(keyword)?.value else { return None };
        let user = script.user.clone().or_else(|| self.script_user());
        Some(ScriptCommand { argv: script.argv.clone(), user, groups: self.sets_supplementary_groups() })
    }

    /// The `notify…` settings of an instance or a sync group.
    pub(crate) fn notify_scripts(&self, s: &Section) -> NotifyConfig {
        let global = || self.global_setting(|g| g.flag("vrrp_notify_priority_changes"));
        // `notify_deleted` and `notify_master_rx_lower_pri` are keywords of an instance, but not of a sync group.
        let if_keyword = |keyword: &'static str| s.block.keyword(keyword).map(|_| keyword);
        NotifyConfig {
            master: self.script_command(s, "notify_master"),
            backup: self.script_command(s, "notify_backup"),
            fault: self.script_command(s, "notify_fault"),
            stop: self.script_command(s, "notify_stop"),
            any: self.script_command(s, "notify"),
            deleted: if_keyword("notify_deleted").filter(|k| s.has(k)).map(|k| self.script_command(s, k)),
            lower_priority: if_keyword("notify_master_rx_lower_pri").and_then(|k| self.script_command(s, k)),
            mail: self.sends_mail_alerts(s, "smtp_alert_vrrp", false),
            priority_changes: s.flag("notify_priority_changes").or_else(global).unwrap_or(false),
        }
    }

    /// The notification FIFOs. Keywords that name the same path share one FIFO.
    pub(crate) fn lower_fifos(&self) -> Vec<Fifo> {
        let kinds = [
            ("notify_fifo", "notify_fifo_script", true, true),
            ("vrrp_notify_fifo", "vrrp_notify_fifo_script", true, false),
            ("lvs_notify_fifo", "lvs_notify_fifo_script", false, true),
        ];
        let mut out: Vec<Fifo> = Vec::new();
        for (keyword, reader, vrrp, servers) in kinds {
            let Some(script) = self.global_setting(|g| match &g.get(keyword)?.value {
                Value::Script(s) => Some(s),
                _ => None,
            }) else {
                continue;
            };
            let Some(path) = script.argv.first() else { continue };
            let reader = self.global_setting(|g| self.script_command(g, reader)).map(|mut r| {
                // The reader gets the path of the FIFO as its last argument.
                r.argv.push(path.clone());
                r
            });
            match out.iter_mut().find(|f| f.path == *path) {
                Some(f) => {
                    (f.vrrp, f.servers) = (f.vrrp || vrrp, f.servers || servers);
                    f.readers.extend(reader);
                }
                None => {
                    let (path, user, readers) = (path.clone(), script.user.clone(), reader.into_iter().collect());
                    out.push(Fifo { path, user, vrrp, servers, readers });
                }
            }
        }
        out
    }

    /// Whether a block's events are sent by mail: its `smtp_alert`, or the global setting of its kind, or the global
    /// `smtp_alert`, or `default`.
    pub(crate) fn sends_mail_alerts(&self, s: &Section, kind: &'static str, default: bool) -> bool {
        let global = |k: &'static str| self.global_setting(|g| g.flag(k));
        if kind == "smtp_alert_checker" && global("no_checker_emails").is_some() {
            return false;
        }
        s.flag("smtp_alert").or_else(|| global(kind)).or_else(|| global("smtp_alert")).unwrap_or(default)
    }

    /// `notify_ordered [SECONDS]`: how long one notify script may delay the next; 60 s if no time is given.
    pub(crate) fn notify_ordered(&self) -> Option<Duration> {
        let limit = self.global_setting(|g| g.get("notify_ordered").map(|e| &e.value))?;
        Some(Duration::from_secs(if let Value::Uint(n) = limit { *n } else { 60 }))
    }
}
