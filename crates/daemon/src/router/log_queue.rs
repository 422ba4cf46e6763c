//! The log queue: the router thread's log lines are written by the control thread, because a log that blocks (a full
//! disk, a journal that hangs) must not delay an advert.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::DefaultGuard;
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Maximum number of lines in the queue; more are dropped.
const MAX_QUEUED: usize = 10_000;

/// A log line. Its fields are those that the router thread uses: a new one must be added here.
#[derive(Debug)]
pub struct LogRecord {
    level: Level,
    message: String,
    instance: Option<String>,
    session: Option<String>,
    peer: Option<String>,
    vip: Option<String>,
    device: Option<String>,
    /// Number of lines in the queue, this one included.
    queued: Arc<AtomicUsize>,
}

impl LogRecord {
    fn new(level: Level, queued: Arc<AtomicUsize>) -> LogRecord {
        let (instance, session, peer, vip, device) = (None, None, None, None, None);
        LogRecord { level, message: String::new(), instance, session, peer, vip, device, queued }
    }

    /// Writes the line to the log of the calling thread, which may block.
    pub fn log(self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
        let LogRecord { level, message, instance, session, peer, vip, device, .. } = self;
        // The level of a tracing event is a constant.
        match level {
            Level::ERROR => tracing::error!(instance, session, peer, vip, device, "{message}"),
            Level::WARN => tracing::warn!(instance, session, peer, vip, device, "{message}"),
            Level::INFO => tracing::info!(instance, session, peer, vip, device, "{message}"),
            _ => tracing::debug!(instance, session, peer, vip, device, "{message}"),
        }
    }
}

impl Visit for LogRecord {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = || Some(format!("{value:?}"));
        match field.name() {
            "message" => drop(write!(self.message, "{}", value().unwrap_or_default())),
            "instance" => self.instance = value(),
            "session" => self.session = value(),
            "peer" => self.peer = value(),
            "vip" => self.vip = value(),
            "device" => self.device = value(),
            _ => {}
        }
    }
}

struct QueueLayer<F> {
    queue: F,
    queued: Arc<AtomicUsize>,
}

impl<S: Subscriber, F: Fn(LogRecord) + 'static> Layer<S> for QueueLayer<F> {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if self.queued.fetch_add(1, Ordering::Relaxed) >= MAX_QUEUED {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let mut record = LogRecord::new(*event.metadata().level(), self.queued.clone());
        event.record(&mut record);
        (self.queue)(record);
    }
}

/// Sends the log lines of the calling thread to `queue`, until the result is dropped.
pub fn install(queue: impl Fn(LogRecord) + Send + Sync + 'static, level: LevelFilter) -> DefaultGuard {
    let layer = QueueLayer { queue, queued: Arc::default() };
    tracing::subscriber::set_default(tracing_subscriber::registry().with(level).with(layer))
}
