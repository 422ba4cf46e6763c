//! `evenkeel real-server`: prepares a host as a real server for direct routing or tunnels, tests whether it is
//! prepared, and undoes the preparation.

mod check;
mod state;
mod up_down;

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use evenkeel_sys::netlink::{Link, Netlink};

#[derive(Subcommand)]
pub enum Command {
    /// Put the virtual addresses on `lo`, without answering ARP for them, and on request decapsulate tunnels
    ///
    /// Sets net.ipv4.conf.all.arp_ignore=1 and arp_announce=2, and records every change for `down`.
    #[command(after_help = "Examples:\n  evenkeel real-server up 192.0.2.1 2001:db8::1\n  \
                            evenkeel real-server up 192.0.2.1 --tunnel")]
    Up(Options),
    /// Undo what `up` changed, and nothing else
    #[command(after_help = "Example:\n  evenkeel real-server down")]
    Down,
    /// Test whether this host is prepared; print what is wrong and how to fix it
    #[command(after_help = "Exit status: 0 the host is prepared, 1 it is not.\n\n\
                            Example:\n  evenkeel real-server check 192.0.2.1")]
    Check(Options),
}

/// The virtual addresses, and how packets for them arrive.
#[derive(Args)]
pub struct Options {
    /// Virtual addresses, IPv4 or IPv6
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<IpAddr>,
    /// Decapsulate ipip and GRE tunnels
    #[arg(long)]
    tunnel: bool,
    /// Decapsulate GUE tunnels of variant 0 to this UDP port
    #[arg(long, value_name = "PORT")]
    gue_port: Option<u16>,
    /// Device on which packets from the directors arrive [default: the device of the default route]
    #[arg(long)]
    dev: Option<String>,
}

impl Options {
    fn has_tunnels(&self) -> bool {
        self.tunnel || self.gue_port.is_some()
    }

    fn has_ipv4(&self) -> bool {
        self.addresses.iter().any(IpAddr::is_ipv4)
    }

    fn device(&self, netlink: &mut Netlink) -> Result<Link> {
        match &self.dev {
            Some(name) => netlink.link_by_name(name)?.with_context(|| format!("there is no device {name}")),
            None => {
                let far = if self.addresses.iter().all(IpAddr::is_ipv6) { "2000::" } else { "192.0.2.1" };
                let route = netlink
                    .lookup_route(far.parse()?)?
                    .context("there is no default route: name the device by --dev")?;
                let link = netlink.links()?.into_iter().find(|l| l.index == route.oif);
                link.context("the device of the default route has vanished")
            }
        }
    }
}

/// The sysctls that keep a host from answering ARP for addresses of other devices, and from sending ARP requests with
/// such a source address (ip-sysctl.txt), with their least values.
const ARP_SYSCTLS: [(&str, i32); 2] = [("arp_ignore", 1), ("arp_announce", 2)];

fn host_prefix_len(a: IpAddr) -> u8 {
    if a.is_ipv6() { 128 } else { 32 }
}

pub fn run(instance: &str, command: &Command) -> Result<ExitCode> {
    match command {
        Command::Up(options) => up_down::up(instance, options),
        Command::Down => up_down::down(instance),
        Command::Check(options) => check::run(instance, options),
    }
}
