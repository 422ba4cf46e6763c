//! The messages between worker and edge process, over a socket pair.
//!
//! A message is its length in bytes (u32, little endian) and its encoding by postcard. Both ends are the same program,
//! so that the encoding needs no version.

use std::io;
use std::time::Duration;

use evenkeel_core::discovery::{NameQuery, name_queries};
use evenkeel_core::health::CheckConfig;
use evenkeel_core::model::{
    Config, ProcessScheduling, ScriptCommand, ServiceKey, TrackFile, TrackProcess, TrackResult, TrackedObject,
    VrrpScript,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{CheckSnapshot, Event, MailMessage, Notification};

/// Default of `name_refresh`, the interval of name lookups, s.
const DEFAULT_NAME_REFRESH_S: u64 = 10;

/// The part of a configuration that concerns the edge process, except the checks.
#[derive(Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct EdgeSettings {
    /// `enable_script_security`
    pub secure: bool,
    /// `notify_ordered`
    pub notify_timeout: Option<Duration>,
    /// `checker_concurrency`
    pub concurrency: Option<u32>,
    /// `checker_cpu_affinity`
    pub cpus: Vec<u16>,
    /// `checker_priority`, `checker_rt_priority`, `checker_rlimit_rttime`, `checker_no_swap`
    pub scheduling: ProcessScheduling,
    /// `notify_fifo_script` and the like: programs that read FIFOs.
    pub fifo_readers: Vec<ScriptCommand>,
    /// Tracked scripts.
    pub scripts: Vec<VrrpScript>,
    /// Tracked files.
    pub files: Vec<TrackFile>,
    /// Tracked processes.
    pub processes: Vec<TrackProcess>,
    /// The names of real servers to look up.
    pub name_queries: Vec<NameQuery>,
    /// `name_refresh`: the interval of lookups.
    pub resolve_interval: Duration,
}

impl EdgeSettings {
    /// Takes the settings from a configuration.
    pub fn from_config(config: &Config) -> EdgeSettings {
        let g = &config.global;
        EdgeSettings {
            secure: g.enable_script_security,
            notify_timeout: g.notify_ordered,
            concurrency: g.checker_concurrency,
            cpus: g.checker_cpus.clone(),
            scheduling: g.checker_scheduling,
            fifo_readers: g.fifos.iter().flat_map(|f| &f.readers).cloned().collect(),
            scripts: config.scripts.clone(),
            files: config.track_files.clone(),
            processes: config.track_processes.clone(),
            name_queries: name_queries(config),
            resolve_interval: Duration::from_secs(g.name_refresh.map_or(DEFAULT_NAME_REFRESH_S, u64::from)),
        }
    }

    /// Whether these settings alone need no edge process.
    pub fn is_idle(&self) -> bool {
        self.fifo_readers.is_empty()
            && self.scripts.is_empty()
            && self.files.is_empty()
            && self.processes.is_empty()
            && self.name_queries.is_empty()
    }
}

/// A request to the edge process.
#[derive(Serialize, Deserialize)]
pub enum Request {
    /// The results of an edge process before this one, which died.
    PreviousResults(Vec<(TrackedObject, TrackResult)>),
    /// Apply these settings.
    Configure(Box<EdgeSettings>),
    /// Run these checks.
    ConfigureChecks(Vec<CheckConfig>),
    /// Suspend (true) or resume (false) the checks of services.
    SetSuspended(Vec<(ServiceKey, bool)>),
    /// Return the state of all checks, under this number.
    GetChecks(u64),
    /// Run notify scripts, and do not wait for their end.
    Notify(Notification),
    /// Send mail.
    Mail(Box<MailMessage>),
    /// Answer with [`Report::Pong`].
    Ping,
    /// Report, under this number, when all notify scripts have been started and all mail is sent.
    Flush(u64),
}

/// A message of the edge process.
#[derive(Serialize, Deserialize)]
pub enum Report {
    /// An event.
    Event(Event),
    /// The reply to [`Request::GetChecks`] with this number.
    Checks(u64, CheckSnapshot),
    /// The reply to [`Request::Ping`].
    Pong,
    /// The reply to [`Request::Flush`] with this number.
    Flushed(u64),
}

/// Writes a message, by one call of write(2).
pub async fn write_message<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> io::Result<()> {
    let mut bytes = postcard::to_extend(message, vec![0; 4]).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len() - 4).map_err(io::Error::other)?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    to.write_all(&bytes).await
}

/// Reads a message; `None` if the peer closed the socket. Not cancel-safe: half a message may have been read.
pub async fn read_message<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length).await {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    from.read_exact(&mut bytes).await?;
    postcard::from_bytes(&bytes).map(Some).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_core::config::parse_text;

    #[tokio::test]
    async fn a_message_is_read_as_it_was_written() {
        let text = "vrrp_script s {\nscript \"/bin/x y\"\ninterval 0.5\ninit_fail\n}\n\
            vrrp_instance V {\ninterface e\nvirtual_router_id 1\nvirtual_ipaddress {\n192.0.2.9\n}\ntrack_script {\ns\n}\n}\n\
            virtual_server 192.0.2.1 443 {\ndelay_loop 3\nlvs_method DR\nprotocol TCP\nreal_server 192.0.2.2 443 {\n\
            SSL_GET {\nurl {\npath /\nregex a.*b\n}\ntls_verify on\n}\nUDP_CHECK {\npayload 00ff\n}\n\
            TCP_CHECK {\nthrough_service\n}\n}\n}\n";
        let parsed = parse_text("t", text);
        let config = parsed.valid_config().unwrap_or_else(|| panic!("{}", parsed.render(false)));
        let (key, server) = (config.virtual_servers[0].key, &config.virtual_servers[0].servers[0]);
        let checking = |(n, check)| CheckConfig { id: (key, server.key, n), check, up: true, alpha: false };
        let checks: Vec<CheckConfig> = server.checks.iter().cloned().enumerate().map(checking).collect();
        let (mut a, mut b) = tokio::io::duplex(1 << 20);
        let settings = EdgeSettings::from_config(config);
        write_message(&mut a, &Request::Configure(Box::new(settings.clone()))).await.expect("written");
        write_message(&mut a, &Request::ConfigureChecks(checks.clone())).await.expect("written");
        drop(a);
        let Ok(Some(Request::Configure(read))) = read_message(&mut b).await else { panic!("settings") };
        assert!(*read == settings && !read.is_idle());
        let Ok(Some(Request::ConfigureChecks(read))) = read_message(&mut b).await else { panic!("checks") };
        let ids = |all: &[CheckConfig]| all.iter().map(|c| (c.id, c.check.clone())).collect::<Vec<_>>();
        assert_eq!(ids(&read), ids(&checks));
        assert!(matches!(read_message::<Request>(&mut b).await, Ok(None)), "the peer has closed");
    }
}
