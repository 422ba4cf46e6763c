// How the programs of this directory, and those that are measured beside them, are compiled: part of every build script that
// does it.

/// Debian's compilers, newest first; 14 is the oldest that knows what the programs use.
const CLANGS: &[&str] = &["clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14", "clang"];

/// The compiler: the one that CLANG names, or the newest one there is. Without any the build ends, and says what to do.
pub fn clang() -> String {
    println!("cargo:rerun-if-env-changed=CLANG");
    let works = |c: &str| std::process::Command::new(c).arg("--version").output().is_ok_and(|o| o.status.success());
    let newest = || CLANGS.iter().find(|c| works(c)).map(|c| (*c).to_owned());
    std::env::var("CLANG").ok().or_else(newest).unwrap_or_else(|| {
        eprintln!("error: no clang (14 or newer) to compile the packet path with; on Debian: apt-get install clang-19");
        std::process::exit(1);
    })
}

/// What it is told.
pub fn args() -> Vec<String> {
    let mut args = vec!["-mcpu=v3".to_owned(), "-Wall".to_owned()];
    let multiarch = format!("/usr/include/{}-linux-gnu", std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default());
    if std::path::Path::new(&multiarch).is_dir() {
        args.push(format!("-I{multiarch}"));
    }
    args
}
