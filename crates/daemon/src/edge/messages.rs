//! What the working process and the edge process say to each other: messages one after another over a socket pair, each
//! with its length in front.

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

/// Names of real servers are looked up so often if nothing is written, seconds.
const DEFAULT_NAME_REFRESH_S: u64 = 10;

/// What of the configuration is the edge's business.
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
    pub schedule: ProcessScheduling,
    /// Programs that read FIFOs.
    pub fifo_readers: Vec<ScriptCommand>,
    /// Tracked scripts.
    pub scripts: Vec<VrrpScript>,
    /// Tracked files.
    pub files: Vec<TrackFile>,
    /// Tracked processes.
    pub processes: Vec<TrackProcess>,
    /// Names that are looked up, and how often.
    pub resolve: (Vec<NameQuery>, Duration),
}

impl EdgeSettings {
    /// Its part of a configuration.
    pub fn from_config(config: &Config) -> EdgeSettings {
        let g = &config.global;
        EdgeSettings {
            secure: g.enable_script_security,
            notify_timeout: g.notify_ordered,
            concurrency: g.checker_concurrency,
            cpus: g.checker_cpus.clone(),
            schedule: g.checker_scheduling,
            fifo_readers: g.fifos.iter().flat_map(|f| &f.readers).cloned().collect(),
            scripts: config.scripts.clone(),
            files: config.track_files.clone(),
            processes: config.track_processes.clone(),
            resolve: (
                name_queries(config),
                Duration::from_secs(g.name_refresh.map_or(DEFAULT_NAME_REFRESH_S, u64::from)),
            ),
        }
    }

    /// Nothing of it has anything to do by itself.
    pub fn is_idle(&self) -> bool {
        self.fifo_readers.is_empty()
            && self.scripts.is_empty()
            && self.files.is_empty()
            && self.processes.is_empty()
            && self.resolve.0.is_empty()
    }
}

/// What the edge is asked.
#[derive(Serialize, Deserialize)]
pub enum Request {
    /// There was an edge process before it, which had found this.
    PreviousResults(Vec<(TrackedObject, TrackResult)>),
    /// The scripts that should run, and so on.
    Configure(Box<EdgeSettings>),
    /// The checks that should be made.
    ConfigureChecks(Vec<CheckConfig>),
    /// Services whose checks rest, and others whose checks do not.
    SetSuspended(Vec<(ServiceKey, bool)>),
    /// What is known of checks, under this number.
    GetChecks(u64),
    /// Tell programs of something, and wait for nothing.
    Notify(Notification),
    /// Send this.
    Mail(Box<MailMessage>),
    /// Say that you are there.
    Ping,
    /// Say, under this number, when everything asked before is under way.
    Flush(u64),
}

/// What the edge says.
#[derive(Serialize, Deserialize)]
pub enum Report {
    /// Of itself.
    Event(Event),
    /// What was asked for under this number.
    Checks(u64, CheckSnapshot),
    /// It is there.
    Pong,
    /// Everything is under way.
    Flushed(u64),
}

/// Writes a message.
pub async fn write_message<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> io::Result<()> {
    // The length is filled in when it is known, so that there is one write.
    let mut bytes = postcard::to_extend(message, vec![0; 4]).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len() - 4).map_err(io::Error::other)?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    to.write_all(&bytes).await
}

/// Reads a message; `None` if the other has gone. Not to be given up halfway.
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
    async fn what_is_said_is_heard() {
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
        let Ok(Some(Request::Configure(heard))) = read_message(&mut b).await else { panic!("settings") };
        assert!(*heard == settings && !heard.is_idle());
        let Ok(Some(Request::ConfigureChecks(heard))) = read_message(&mut b).await else { panic!("checks") };
        let of = |all: &[CheckConfig]| all.iter().map(|c| (c.id, c.check.clone())).collect::<Vec<_>>();
        assert_eq!(of(&heard), of(&checks));
        assert!(matches!(read_message::<Request>(&mut b).await, Ok(None)), "the other has gone");
    }
}
