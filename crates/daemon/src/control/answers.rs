//! Answers of real servers, as the packet path sees them: sampled at every look, and reported as findings.

use std::time::Duration;

use evenkeel_core::answers::{AnswerCounts, AnswerMonitor, AnswerVerdict};
use evenkeel_core::ipc::{Finding, Severity};
use evenkeel_core::model::{Config, ForwardingMethod, ServerKey, ServiceKey};

/// The counts of all servers within the last minute.
pub type Answers = AnswerMonitor<ServiceKey, ServerKey>;

/// The servers whose connections are not answered, each with what is probably wrong.
pub fn answer_findings(config: &Config, answers: &Answers) -> Vec<Finding> {
    let verdicts = answers.verdicts();
    let finding = |(service, server, verdict): &(ServiceKey, ServerKey, AnswerVerdict)| {
        let subject = format!("{server} of {service}");
        let (severity, reason) = match verdict {
            AnswerVerdict::NoAnswer(c, time) => {
                let others = config.virtual_servers.iter().filter(|v| v.key == *service).flat_map(|v| &v.servers);
                let is_any_answered = others.into_iter().any(|r| answers.counts(*service, r.key).answered > 0);
                let severity = if is_any_answered { Severity::Warning } else { Severity::Critical };
                (severity, no_answer(*c, *time))
            }
            AnswerVerdict::SomeAnswers(c) => (Severity::Warning, some_answers(*c)),
        };
        let method = method_of(config, *service, *server);
        Finding::new("unanswered", severity, subject, reason).with_remedy(method.map_or("", remedy))
    };
    verdicts.iter().map(finding).collect()
}

fn no_answer(c: AnswerCounts, time: Duration) -> String {
    let (n, seconds) = (c.new.max(c.retried), time.as_secs());
    format!("{n} new connections in the last {seconds} s, none of them went beyond SYN")
}

fn some_answers(c: AnswerCounts) -> String {
    let AnswerCounts { answered, retried, .. } = c;
    format!("clients had to try {retried} connections again in the last minute, and only {answered} were answered")
}

fn method_of(config: &Config, service: ServiceKey, server: ServerKey) -> Option<ForwardingMethod> {
    let of_service = config.virtual_servers.iter().find(|v| v.key == service)?;
    of_service.servers.iter().find(|r| r.key == server).map(|r| r.method)
}

/// What to look at, the likeliest first.
fn remedy(method: ForwardingMethod) -> &'static str {
    match method {
        ForwardingMethod::Dr => {
            "does the server have the address on its lo (`evenkeel real-server check`)? a route back? a firewall?"
        }
        ForwardingMethod::Tun(_) => {
            "does the server have the address on its lo, and remove the outer header (`evenkeel real-server check`)? a firewall?"
        }
        ForwardingMethod::Nat => "is this director the gateway of the server's answers? a firewall?",
    }
}
