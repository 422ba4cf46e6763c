//! Requests to the daemon over its control socket.

use anyhow::Context;
use evenkeel_core::ipc::{Reply, Request};
use evenkeel_sys::paths::control_socket;
use evenkeel_testkit::control::send_request;

/// Sends a request to the daemon of an instance and waits for the reply.
pub fn call_daemon(instance: &str, request: &Request) -> anyhow::Result<Reply> {
    let socket = control_socket(instance);
    send_request(&socket, request)
        .with_context(|| format!("no evenkeeld answers as instance `{instance}` (is it running, and are you root?)"))
}

/// The error of a reply that does not belong to the request.
pub fn unexpected_reply() -> anyhow::Error {
    anyhow::anyhow!("the daemon sent an unexpected reply; are evenkeel and evenkeeld of the same version?")
}
