// The compiler of the BPF programs: which clang is used, and its arguments. Every build script that compiles BPF
// includes this file.

/// Debian's compilers, newest first; 14 is the oldest that supports what the programs use.
const CLANGS: &[&str] = &["clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14", "clang"];

/// The compiler: the one that CLANG names, or else the newest one that is installed. Without any, the build ends with a
/// message that says what to install.
pub fn clang() -> String {
    println!("cargo:rerun-if-env-changed=CLANG");
    let works = |c: &str| std::process::Command::new(c).arg("--version").output().is_ok_and(|o| o.status.success());
    let newest = || CLANGS.iter().find(|c| works(c)).map(|c| (*c).to_owned());
    std::env::var("CLANG").ok().or_else(newest).unwrap_or_else(|| {
        eprintln!(
            "error: cannot compile the packet path: clang (14 or newer) is missing; on Debian: apt-get install clang-19"
        );
        std::process::exit(1);
    })
}

/// The compiler's arguments.
pub fn args() -> Vec<String> {
    let mut args = vec!["-mcpu=v3".to_owned(), "-Wall".to_owned()];
    let multiarch = format!("/usr/include/{}-linux-gnu", std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default());
    if std::path::Path::new(&multiarch).is_dir() {
        args.push(format!("-I{multiarch}"));
    }
    args
}
