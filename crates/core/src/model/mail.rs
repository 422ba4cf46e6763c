//! Mail: the relay and the addresses for notifications by mail (`smtp_server`, `notification_email`).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The encryption of the connection to the relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum MailTls {
    /// No encryption.
    #[default]
    Off,
    /// After STARTTLS (RFC 3207). Mail is not sent if the relay does not offer it.
    StartTls,
    /// From the start of the connection (RFC 8314).
    On,
}

/// The credentials for the relay.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({}, …)", self.user)
    }
}

/// Where mail is sent, and how.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mail {
    /// The relay's name or address.
    pub relay: String,
    /// The relay's port.
    pub port: u16,
    /// The argument of HELO; the host name if `None`.
    pub helo: Option<String>,
    /// The sender; keepalived@HOST if `None`.
    pub from: Option<String>,
    /// The recipients.
    pub to: Vec<String>,
    /// How long the relay may take to answer.
    pub timeout: Duration,
    /// FAULT is reported too (not with `no_email_faults`).
    pub faults: bool,
    /// Encryption (an extension of evenkeel).
    pub tls: MailTls,
    /// User name and password (an extension of evenkeel).
    pub login: Option<Login>,
}
