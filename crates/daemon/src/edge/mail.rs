//! The mailer (`smtp_server`): it sends one message after another, retries temporary errors, and drops messages when
//! too many wait.

use std::time::Duration;

use evenkeel_core::model::{Mail, MailTls};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};
use tokio::sync::oneshot;

/// Maximum number of messages that wait.
const MAX_QUEUED: usize = 1000;
/// Delays between attempts to send one message.
const RETRY_DELAYS: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(60)];

/// A message, and how to send it.
#[derive(Serialize, Deserialize)]
pub struct MailMessage {
    /// The relay, sender and recipients.
    pub mail: Mail,
    /// The subject.
    pub subject: String,
    /// The text.
    pub body: String,
}

enum QueueItem {
    Message(Box<MailMessage>),
    /// Report when every message before it has been sent or dropped.
    Flush(oneshot::Sender<()>),
}

/// Queues messages for the task that sends them.
pub struct Mailer(Sender<QueueItem>);

impl Mailer {
    /// Starts the task.
    pub fn start() -> Mailer {
        let (tx, rx) = channel(MAX_QUEUED);
        tokio::spawn(run_queue(rx));
        Mailer(tx)
    }

    /// Queues a message; drops it if too many wait.
    pub fn send(&self, message: Box<MailMessage>) {
        let queued = self.0.try_send(QueueItem::Message(message));
        if let Err(TrySendError::Full(QueueItem::Message(m)) | TrySendError::Closed(QueueItem::Message(m))) = queued {
            let (subject, relay) = (&m.subject, &m.mail.relay);
            tracing::warn!(%relay, "mail `{subject}` dropped: {MAX_QUEUED} messages wait for the relay {relay}");
        }
    }

    /// Waits until every message queued so far has been sent or dropped.
    pub fn flush(&self) -> impl Future<Output = ()> + use<> {
        let queue = self.0.clone();
        async move {
            let (flushed, done) = oneshot::channel();
            if queue.send(QueueItem::Flush(flushed)).await.is_ok() {
                let _ = done.await;
            }
        }
    }
}

async fn run_queue(mut queue: Receiver<QueueItem>) {
    while let Some(item) = queue.recv().await {
        let message = match item {
            QueueItem::Message(message) => *message,
            QueueItem::Flush(done) => {
                let _ = done.send(());
                continue;
            }
        };
        let MailMessage { mail, subject, .. } = &message;
        let sent = match (compose(&message), transport(mail)) {
            (Ok(text), Ok(relay)) => send(&relay, text, mail).await,
            (Err(reason), _) | (_, Err(reason)) => Err(reason),
        };
        let relay = &mail.relay;
        match sent {
            Ok(()) => tracing::debug!(%relay, "mail `{subject}` sent"),
            Err(reason) => tracing::warn!(%relay, "mail `{subject}` not sent by {relay}:{}: {reason}", mail.port),
        }
    }
}

/// Sends a message. Temporary errors (an unreachable or busy relay) are retried, permanent ones (SMTP 5xx) are not.
async fn send(relay: &AsyncSmtpTransport<Tokio1Executor>, message: Message, mail: &Mail) -> Result<(), String> {
    let mut delays = RETRY_DELAYS.iter();
    loop {
        match relay.send(message.clone()).await {
            Ok(_) => return Ok(()),
            Err(e) if e.is_permanent() => return Err(e.to_string()),
            Err(e) => match delays.next() {
                Some(delay) => {
                    let relay = &mail.relay;
                    tracing::info!(%relay, "mail by {relay}:{} failed, next attempt in {delay:?}: {e}", mail.port);
                    tokio::time::sleep(*delay).await;
                }
                None => return Err(format!("{e}, after {} attempts", RETRY_DELAYS.len() + 1)),
            },
        }
    }
}

fn hostname() -> String {
    nix::unistd::gethostname().map_or_else(|_| "localhost".into(), |n| n.to_string_lossy().into_owned())
}

fn transport(mail: &Mail) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    let parameters = || TlsParameters::new(mail.relay.clone()).map_err(|e| e.to_string());
    let tls = match mail.tls {
        MailTls::Off => Tls::None,
        MailTls::StartTls => Tls::Required(parameters()?),
        MailTls::On => Tls::Wrapper(parameters()?),
    };
    let mut relay = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.relay)
        .port(mail.port)
        .tls(tls)
        .timeout(Some(mail.timeout))
        .hello_name(ClientId::Domain(mail.helo.clone().unwrap_or_else(hostname)));
    if let Some(login) = mail.login.clone().filter(|_| mail.tls != MailTls::Off) {
        relay = relay.credentials(Credentials::new(login.user, login.password));
    }
    Ok(relay.build())
}

/// Parses a mail address; a name without a host is a user of this machine.
fn mailbox(name: &str) -> Result<Mailbox, String> {
    let full = if name.contains('@') { name.to_owned() } else { format!("{name}@localhost") };
    full.parse().map_err(|e| format!("`{name}` is not a mail address: {e}"))
}

fn compose(mail: &MailMessage) -> Result<Message, String> {
    let from = mail.mail.from.clone().unwrap_or_else(|| format!("keepalived@{}", hostname()));
    let mut message = Message::builder().from(mailbox(&from)?).subject(mail.subject.clone()).date_now();
    for to in &mail.mail.to {
        message = message.to(mailbox(to)?);
    }
    let mailer = HeaderName::new_from_ascii_str("X-Mailer");
    message = message
        .raw_header(HeaderValue::new(mailer, format!("evenkeel {}", env!("CARGO_PKG_VERSION"))))
        .header(ContentType::TEXT_PLAIN);
    message.body(mail.body.clone()).map_err(|e| e.to_string())
}
