//! DNS_CHECK: one question over UDP (RFC 1035). Good is an answer without an error that holds a record.

use std::net::IpAddr;

use evenkeel_core::health::Phase;
use evenkeel_core::model::{ConnectOptions, DnsType};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::time::timeout;

use super::{PhaseTimer, ProbeFailure, ProbeSuccess, connect, random_bytes};

pub async fn run(
    to: (IpAddr, u16),
    path: &ConnectOptions,
    (name, kind): (&str, DnsType),
    watch: &mut PhaseTimer,
) -> Result<ProbeSuccess, ProbeFailure> {
    let [hi, lo, ..] = random_bytes();
    let id = u16::from_be_bytes([hi, lo]);
    let question = encode_query(id, name, kind).map_err(|e| (Phase::Prepare, e))?;
    let socket = connect::udp_socket(to, path)?;
    watch.run_phase(Phase::Send, socket.send(&question)).await?;
    let mut answer = vec![0; 4096];
    // A late answer to an earlier question is none to this one.
    let heard = timeout(watch.phase_timeout, async {
        loop {
            let n = socket.recv(&mut answer).await?;
            if answer[..n].starts_with(&[hi, lo]) {
                return Ok::<usize, std::io::Error>(n);
            }
        }
    })
    .await;
    watch.end_phase(Phase::FirstByte);
    let n = match heard {
        Ok(heard) => heard.map_err(|e| (Phase::FirstByte, e.to_string()))?,
        Err(_) => return Err((Phase::FirstByte, format!("no answer for {} s", watch.phase_timeout.as_secs_f64()))),
    };
    let answers = check_response(&answer[..n]).map_err(|why| (Phase::Expect, why))?;
    Ok(format!("answered {answers} records").into())
}

fn encode_query(id: u16, name: &str, kind: DnsType) -> Result<Vec<u8>, String> {
    let kind = match kind {
        DnsType::A => RecordType::A,
        DnsType::Ns => RecordType::NS,
        DnsType::Cname => RecordType::CNAME,
        DnsType::Soa => RecordType::SOA,
        DnsType::Mx => RecordType::MX,
        DnsType::Txt => RecordType::TXT,
        DnsType::Aaaa => RecordType::AAAA,
        DnsType::Rrsig => RecordType::RRSIG,
        DnsType::Dnskey => RecordType::DNSKEY,
    };
    let mut name = Name::from_ascii(name).map_err(|e| format!("{name}: {e}"))?;
    name.set_fqdn(true);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    message.to_vec().map_err(|e| e.to_string())
}

/// How many records an answer holds; or what is wrong with it, by the rules of keepalived's check.
fn check_response(bytes: &[u8]) -> Result<usize, String> {
    let m = Message::from_vec(bytes).map_err(|e| format!("an answer that is no DNS message: {e}"))?;
    if m.metadata.message_type != MessageType::Response || m.metadata.op_code != OpCode::Query {
        return Err("an answer that is no response to a query".to_owned());
    }
    if m.metadata.response_code != ResponseCode::NoError {
        return Err(format!("answered {}", m.metadata.response_code));
    }
    match (m.queries.len(), m.answers.len()) {
        (1, 0) => Err("answered no record".to_owned()),
        (1, n) => Ok(n),
        (n, _) => Err(format!("an answer to {n} questions")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What keepalived sent in the recorded run `dns`, its number apart.
    #[test]
    fn a_question_is_keepalived_s_to_the_byte() {
        let asked = |name, kind| evenkeel_core::health::to_hex(&encode_query(0xde6e, name, kind).expect("a name"));
        assert_eq!(asked("example.org", DnsType::A), "de6e01000001000000000000076578616d706c65036f72670000010001");
        assert_eq!(asked(".", DnsType::Soa), "de6e010000010000000000000000060001");
        assert!(encode_query(1, "a..b", DnsType::A).is_err());
    }

    #[test]
    fn errors_and_empty_answers_are_bad() {
        let question = encode_query(7, "example.org", DnsType::A).expect("a name");
        let answer = |flags: u8, answers: u8| {
            let mut b = question.clone();
            (b[2], b[3], b[7]) = (0x81, flags, answers);
            if answers == 1 {
                b.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
            }
            check_response(&b)
        };
        assert_eq!(answer(0x80, 1), Ok(1));
        assert!(answer(0x80, 0).is_err_and(|w| w.contains("no record")));
        assert!(answer(0x82, 0).is_err_and(|w| w.contains("Server Failure")));
        assert!(check_response(&question).is_err_and(|w| w.contains("no response")));
        assert!(check_response(&[1, 2, 3]).is_err());
    }
}
