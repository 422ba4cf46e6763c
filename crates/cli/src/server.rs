//! `evenkeel server`: real servers changed by hand, without a reload.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use evenkeel_core::ipc::{Reply, Request};
use evenkeel_core::overrides::{Override, OverrideAction, ServiceSelector};

use crate::{output, status};

/// What is done.
#[derive(Subcommand)]
pub enum Command {
    /// Join a service, checked as its first server is, once the checks pass
    Add {
        #[command(flatten)]
        place: Target,
        /// Its weight [default: the first server's]
        #[arg(short, long)]
        weight: Option<u32>,
    },
    /// Leave a service
    Remove {
        #[command(flatten)]
        place: Target,
    },
    /// Another weight
    Weight {
        #[command(flatten)]
        place: Target,
        /// 0 to 2147483647
        weight: u32,
    },
    /// No new connections, whatever its checks and its weight say; those that are there go on
    Drain {
        #[command(flatten)]
        place: Target,
    },
    /// Take back what was ordered: as the file has it
    Undrain {
        #[command(flatten)]
        place: Target,
    },
}

/// Which real server of which service.
#[derive(Args)]
pub struct Target {
    /// ADDRESS:PORT of the virtual server, the name of its group, or `all`
    service: String,
    /// The real server: ADDRESS, or ADDRESS:PORT where its checks go to another port
    server: String,
    /// The next reload forgets it; otherwise it holds until it is taken back or the machine restarts
    #[arg(long)]
    until_reload: bool,
}

impl Target {
    fn order(&self, what: OverrideAction) -> anyhow::Result<Override> {
        let which = match self.service.parse::<SocketAddr>() {
            Ok(at) => ServiceSelector::Address(at.ip(), at.port()),
            Err(_) if self.service == "all" => ServiceSelector::All,
            Err(_) if self.service.contains(':') => {
                bail!("`{}` is no ADDRESS:PORT, as 192.0.2.1:80", self.service)
            }
            Err(_) => ServiceSelector::Group(self.service.clone()),
        };
        let (server, port) = match self.server.parse::<SocketAddr>() {
            Ok(at) => (at.ip(), Some(at.port())),
            Err(_) => {
                let addr: IpAddr =
                    self.server.parse().with_context(|| format!("`{}` is no address of a server", self.server))?;
                (addr, None)
            }
        };
        Ok(Override { services: which, server, port, action: what, until_reload: self.until_reload })
    }
}

/// Gives the order.
pub fn run(instance: &str, command: &Command) -> anyhow::Result<ExitCode> {
    let order = match command {
        Command::Add { place, weight } => place.order(OverrideAction::Add { weight: *weight }),
        Command::Remove { place } => place.order(OverrideAction::Remove),
        Command::Weight { place, weight } => place.order(OverrideAction::SetWeight(*weight)),
        Command::Drain { place } => place.order(OverrideAction::Drain),
        Command::Undrain { place } => place.order(OverrideAction::Revert),
    }?;
    match status::call_daemon(instance, &Request::Override { change: order.clone() })? {
        Reply::Overridden { steps } if steps.is_empty() => output::print(&format!("{order}\n")),
        Reply::Overridden { steps } => output::print(&format!("{order}\n  {}\n", steps.join("\n  "))),
        Reply::Rejected { error } => bail!("{error}"),
        _ => bail!("an unexpected answer"),
    }
    Ok(ExitCode::SUCCESS)
}
