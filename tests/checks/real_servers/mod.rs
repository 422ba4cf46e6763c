//! Debian's servers as real servers: each fails in every way that can be arranged, and status shows in which phase.

mod databases;
mod grpc;
mod nginx;
mod protocols;

use std::fs;
use std::path::Path;
use std::process::Command;

fn is_installed(program: &str) -> bool {
    let found = Path::new(program).exists();
    if !found {
        eprintln!("skipped: it needs {program} (make test-deps)");
    }
    found
}

fn run_openssl(dir: &Path, args: &str) {
    let done = Command::new("openssl").current_dir(dir).args(args.split(' ')).output().expect("openssl runs");
    assert!(done.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Makes a certificate that the test's CA signs, valid for so many days.
fn make_certificate(dir: &Path, name: &str, host: &str, days: i32) {
    run_openssl(dir, &format!("req -newkey rsa:2048 -nodes -subj /CN={host} -keyout {name}.key -out {name}.csr"));
    fs::write(dir.join(format!("{name}.ext")), format!("subjectAltName=DNS:{host}\n")).expect("writable");
    run_openssl(
        dir,
        &format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile {name}.ext -out {name}.pem"
        ),
    );
}
