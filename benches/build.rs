//! Build script: compiles the baselines of the packet path's benchmarks, and the packet generator.

use std::path::PathBuf;

#[path = "../bpf/clang.rs"]
mod clang;

fn main() {
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-changed=../bpf/clang.rs");
    let (clang, args) = (clang::clang(), clang::args());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    for name in ["floor", "source"] {
        libbpf_cargo::SkeletonBuilder::new()
            .source(format!("bpf/{name}.bpf.c"))
            .obj(out.join(format!("{name}.bpf.o")))
            .clang(&clang)
            .clang_args(&args)
            .build_and_generate(out.join(format!("{name}.skel.rs")))
            .unwrap_or_else(|e| panic!("benches/bpf/{name}.bpf.c does not compile: {e}"));
    }
}
