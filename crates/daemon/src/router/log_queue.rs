//! What the router thread says, it hands to the main thread to be logged: a log that blocks (a full disk, a journal that
//! hangs) must not make an advert late.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::UnboundedSender;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::DefaultGuard;
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::Event;

/// So many wait to be logged at most; more are counted and forgotten.
const MAX_QUEUED: usize = 10_000;

/// Something to be logged.
#[derive(Debug)]
pub struct LogRecord {
    level: Level,
    message: String,
    instance: Option<String>,
    peer: Option<String>,
    vip: Option<String>,
    /// So many wait behind it, itself included.
    queued: Arc<AtomicUsize>,
}

impl LogRecord {
    /// Logs it, on a thread that may wait.
    pub fn log(self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
        let LogRecord { level, message, instance, peer, vip, .. } = self;
        // An event's level is a constant.
        match level {
            Level::ERROR => tracing::error!(instance, peer, vip, "{message}"),
            Level::WARN => tracing::warn!(instance, peer, vip, "{message}"),
            Level::INFO => tracing::info!(instance, peer, vip, "{message}"),
            _ => tracing::debug!(instance, peer, vip, "{message}"),
        }
    }
}

impl Visit for LogRecord {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => drop(write!(self.message, "{value:?}")),
            "instance" => self.instance = Some(format!("{value:?}")),
            "peer" => self.peer = Some(format!("{value:?}")),
            "vip" => self.vip = Some(format!("{value:?}")),
            _ => {}
        }
    }
}

struct QueueLayer {
    events: UnboundedSender<Event>,
    queued: Arc<AtomicUsize>,
}

impl<S: Subscriber> Layer<S> for QueueLayer {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if self.queued.fetch_add(1, Ordering::Relaxed) >= MAX_QUEUED {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let (instance, peer, vip) = (None, None, None);
        let waiting = self.queued.clone();
        let level = *event.metadata().level();
        let mut remark = LogRecord { level, message: String::new(), instance, peer, vip, queued: waiting };
        event.record(&mut remark);
        let _ = self.events.send(Event::Log(remark));
    }
}

/// From now on, and until the result is dropped, this thread's remarks go to whoever reads the events.
pub fn install(events: UnboundedSender<Event>, level: LevelFilter) -> DefaultGuard {
    let layer = QueueLayer { events, queued: Arc::default() };
    tracing::subscriber::set_default(tracing_subscriber::registry().with(level).with(layer))
}
