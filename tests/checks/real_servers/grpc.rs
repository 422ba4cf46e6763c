//! GRPC_CHECK of a Python gRPC server.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;

use evenkeel_core::health::Phase;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, SMALL_TABLE, TEST_TIMEOUT};
use nix::sys::signal::Signal;

use super::super::fixture::{listen, respond, services_config, wait_until_failed, wait_until_up};
use super::{make_certificate, run_openssl};

/// A server with Debian's gRPC, which encodes the messages itself.
const GRPC_SERVER: &str = r"
import os, sys, grpc
from concurrent import futures
class Health(grpc.GenericRpcHandler):
    def service(self, call):
        if call.method == '/grpc.health.v1.Health/Check':
            return grpc.unary_unary_rpc_method_handler(check)
def check(request, context):
    if request[2:] == b'unknown.Service':
        context.abort(grpc.StatusCode.NOT_FOUND, 'no such service')
    return b'\x08\x02' if os.path.exists(sys.argv[1]) else b'\x08\x01'
server = grpc.server(futures.ThreadPoolExecutor())
server.add_generic_rpc_handlers((Health(),))
key, cert = (open(f, 'rb').read() for f in sys.argv[2:4])
server.add_insecure_port('0.0.0.0:50051')
server.add_secure_port('0.0.0.0:50052', grpc.ssl_server_credentials(((key, cert),)))
server.start()
server.wait_for_termination()
";

#[test]
fn grpc_services_report_whether_they_serve() {
    let _loud = crate::TIMING_LOCK.read();
    let Some(net) = Net::directors("grpc") else { return };
    let there = Command::new("/usr/bin/python3").args(["-c", "import grpc"]).status();
    if !there.is_ok_and(|s| s.success()) {
        eprintln!("skipped: it needs Debian's python3-grpcio (make test-deps)");
        return;
    }
    let dir = net.lan.dir.clone();
    run_openssl(&dir, "req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=Test -keyout ca.key -out ca.pem");
    make_certificate(&dir, "good", "www.example.org", 9);
    fs::write(dir.join("server.py"), GRPC_SERVER).expect("writable");
    let path = |name: &str| dir.join(name).display().to_string();
    let args = ["-u", &path("server.py"), &path("resting"), &path("good.key"), &path("good.pem")];
    let server = net.lan.spawn("d2", "grpc-server", Path::new("/usr/bin/python3"), &args).expect("starts");
    listen(&net, 7001, |s| respond(s, |s| drop(s.write_all(b"HTTP/1.0 200 OK\r\n\r\n"))));
    let listening = || net.lan.run_in("d2", || TcpStream::connect((Ipv4Addr::LOCALHOST, 50051)).ok());
    eventually("gRPC listens", TEST_TIMEOUT, || listening().ok().flatten());
    let checks = [
        (1, "GRPC_CHECK {\n retry 0\n connect_port 50051\n}"),
        (2, "GRPC_CHECK {\n retry 0\n connect_port 50051\n service unknown.Service\n}"),
        (3, "GRPC_CHECK {\n connect_port 50052\n service shop.Cart\n tls\n sni_name www.example.org\n}"),
        (4, "GRPC_CHECK {\n connect_port 50052\n tls\n sni_name other.example.org\n}"),
        (5, "GRPC_CHECK {\n connect_port 7001\n}"),
    ];
    let ssl = format!("SSL {{\n ca {}\n}}\n", path("ca.pem"));
    net.start_daemon("d1", &format!("{SMALL_TABLE}{ssl}{}", services_config(&checks)));
    wait_until_up(&net, 1);
    wait_until_up(&net, 3);
    wait_until_failed(&net, 2, Phase::Expect, "gRPC status 5: no such service");
    wait_until_failed(&net, 4, Phase::Tls, "not valid for name");
    wait_until_failed(&net, 5, Phase::FirstByte, "");
    fs::write(dir.join("resting"), "").expect("writable");
    wait_until_failed(&net, 1, Phase::Expect, "NOT_SERVING");
    fs::remove_file(dir.join("resting")).expect("there");
    wait_until_up(&net, 1);
    net.lan.signal(server, Signal::SIGSTOP).expect("running");
    wait_until_failed(&net, 1, Phase::FirstByte, "no answer for 1 s");
}
