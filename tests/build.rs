//! Compiles packet paths of which the maps are laid out otherwise, as a later version might be and as earlier ones were; for
//! the tests of upgrades.

use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "../bpf/clang.rs"]
mod clang;

/// What is different in abi.h.
const CHANGES: &[(&str, &str)] = &[
    ("#define EK_ABI 10\n", "#define EK_ABI 11\n"),
    // Members that move, that are new, that grow.
    (
        "\t__be32 addr[4];\n\t__be16 port;\n\t__u8 protocol;\n\t__u8 family;\n\t__u8 scheduler;",
        "\t__u64 later;\n\t__be32 addr[4];\n\t__u8 scheduler;\n\t__u8 family;\n\t__be16 port;\n\t__u8 protocol;",
    ),
    (
        "\t__u32 service; /* index */\n\t__u32 flags;\n\t__s32 weight;",
        "\t__s32 weight;\n\t__u32 flags;\n\t__u32 service; /* index */",
    ),
    ("\t__u32 overload;\n\t__u32 unused1[12];", "\t__u32 more[3];\n\t__u32 overload;\n\t__u32 unused1[9];"),
    (
        "\t__u32 timeout_tcp[16]; /* by enum tcp_state */",
        "\t__u64 later[5];\n\t__u32 timeout_tcp[20]; /* by enum tcp_state */",
    ),
    ("\tREASONS,\n", "\tREASON_LATER,\n\tREASONS,\n"),
    ("\t__u64 conns;\n\t__u64 in_packets;", "\t__u64 in_packets;\n\t__u64 later;\n\t__u64 conns;"),
];

fn main() {
    let bpf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bpf");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for entry in fs::read_dir(&bpf).expect("bpf/ is part of the project") {
        let path = entry.expect("readable").path();
        println!("cargo:rerun-if-changed={}", path.display());
        fs::copy(&path, out.join(path.file_name().expect("a file"))).expect("OUT_DIR is writable");
    }
    let mut abi = fs::read_to_string(bpf.join("abi.h")).expect("abi.h is part of bpf/");
    for (is, later) in CHANGES {
        assert!(abi.contains(is), "bpf/abi.h has changed; the test's later layout must follow: {is:?}");
        abi = abi.replacen(is, later, 1);
    }
    fs::write(out.join("abi.h"), abi).expect("OUT_DIR is writable");
    compile(&out, "evenkeel.bpf.c", "later.bpf.o");
    earlier(&bpf, &out.join("earlier"));
    // One that no verifier takes: it reads a packet that may not be so long.
    let path = fs::read_to_string(out.join("evenkeel.bpf.c")).expect("copied");
    let check = "data + sizeof(struct ethhdr) > (void *)(long)ctx->data_end || ";
    assert!(path.contains(check), "bpf/evenkeel.bpf.c has changed; the test's refused program must follow");
    fs::write(out.join("refused.bpf.c"), path.replacen(check, "", 1)).expect("OUT_DIR is writable");
    compile(&out, "refused.bpf.c", "refused.bpf.o");
}

/// As maps were until layout 9: an element of a table is one of its map.
fn earlier(bpf: &Path, out: &Path) {
    fs::create_dir_all(out).expect("OUT_DIR is writable");
    fs::copy(bpf.join("abi.h"), out.join("abi.h")).expect("OUT_DIR is writable");
    let maps = fs::read_to_string(bpf.join("maps.h")).expect("maps.h is part of bpf/");
    let line = |line: &str| {
        let (declared, _) = line.split_once(" TABLE(")?;
        let (declared, count) = declared.split_once('[').unwrap_or((declared, "1]"));
        let (of, name) = declared.rsplit_once(' ')?;
        Some(format!(
            "struct {{ __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __uint(max_entries, {}); \
             __type(key, __u32); __type(value, {of}); }} {name} SEC(\".maps\");\n",
            count.trim_end_matches(']')
        ))
    };
    let maps: String = maps.lines().map(|l| line(l).unwrap_or_else(|| format!("{l}\n"))).collect();
    fs::write(out.join("maps.h"), maps).expect("OUT_DIR is writable");
    let program = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n#include \"abi.h\"\n#include \"maps.h\"\n\
                   SEC(\"xdp\") int evenkeel_xdp(struct xdp_md *ctx) { return XDP_PASS; }\n";
    fs::write(out.join("earlier.bpf.c"), program).expect("OUT_DIR is writable");
    compile(out, "earlier.bpf.c", "earlier.bpf.o");
}

fn compile(out: &Path, source: &str, object: &str) {
    let built = libbpf_cargo::SkeletonBuilder::new()
        .source(out.join(source))
        .obj(out.join(object))
        .clang(clang::clang())
        .clang_args(clang::args())
        .build();
    built.unwrap_or_else(|e| panic!("{source} does not compile: {e:#}"));
}
