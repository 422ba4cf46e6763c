//! `evenkeel server`: overrides of real servers, made by an operator without a reload.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use evenkeel_core::ipc::{Reply, Request};
use evenkeel_core::overrides::{Override, OverrideAction, ServiceSelector};

use crate::control::{call_daemon, unexpected_reply};
use crate::output;

#[derive(Subcommand)]
pub enum Command {
    /// Add a real server to a service
    ///
    /// It is checked as the service's first server is, and gets connections once its checks pass.
    #[command(after_help = "Example:\n  evenkeel server add 192.0.2.1:80 192.168.1.14 --weight 3")]
    Add {
        #[command(flatten)]
        target: Target,
        /// Weight of the server, 0 to 2147483647 [default: the weight of the service's first server]
        #[arg(short, long)]
        weight: Option<u32>,
    },
    /// Remove a real server from a service
    #[command(after_help = "Example:\n  evenkeel server remove 192.0.2.1:80 192.168.1.14")]
    Remove {
        #[command(flatten)]
        target: Target,
    },
    /// Set the weight of a real server
    #[command(after_help = "Example:\n  evenkeel server weight web 192.168.1.12 5")]
    Weight {
        #[command(flatten)]
        target: Target,
        /// Weight of the server, 0 to 2147483647
        weight: u32,
    },
    /// Send no new connections to a real server; established ones continue
    ///
    /// A drained server stays drained whatever its checks and its weight are.
    #[command(after_help = "Example:\n  evenkeel server drain all 192.168.1.11")]
    Drain {
        #[command(flatten)]
        target: Target,
    },
    /// Revert all overrides of a real server: the configuration file is in force again
    #[command(after_help = "Example:\n  evenkeel server undrain all 192.168.1.11")]
    Undrain {
        #[command(flatten)]
        target: Target,
    },
}

/// A real server of a service.
#[derive(Args)]
pub struct Target {
    /// Virtual service: ADDRESS:PORT (`[ADDRESS]:PORT` for IPv6), the name of a virtual_server_group, or `all`
    service: String,
    /// Real server: ADDRESS; or ADDRESS:PORT, to add one that is checked on another port than the service's
    server: String,
    /// End the override at the next reload; otherwise it lasts until it is reverted or the host restarts
    #[arg(long)]
    until_reload: bool,
}

impl Target {
    fn to_override(&self, action: OverrideAction) -> anyhow::Result<Override> {
        let services = match self.service.parse::<SocketAddr>() {
            Ok(addr) => ServiceSelector::Address(addr.ip(), addr.port()),
            Err(_) if self.service == "all" => ServiceSelector::All,
            Err(_) if self.service.contains(':') => {
                bail!("`{}` is no ADDRESS:PORT such as 192.0.2.1:80 or [2001:db8::1]:80", self.service)
            }
            Err(_) => ServiceSelector::Group(self.service.clone()),
        };
        let (server, port) = match self.server.parse::<SocketAddr>() {
            Ok(addr) => (addr.ip(), Some(addr.port())),
            Err(_) => {
                let addr: IpAddr =
                    self.server.parse().with_context(|| format!("`{}` is no address of a real server", self.server))?;
                (addr, None)
            }
        };
        Ok(Override { services, server, port, action, until_reload: self.until_reload })
    }
}

/// Sends the override to the daemon and prints the steps that it took.
pub fn run(instance: &str, command: &Command) -> anyhow::Result<ExitCode> {
    let change = match command {
        Command::Add { target, weight } => target.to_override(OverrideAction::Add { weight: *weight }),
        Command::Remove { target } => target.to_override(OverrideAction::Remove),
        Command::Weight { target, weight } => target.to_override(OverrideAction::SetWeight(*weight)),
        Command::Drain { target } => target.to_override(OverrideAction::Drain),
        Command::Undrain { target } => target.to_override(OverrideAction::Revert),
    }?;
    match call_daemon(instance, &Request::Override { change: change.clone() })? {
        Reply::Overridden { steps } if steps.is_empty() => output::print(&format!("{change}\n")),
        Reply::Overridden { steps } => output::print(&format!("{change}\n  {}\n", steps.join("\n  "))),
        Reply::Rejected { error } => bail!("{error}"),
        _ => return Err(unexpected_reply()),
    }
    Ok(ExitCode::SUCCESS)
}
