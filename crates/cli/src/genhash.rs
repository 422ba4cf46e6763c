//! `evenkeel genhash`: prints the MD5 digest of a web page, for `digest` in a `url` block. The options are
//! genhash(1)'s.

use std::net::{IpAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use evenkeel_core::health::{Probe, ProbeKind, to_hex};
use evenkeel_core::model::{ConnectOptions, HttpUrl, HttpVersion, StatusRange, Tls};
use evenkeel_probe::Prober;

use crate::output;

/// Options of the command, named as in genhash(1).
#[derive(Args)]
#[command(after_help = "Exit status: 0 success, 1 failure.\n\n\
                        Example:\n  evenkeel genhash --server 192.168.1.11 --port 80 --url /index.html")]
pub struct Options {
    /// Address or name of the web server
    #[arg(short, long)]
    server: String,
    /// Port of the web server [default: 80, with -S 443]
    #[arg(short, long)]
    port: Option<u16>,
    /// Path of the page
    #[arg(short, long, default_value = "/")]
    url: String,
    /// Use TLS
    #[arg(short = 'S', long)]
    use_ssl: bool,
    /// Send a server name in the TLS handshake (SNI) [default name: the virtual host, or else the server]
    #[arg(short = 'I', long, num_args = 0..=1)]
    use_sni: Option<Option<String>>,
    /// Value of the Host header
    #[arg(short = 'V', long = "use-virtualhost")]
    virtualhost: Option<String>,
    /// HTTP version of the request: 1.0, 1.0C (1.0 with `Connection: close`) or 1.1
    #[arg(short = 'P', long, default_value = "1.0")]
    protocol: String,
    /// Timeout of each phase in seconds
    #[arg(short, long, default_value_t = 5)]
    timeout: u64,
    /// Firewall mark of the packets (SO_MARK)
    #[arg(short = 'm', long, default_value_t = 0)]
    fwmark: u32,
    /// Print the status code and the length as well
    #[arg(short, long)]
    verbose: bool,
}

/// Prints the digest of a page. The request is that of a health check, so that a check gets the same page.
pub fn run(o: &Options) -> anyhow::Result<ExitCode> {
    let port = o.port.unwrap_or(if o.use_ssl { 443 } else { 80 });
    let addr: IpAddr = match o.server.parse() {
        Ok(addr) => addr,
        Err(_) => {
            let mut all = (&*o.server, port).to_socket_addrs().with_context(|| format!("look up {}", o.server))?;
            all.next().with_context(|| format!("{} has no address", o.server))?.ip()
        }
    };
    let version = match o.protocol.to_ascii_uppercase().as_str() {
        "1.0" => HttpVersion::V10,
        "1.0C" => HttpVersion::V10Close,
        "1.1" => HttpVersion::V11,
        other => bail!("unknown HTTP version `{other}`; expected 1.0, 1.0C or 1.1"),
    };
    let sni = o.use_sni.clone().map(|name| name.or_else(|| o.virtualhost.clone()).unwrap_or_else(|| o.server.clone()));
    let tls = o.use_ssl.then(|| Tls { sni, ..Tls::default() });
    let url = HttpUrl {
        path: o.url.clone(),
        status: vec![StatusRange { from: 100, to: 999 }],
        virtualhost: o.virtualhost.clone(),
        digest: Some([0; 16]), // any value: a digest is computed only if one is expected
        pattern: None,
    };
    let probe = Probe {
        kind: ProbeKind::Http { url: Box::new(url), version, tls, limit: None },
        target: Some((addr, port)),
        path: ConnectOptions { fwmark: o.fwmark, ..ConnectOptions::default() },
        timeout: Duration::from_secs(o.timeout),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(Prober::new(false).digest(&probe)) {
        Ok((code, bytes, digest)) => {
            if o.verbose {
                output::print(&format!("status {code}, {bytes} bytes from {addr} port {port}\n"));
            }
            output::print(&format!("MD5SUM = {}\n", to_hex(&digest)));
            Ok(ExitCode::SUCCESS)
        }
        Err((phase, why)) => bail!("{} port {port}, {}: {why}", o.server, phase.name()),
    }
}
