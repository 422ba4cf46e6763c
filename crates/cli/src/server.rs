//! `evenkeel server`: real servers changed by hand, without a reload.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use evenkeel_core::ipc::{Reply, Request};
use evenkeel_core::orders::{Order, What, Which};

use crate::{out, status};

/// What is done.
#[derive(Subcommand)]
pub enum Command {
    /// Join a service, checked as its first server is, once the checks pass
    Add {
        #[command(flatten)]
        place: Place,
        /// Its weight [default: the first server's]
        #[arg(short, long)]
        weight: Option<u32>,
    },
    /// Leave a service
    Remove {
        #[command(flatten)]
        place: Place,
    },
    /// Another weight
    Weight {
        #[command(flatten)]
        place: Place,
        /// 0 to 2147483647
        weight: u32,
    },
    /// No new connections, whatever its checks and its weight say; those that are there go on
    Drain {
        #[command(flatten)]
        place: Place,
    },
    /// Take back what was ordered: as the file has it
    Undrain {
        #[command(flatten)]
        place: Place,
    },
}

/// Which real server of which service.
#[derive(Args)]
pub struct Place {
    /// ADDRESS:PORT of the virtual server, the name of its group, or `all`
    service: String,
    /// The real server: ADDRESS, or ADDRESS:PORT where its checks go to another port
    server: String,
    /// The next reload forgets it; otherwise it holds until it is taken back or the machine restarts
    #[arg(long)]
    until_reload: bool,
}

impl Place {
    fn order(&self, what: What) -> anyhow::Result<Order> {
        let which = match self.service.parse::<SocketAddr>() {
            Ok(at) => Which::At(at.ip(), at.port()),
            Err(_) if self.service == "all" => Which::Everywhere,
            Err(_) if self.service.contains(':') => {
                bail!("`{}` is no ADDRESS:PORT, as 192.0.2.1:80", self.service)
            }
            Err(_) => Which::Group(self.service.clone()),
        };
        let (server, port) = match self.server.parse::<SocketAddr>() {
            Ok(at) => (at.ip(), Some(at.port())),
            Err(_) => {
                let addr: IpAddr =
                    self.server.parse().with_context(|| format!("`{}` is no address of a server", self.server))?;
                (addr, None)
            }
        };
        Ok(Order { which, server, port, what, until_reload: self.until_reload })
    }
}

/// Gives the order.
pub fn run(instance: &str, command: &Command) -> anyhow::Result<ExitCode> {
    let order = match command {
        Command::Add { place, weight } => place.order(What::Add { weight: *weight }),
        Command::Remove { place } => place.order(What::Remove),
        Command::Weight { place, weight } => place.order(What::Weight(*weight)),
        Command::Drain { place } => place.order(What::Drain),
        Command::Undrain { place } => place.order(What::Undo),
    }?;
    match status::call(instance, &Request::Order { order: order.clone() })? {
        Reply::Ordered { steps } if steps.is_empty() => out::print(&format!("{order}\n")),
        Reply::Ordered { steps } => out::print(&format!("{order}\n  {}\n", steps.join("\n  "))),
        Reply::Refused { error } => bail!("{error}"),
        _ => bail!("an unexpected answer"),
    }
    Ok(ExitCode::SUCCESS)
}
