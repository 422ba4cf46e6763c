//! Mail (`smtp_server`): one letter after another, tried again a few times, and never so many that they pile up.

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

/// So many wait at most.
const MAX_QUEUED: usize = 1000;
/// Between attempts.
const RETRY_DELAYS: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(60)];

/// A letter, and how it is to be sent.
#[derive(Serialize, Deserialize)]
pub struct MailMessage {
    /// How, and to whom.
    pub mail: Mail,
    /// What it is about.
    pub subject: String,
    /// What it says.
    pub body: String,
}

enum QueueItem {
    Message(Box<MailMessage>),
    /// Everything before it has been sent, or given up.
    Flush(oneshot::Sender<()>),
}

/// Where letters are posted.
pub struct Mailer(Sender<QueueItem>);

impl Mailer {
    /// Starts the task that sends them.
    pub fn start() -> Mailer {
        let (tx, rx) = channel(MAX_QUEUED);
        tokio::spawn(run_queue(rx));
        Mailer(tx)
    }

    /// Posts one.
    pub fn send(&self, letter: Box<MailMessage>) {
        let posted = self.0.try_send(QueueItem::Message(letter));
        if let Err(TrySendError::Full(QueueItem::Message(l)) | TrySendError::Closed(QueueItem::Message(l))) = posted {
            tracing::warn!("mail `{}` is not sent: {MAX_QUEUED} others wait for {}", l.subject, l.mail.relay);
        }
    }

    /// Ends when every letter until now has been sent, or given up.
    pub fn flush(&self) -> impl Future<Output = ()> + use<> {
        let to = self.0.clone();
        async move {
            let (mark, done) = oneshot::channel();
            if to.send(QueueItem::Flush(mark)).await.is_ok() {
                let _ = done.await;
            }
        }
    }
}

async fn run_queue(mut posted: Receiver<QueueItem>) {
    while let Some(next) = posted.recv().await {
        let letter = match next {
            QueueItem::Message(letter) => *letter,
            QueueItem::Flush(done) => {
                let _ = done.send(());
                continue;
            }
        };
        let MailMessage { mail, subject, .. } = &letter;
        let sent = match (compose(&letter), transport(mail)) {
            (Ok(message), Ok(relay)) => send(&relay, message, mail).await,
            (Err(why), _) | (_, Err(why)) => Err(why),
        };
        match sent {
            Ok(()) => tracing::debug!("mail `{subject}` is sent"),
            Err(why) => tracing::warn!("mail `{subject}` is not sent, by {}:{}: {why}", mail.relay, mail.port),
        }
    }
}

/// A relay that is away for a moment, or busy, is asked again; one that refuses is not.
async fn send(relay: &AsyncSmtpTransport<Tokio1Executor>, message: Message, mail: &Mail) -> Result<(), String> {
    let mut pauses = RETRY_DELAYS.iter();
    loop {
        match relay.send(message.clone()).await {
            Ok(_) => return Ok(()),
            Err(e) if e.is_permanent() => return Err(e.to_string()),
            Err(e) => match pauses.next() {
                Some(pause) => {
                    tracing::info!("mail by {}:{} is tried again in {pause:?}: {e}", mail.relay, mail.port);
                    tokio::time::sleep(*pause).await;
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

/// A name without a host is one of this machine.
fn mailbox(name: &str) -> Result<Mailbox, String> {
    let full = if name.contains('@') { name.to_owned() } else { format!("{name}@localhost") };
    full.parse().map_err(|e| format!("`{name}` is no mail address: {e}"))
}

fn compose(letter: &MailMessage) -> Result<Message, String> {
    let from = letter.mail.from.clone().unwrap_or_else(|| format!("keepalived@{}", hostname()));
    let mut message = Message::builder().from(mailbox(&from)?).subject(letter.subject.clone()).date_now();
    for to in &letter.mail.to {
        message = message.to(mailbox(to)?);
    }
    let mailer = HeaderName::new_from_ascii_str("X-Mailer");
    message = message
        .raw_header(HeaderValue::new(mailer, format!("evenkeel {}", env!("CARGO_PKG_VERSION"))))
        .header(ContentType::TEXT_PLAIN);
    message.body(letter.body.clone()).map_err(|e| e.to_string())
}
