//! Build script: compiles two variants of the packet path for the migration tests. In the first one the maps are laid
//! out as a later version might lay them out; the second one is rejected by the kernel's verifier.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

#[path = "../bpf/clang.rs"]
mod clang;

/// The later layout: what it changes in abi.h.
const LATER_LAYOUT: &[(&str, &str)] = &[
    ("#define EK_ABI 2\n", "#define EK_ABI 3\n"),
    // Members that move, that are new, that grow.
    (
        "\t__be32 addr[4];\n\t__be16 port;\n\t__u8 protocol;\n\t__u8 family;\n\t__u8 scheduler;",
        "\t__u64 later;\n\t__be32 addr[4];\n\t__u8 scheduler;\n\t__u8 family;\n\t__be16 port;\n\t__u8 protocol;",
    ),
    (
        "\t__u32 service; /* index */\n\t__u32 flags;\n\t__s32 weight;",
        "\t__s32 weight;\n\t__u32 flags;\n\t__u32 service; /* index */",
    ),
    ("\t__u32 overload;\n\t__u32 created;", "\t__u32 more[3];\n\t__u32 overload;\n\t__u32 created;"),
    ("\t__u32 unused1[9];", "\t__u32 unused1[6];"),
    (
        "\t__u32 timeout_tcp[16]; /* by enum tcp_state */",
        "\t__u64 later[5];\n\t__u32 timeout_tcp[20]; /* by enum tcp_state */",
    ),
    ("\tREASONS,\n", "\tREASON_LATER,\n\tREASONS,\n"),
    ("\t__u64 conns;\n\t__u64 in_packets;", "\t__u64 in_packets;\n\t__u64 later;\n\t__u64 conns;"),
];

/// A bounds check without which the verifier rejects the program.
const BOUNDS_CHECK: (&str, &str) = ("evenkeel.bpf.c", "data + sizeof(struct ethhdr) > (void *)(long)ctx->data_end || ");

fn main() {
    let bpf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bpf");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    println!("cargo:rerun-if-changed={}", bpf.display());
    compile(&bpf, &out, "later", |dir| {
        for (is, later) in LATER_LAYOUT {
            replace(&dir.join("abi.h"), is, later);
        }
    });
    compile(&bpf, &out, "rejected", |dir| replace(&dir.join(BOUNDS_CHECK.0), BOUNDS_CHECK.1, ""));
}

/// Compiles a changed copy of the packet path to `NAME.bpf.o`.
fn compile(bpf: &Path, out: &Path, name: &str, change: impl Fn(&Path)) {
    let dir = out.join(name);
    copy_dir(bpf, &dir).unwrap_or_else(|e| panic!("copy bpf/ to {}: {e}", dir.display()));
    change(&dir);
    let built = libbpf_cargo::SkeletonBuilder::new()
        .source(dir.join("evenkeel.bpf.c"))
        .obj(out.join(format!("{name}.bpf.o")))
        .clang(clang::clang())
        .clang_args(clang::args())
        .build();
    built.unwrap_or_else(|e| panic!("the variant `{name}` of the packet path does not compile: {e:#}"));
}

fn replace(path: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(path).expect("copied");
    assert!(text.contains(old), "{} has changed, and tests/build.rs has to follow: no {old:?}", path.display());
    fs::write(path, text.replacen(old, new, 1)).expect("OUT_DIR is writable");
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
