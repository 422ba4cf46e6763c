//! evenkeel's benchmarks, each beside a peer or a floor in the same run.

mod checks;
mod config;
mod http;
mod instructions;
mod live;
mod matrix;
mod memory;
mod packets;
mod process;
mod table;
mod vrrp;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    if !evenkeel_sys::user::is_root() {
        bail!("the benchmark needs root, to load the packet path");
    }
    let args: Vec<String> = std::env::args().collect();
    if args.iter().any(|a| a == "--instructions") {
        return instructions::run();
    }
    if args.iter().any(|a| a == "--instructions-inside") {
        return instructions::inside();
    }
    if let Some(at) = args.iter().position(|a| a == "--vrrp") {
        return vrrp::run(args.get(at + 1).map(String::as_str));
    }
    if let Some(at) = args.iter().position(|a| a == "--checks") {
        return checks::run(args.get(at + 1).map(String::as_str));
    }
    if let Some(at) = args.iter().position(|a| a == "--packets") {
        matrix::print(&matrix::run(args.get(at + 1).map(String::as_str))?);
        return Ok(());
    }
    if args.iter().any(|a| a == "--live") {
        live::print(&live::run()?);
        return Ok(());
    }
    if args.iter().any(|a| a == "--http") {
        http::print(&http::run()?);
        return Ok(());
    }
    if args.iter().any(|a| a == "--table") {
        table::run()?.print();
        return Ok(());
    }
    let json = std::env::args().any(|a| a == "--json");
    let large = config::run()?;
    if std::env::args().any(|a| a == "--config") {
        if json {
            println!("{}", large.json())
        } else {
            large.print()
        }
        return Ok(());
    }
    let rows = matrix::run(None)?;
    let live = live::run()?;
    let http = http::run()?;
    let table = table::run()?;
    if json {
        let mut all = matrix::json(&rows);
        all.extend(live::json(&live));
        all.extend(http::json(&http));
        all.push(table.json());
        all.push(large.json());
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    matrix::print(&rows);
    println!();
    live::print(&live);
    println!();
    http::print(&http);
    println!();
    table.print();
    println!();
    large.print();
    Ok(())
}
