//! evenkeel's benchmarks, each beside a floor or another program in the same run.

mod config;
mod conn_table;
mod health_checks;
mod http_requests;
mod instructions;
mod live_frames;
mod not_ours;
mod packet_path;
mod process;
mod test_run;
mod veth;
mod vrrp;

use anyhow::{Result, bail};

const HELP: &str = "\
evenkeel-bench: evenkeel's benchmarks, each beside a floor or another program in the same run

Usage: evenkeel-bench [OPTIONS]

Without an option: packet path, live frames, HTTP requests, connection table and configuration, in half an hour.
All benchmarks but --list need root. docs/benchmarks.md explains them and has figures.

  --packets [NAME]      the packet path, or its rows whose name contains NAME (a quarter of an hour for all)
  --row NAME            the same as --packets NAME
  --list [NAME]         print the names of the packet path's rows and measure nothing
  --live                packets per second with live frames over veth (five minutes)
  --not-ours            frames to no service, with the packet path on 0, 1 and 20 devices (a minute)
  --http                HTTP requests through evenkeel, haproxy, nginx, nftables (four minutes)
  --table               the connection table (half a minute)
  --config              a configuration of 10,000 virtual servers, beside keepalived -t (ten seconds)
  --instructions        instructions per packet beside the kernel's IPVS, in an emulated kernel (two minutes)
  --vrrp [NAME]         VRRP beside keepalived, or the rows whose name contains NAME (half an hour for all)
  --checks [KIND]       health checks beside keepalived; KIND is tcp, http or misc (ten minutes for all)
  --json                print JSON (with --packets, --row, --config, or alone)
  -h, --help            print this help

Examples:
  evenkeel-bench --list
  evenkeel-bench --row 'established TCP, DR, 1,048,576 flows'
";

/// Options that choose a benchmark, and whether a value may follow.
const BENCHMARKS: [(&str, bool); 12] = [
    ("--packets", true),
    ("--row", true),
    ("--list", true),
    ("--live", false),
    ("--not-ours", false),
    ("--http", false),
    ("--table", false),
    ("--config", false),
    ("--instructions", false),
    // Run by --instructions inside the emulated kernel.
    ("--instructions-inside", false),
    ("--vrrp", true),
    ("--checks", true),
];

/// The parsed command line.
#[derive(Default)]
struct Options {
    /// An option of [`BENCHMARKS`] and its value.
    benchmark: Option<(&'static str, Option<String>)>,
    json: bool,
    help: bool,
}

impl Options {
    fn parse(args: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options::default();
        let mut args = args.peekable();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--json" => options.json = true,
                "-h" | "--help" => options.help = true,
                name => {
                    let Some(&(name, may_have_value)) = BENCHMARKS.iter().find(|(n, _)| *n == name) else {
                        bail!("unknown option `{name}`: --help lists all");
                    };
                    if options.benchmark.is_some() {
                        bail!("`{name}`: choose one benchmark only");
                    }
                    let value = args.next_if(|a| may_have_value && !a.starts_with("--"));
                    if name == "--row" && value.is_none() {
                        bail!("`--row` needs the name of a row: --list prints all names");
                    }
                    options.benchmark = Some((name, value));
                }
            }
        }
        Ok(options)
    }
}

fn print_packet_path(filter: Option<&str>, json: bool) -> Result<()> {
    let report = packet_path::run(filter)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report.to_json())?);
    } else {
        report.print();
    }
    Ok(())
}

fn print_config(json: bool) -> Result<()> {
    let report = config::run()?;
    if json {
        println!("{}", report.to_json());
    } else {
        report.print();
    }
    Ok(())
}

/// The benchmarks that `evenkeel-bench` runs without an option.
fn run_default(json: bool) -> Result<()> {
    // First, as the peak memory of evenkeeld -t is that of the largest child process so far.
    let config = config::run()?;
    let packets = packet_path::run(None)?;
    let live = live_frames::run()?;
    let http = http_requests::run()?;
    let table = conn_table::run()?;
    if json {
        let mut all = packets.to_json();
        all.extend(live_frames::to_json(&live));
        all.extend(http_requests::to_json(&http));
        all.push(table.to_json());
        all.push(config.to_json());
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    packets.print();
    println!();
    live_frames::print(&live);
    println!();
    http_requests::print(&http);
    println!();
    table.print();
    println!();
    config.print();
    Ok(())
}

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    if options.help {
        print!("{HELP}");
        return Ok(());
    }
    let (benchmark, value) = options.benchmark.unwrap_or(("", None));
    let value = value.as_deref();
    if benchmark == "--list" {
        for name in packet_path::row_names(value) {
            println!("{name}");
        }
        return Ok(());
    }
    if !evenkeel_sys::user::is_root() {
        bail!("the benchmarks need root, to load the packet path and to make network namespaces");
    }
    match benchmark {
        "--packets" | "--row" => print_packet_path(value, options.json)?,
        "--live" => live_frames::print(&live_frames::run()?),
        "--not-ours" => not_ours::run()?,
        "--http" => http_requests::print(&http_requests::run()?),
        "--table" => conn_table::run()?.print(),
        "--config" => print_config(options.json)?,
        "--instructions" => instructions::run_in_emulator()?,
        "--instructions-inside" => instructions::run()?,
        "--vrrp" => vrrp::run(value)?,
        "--checks" => health_checks::run(value)?,
        _ => run_default(options.json)?,
    }
    Ok(())
}
