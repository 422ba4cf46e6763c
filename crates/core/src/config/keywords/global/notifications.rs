//! Mail, scripts and notify FIFOs.

use super::super::reasons::*;
use super::super::shared::notify_fifo_script;
use super::super::spec::MissingArgument::Reports;
use super::super::spec::*;

#[rustfmt::skip]
pub(super) const KEYWORDS: &[Keyword] = &[
    kw("notification_email_from", Args::Text, "keepalived@hostname", "v1.0.3",
       "Sender address of mails."),
    kw("notification_email", Args::Lines(LineKind::Names), "none", "v1.0.3",
       "Recipient addresses of mails."),
    kw("smtp_server", Args::SmtpServer, "none (no mail)", "v1.0.3",
       "Mail relay and its port."),
    kw("smtp_helo_name", Args::OptText, "host name", "v1.2.20",
       "Name that the daemon sends in HELO."),
    kw("smtp_connect_timeout", Args::Uint(1, 4294), "30", "v1.0.3",
       "Timeout in seconds of the connection to the mail relay."),
    kw("smtp_tls", Args::Choice(&["off", "starttls", "on"]), "off", "evenkeel",
       "TLS to the mail relay: none, by STARTTLS, or from the start of the connection. The relay's certificate must be valid."),
    kw("smtp_login", Args::Words(2, 2), "none", "evenkeel",
       "User name and password for the mail relay; requires `smtp_tls`."),
    kw("smtp_alert", Args::Bool, "unset", "v2.0.0",
       "Default of `smtp_alert` in VRRP instances, sync groups, virtual servers and real servers."),
    kw("smtp_alert_vrrp", Args::Bool, "unset", "v2.0.0",
       "Default of `smtp_alert` in VRRP instances and sync groups."),
    kw("smtp_alert_checker", Args::Bool, "unset", "v2.0.0",
       "Default of `smtp_alert` in virtual servers and real servers."),
    kw("no_email_faults", Args::Flag, "off", "v2.0.0",
       "Send no mail at transitions to FAULT."),
    kw("no_checker_emails", Args::Bool, "off", "v2.0.0",
       "Send no mail when a single checker changes its state, only when a real server is added or removed."),
    kw("script_user", Args::User, "the user keepalived_script if it exists, else the daemon's user", "v1.3.0",
       "Default user and group of scripts; a `:` before the group adds the user's supplementary groups.")
       .differs("without it and without a user keepalived_script, scripts run as root, but none at all with \
        `enable_script_security`"),
    kw("enable_script_security", Args::Flag, "off", "v1.3.0",
       "Run a script as root only if nobody but root can change it: every directory and symbolic link that its path \
        passes, the file, and the interpreter of its first line belong to root and are writable by nobody else. Checked \
        before every run. Without a user for scripts none runs."),
    kw("set_supplementary_groups", Args::Bool, "off", "unreleased",
       "Run scripts with the supplementary groups of their user."),
    kw("use_symlink_paths", Args::Bool, "off", "v2.3.0",
       "Run scripts by the path as written, without resolving symbolic links first.").no_effect(SCRIPT_PATHS_AS_WRITTEN),
    kw("startup_script", Args::ParentScript, "none", "v2.1.0",
       "Script to run once, before anything else is started.").missing_argument(Reports),
    kw("startup_script_timeout", Args::Uint(1, 1000), "10", "v2.1.0",
       "Maximum run time in seconds of the startup script, after which it is killed."),
    kw("shutdown_script", Args::ParentScript, "none", "v2.1.0",
       "Script to run once, after everything else has stopped.")
       .differs("it does not run at a hand-over, after which the service continues"),
    kw("shutdown_script_timeout", Args::Uint(1, 1000), "10", "v2.1.0",
       "Maximum run time in seconds of the shutdown script, after which it is killed."),
    kw("notify_fifo", Args::Fifo, "none", "v1.3.6",
       "FIFO for the states of VRRP instances, sync groups, virtual servers and real servers; created if it does not exist.").missing_argument(Reports),
    notify_fifo_script("notify_fifo_script"),
    kw("vrrp_notify_fifo", Args::Fifo, "none", "v1.3.6",
       "FIFO for the states of VRRP instances and sync groups."),
    notify_fifo_script("vrrp_notify_fifo_script"),
    kw("lvs_notify_fifo", Args::Fifo, "none", "v1.3.6",
       "FIFO for the states of virtual servers and real servers.").missing_argument(Reports),
    notify_fifo_script("lvs_notify_fifo_script"),
    kw("fifo_write_vrrp_states_on_reload", Args::Flag, "off", "v2.2.5",
       "Write all VRRP states to the FIFOs after a reload."),
    kw("notify_ordered", Args::OptUint(1, 3600), "off", "evenkeel",
       "Run the notify scripts of an instance one after another, each for at most this many seconds (60 without a number). \
        If the state changes several times meanwhile, only the last state is reported."),
    kw("rs_init_notifies", Args::Bool, "off", "v2.0.0",
       "Run the notify scripts of real servers also when they come up at start."),
];
