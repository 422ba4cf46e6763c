//! Build script: compiles the BPF programs with clang, and generates their Rust skeletons and the constants of
//! bpf/abi.h.

use std::path::PathBuf;
use std::{env, fs};

#[path = "../../bpf/clang.rs"]
mod clang;

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let bpf = manifest.join("../../bpf");
    // Cargo looks at everything below a directory.
    println!("cargo:rerun-if-changed={}", bpf.display());
    let (clang, mut args) = (clang::clang(), clang::args());
    args.push("-Werror".to_owned());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let abi = fs::read_to_string(bpf.join("abi.h")).expect("abi.h is part of bpf/");
    fs::write(out.join("consts.rs"), constants(&abi)).expect("OUT_DIR is writable");
    fs::write(out.join("schedulers.rs"), scheduler_numbers(&abi)).expect("OUT_DIR is writable");
    // The packet path, the programs for local clients, and the one that decapsulates tunnelled packets on a real server.
    for name in ["evenkeel", "local", "decap"] {
        let built = libbpf_cargo::SkeletonBuilder::new()
            .source(bpf.join(format!("{name}.bpf.c")))
            .obj(out.join(format!("{name}.bpf.o")))
            .clang(&clang)
            .clang_args(&args)
            .build_and_generate(out.join(format!("{name}.skel.rs")));
        if let Err(e) = built {
            eprintln!("error: bpf/{name}.bpf.c does not compile: {e:#}");
            std::process::exit(1);
        }
    }
}

/// The constants of abi.h as Rust: every `#define EK_… number` and every enumerator. The structures come from BTF.
fn constants(abi: &str) -> String {
    let mut rust = String::new();
    let mut push = |name: &str, value: u64| rust.push_str(&format!("pub const {name}: u32 = {value};\n"));
    for line in abi.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("#define")
            && let (Some(name), Some(value)) = (words.next(), words.next())
            && name.starts_with("EK_")
        {
            let shifted =
                line.split_once("(1u << ").and_then(|(_, r)| r.split_once(')')).and_then(|(n, _)| n.parse().ok());
            let plain = value.trim_end_matches('u').parse().ok();
            if let Some(v) = shifted.map(|n: u32| 1 << n).or(plain) {
                push(name, v);
            }
        }
    }
    for (name, value) in enumerators(abi) {
        push(&name, value);
    }
    rust
}

/// The enumerators of `enum scheduler` as a table: (IPVS's name of the scheduler, its number).
fn scheduler_numbers(abi: &str) -> String {
    let rows = enumerators(abi).into_iter().filter_map(|(name, value)| {
        Some(format!("    ({:?}, {value}),\n", name.strip_prefix("SCHED_")?.to_ascii_lowercase()))
    });
    format!("const SCHEDULER_NUMBERS: &[(&str, u8)] = &[\n{}];\n", rows.collect::<String>())
}

/// Every enumerator of abi.h with its value.
fn enumerators(abi: &str) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    let text: String = strip_comments(abi);
    for part in text.split("enum ").skip(1) {
        let Some((_, body)) = part.split_once('{') else { continue };
        let Some((body, _)) = body.split_once('}') else { continue };
        let mut next = 0;
        for item in body.split(',').map(str::trim).filter(|i| !i.is_empty()) {
            let (name, value) = match item.split_once('=') {
                Some((n, v)) => (n.trim(), v.trim().parse().expect("enumerators are plain numbers")),
                None => (item, next),
            };
            all.push((name.to_owned(), value));
            next = value + 1;
        }
    }
    all
}

fn strip_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/*") {
        out.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, r)| r);
    }
    out + rest
}
