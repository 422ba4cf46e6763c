//! DNS_CHECK: one query over UDP (RFC 1035). It passes with a response that has no error and at least one record.

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
    timer: &mut PhaseTimer,
) -> Result<ProbeSuccess, ProbeFailure> {
    let [hi, lo, ..] = random_bytes();
    let id = u16::from_be_bytes([hi, lo]);
    let query = encode_query(id, name, kind).map_err(|e| (Phase::Prepare, e))?;
    let socket = connect::udp_socket(to, path)?;
    timer.run_phase(Phase::Send, socket.send(&query)).await?;
    let mut response = vec![0; 4096];
    // A late response to an earlier query is skipped.
    let received = timeout(timer.phase_timeout, async {
        loop {
            let n = socket.recv(&mut response).await?;
            if response[..n].starts_with(&[hi, lo]) {
                return Ok::<usize, std::io::Error>(n);
            }
        }
    })
    .await;
    timer.end_phase(Phase::FirstByte);
    let n = match received {
        Ok(received) => received.map_err(|e| (Phase::FirstByte, e.to_string()))?,
        Err(_) => return Err((Phase::FirstByte, format!("no answer for {} s", timer.phase_timeout.as_secs_f64()))),
    };
    let answers = check_response(&response[..n]).map_err(|why| (Phase::Expect, why))?;
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

/// The number of records of a response, or the reason why it fails keepalived's check.
fn check_response(bytes: &[u8]) -> Result<usize, String> {
    let m = Message::from_vec(bytes).map_err(|e| format!("the reply is not a DNS message: {e}"))?;
    if m.metadata.message_type != MessageType::Response || m.metadata.op_code != OpCode::Query {
        return Err("the reply is not a response to a query".to_owned());
    }
    if m.metadata.response_code != ResponseCode::NoError {
        return Err(format!("answered {}", m.metadata.response_code));
    }
    match (m.queries.len(), m.answers.len()) {
        (1, 0) => Err("answered no record".to_owned()),
        (1, n) => Ok(n),
        (n, _) => Err(format!("a response to {n} questions")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The query of keepalived in the recording `dns`, except its identifier.
    #[test]
    fn a_query_equals_keepaliveds_byte_for_byte() {
        let query_hex = |name, kind| evenkeel_core::health::to_hex(&encode_query(0xde6e, name, kind).expect("a name"));
        assert_eq!(query_hex("example.org", DnsType::A), "de6e01000001000000000000076578616d706c65036f72670000010001");
        assert_eq!(query_hex(".", DnsType::Soa), "de6e010000010000000000000000060001");
        assert!(encode_query(1, "a..b", DnsType::A).is_err());
    }

    #[test]
    fn errors_and_responses_without_records_fail() {
        let query = encode_query(7, "example.org", DnsType::A).expect("a name");
        let response = |flags: u8, answers: u8| {
            let mut b = query.clone();
            (b[2], b[3], b[7]) = (0x81, flags, answers);
            if answers == 1 {
                b.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
            }
            check_response(&b)
        };
        assert_eq!(response(0x80, 1), Ok(1));
        assert!(response(0x80, 0).is_err_and(|w| w.contains("no record")));
        assert!(response(0x82, 0).is_err_and(|w| w.contains("Server Failure")));
        assert!(check_response(&query).is_err_and(|w| w.contains("not a response")));
        assert!(check_response(&[1, 2, 3]).is_err());
    }
}
