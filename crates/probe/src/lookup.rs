//! Names of real servers: their addresses by the system's resolver, or their SRV records (RFC 2782), which it does not know,
//! by the name servers that it would ask.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use evenkeel_core::discovery::{MAX_SERVERS_PER_NAME, NameQuery, ResolvedServer};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

use super::random_bytes;

/// A name server must answer within this; then the next one is asked.
const NAME_SERVER_TIMEOUT: Duration = Duration::from_secs(2);
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What a name stands for now; or why that cannot be said.
pub async fn lookup(asked: &NameQuery) -> Result<Vec<ResolvedServer>, String> {
    if asked.srv {
        return lookup_srv(&asked.name).await;
    }
    let found = lookup_addresses(&asked.name).await?;
    Ok(found.into_iter().map(|addr| ResolvedServer { addr, port: None, weight: None }).collect())
}

async fn lookup_addresses(name: &str) -> Result<Vec<IpAddr>, String> {
    let all = lookup_host((name, 0)).await.map_err(|e| e.to_string())?;
    let mut all: Vec<IpAddr> = all.map(|a| a.ip()).collect();
    all.sort();
    all.dedup();
    Ok(all)
}

/// The targets of the lowest priority, each at its port and with its weight.
async fn lookup_srv(name: &str) -> Result<Vec<ResolvedServer>, String> {
    let servers = name_servers(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default());
    let mut why = format!("{RESOLV_CONF} names no name server");
    for server in servers {
        match query_srv(server, name).await {
            Ok(records) => return resolve_targets(records).await,
            Err(e) => why = format!("{server}: {e}"),
        }
    }
    Err(why)
}

/// A SRV record: priority, weight, port, target.
type SrvRecord = (u16, u16, u16, String);

async fn resolve_targets(records: Vec<SrvRecord>) -> Result<Vec<ResolvedServer>, String> {
    let first = records.iter().map(|r| r.0).min().ok_or("it has no SRV record")?;
    let mut found = Vec::new();
    let mut why = None;
    for (_, weight, port, target) in records.into_iter().filter(|r| r.0 == first).take(MAX_SERVERS_PER_NAME) {
        match lookup_addresses(&target).await {
            Ok(all) => found.extend(all.into_iter().map(|addr| ResolvedServer {
                addr,
                port: Some(port),
                weight: Some(weight),
            })),
            Err(e) => why = Some(format!("{target}: {e}")),
        }
    }
    // A target without an address would be taken out by a resolver that fails for a moment.
    why.map_or(Ok(found), Err)
}

fn name_servers(text: &str) -> Vec<IpAddr> {
    let address = |line: &str| line.strip_prefix("nameserver")?.split_whitespace().next()?.parse().ok();
    let all: Vec<IpAddr> = text.lines().filter_map(|l| address(l.trim())).collect();
    // resolv.conf(5): without any, that of this machine.
    if all.is_empty() { vec![IpAddr::from([127, 0, 0, 1])] } else { all }
}

async fn query_srv(server: IpAddr, name: &str) -> Result<Vec<SrvRecord>, String> {
    let to = SocketAddr::new(server, 53);
    let [hi, lo, ..] = random_bytes();
    let id = u16::from_be_bytes([hi, lo]);
    let question = encode_query(id, name)?;
    let answer =
        timeout(NAME_SERVER_TIMEOUT, query_over_udp(to, &question, id)).await.map_err(|_| "no answer".to_owned())??;
    let answer = if answer.metadata.truncation {
        timeout(NAME_SERVER_TIMEOUT, query_over_tcp(to, &question, id))
            .await
            .map_err(|_| "no answer by TCP".to_owned())??
    } else {
        answer
    };
    match answer.metadata.response_code {
        ResponseCode::NoError => {}
        code => return Err(format!("it answers {code}")),
    }
    let record = |data: &RData| match data {
        RData::SRV(s) => Some((s.priority, s.weight, s.port, s.target.to_utf8())),
        _ => None,
    };
    // RFC 2782: a single target "." says that the service is decidedly not there.
    Ok(answer.answers.iter().filter_map(|r| record(&r.data)).filter(|r| r.3 != ".").collect())
}

fn encode_query(id: u16, name: &str) -> Result<Vec<u8>, String> {
    let mut name = Name::from_ascii(name).map_err(|e| format!("{name}: {e}"))?;
    name.set_fqdn(true);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, RecordType::SRV));
    message.to_vec().map_err(|e| e.to_string())
}

fn parse_response(bytes: &[u8], id: u16) -> Result<Message, String> {
    let m = Message::from_vec(bytes).map_err(|e| format!("it answers with what is no DNS message: {e}"))?;
    let right = m.metadata.id == id && m.metadata.message_type == MessageType::Response;
    if right { Ok(m) } else { Err("it answers something else".to_owned()) }
}

async fn query_over_udp(to: SocketAddr, question: &[u8], id: u16) -> Result<Message, String> {
    let text = |e: std::io::Error| e.to_string();
    let any: IpAddr = if to.is_ipv6() { [0u16; 8].into() } else { [0u8; 4].into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(text)?;
    socket.connect(to).await.map_err(text)?;
    socket.send(question).await.map_err(text)?;
    let mut buf = vec![0; 4096];
    loop {
        let n = socket.recv(&mut buf).await.map_err(text)?;
        if let Ok(m) = parse_response(buf.get(..n).unwrap_or_default(), id) {
            return Ok(m);
        }
    }
}

async fn query_over_tcp(to: SocketAddr, question: &[u8], id: u16) -> Result<Message, String> {
    let text = |e: std::io::Error| e.to_string();
    let mut stream = TcpStream::connect(to).await.map_err(text)?;
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX).to_be_bytes();
    stream.write_all(&[&length, question].concat()).await.map_err(text)?;
    let length = stream.read_u16().await.map_err(text)?;
    let mut buf = vec![0; length.into()];
    stream.read_exact(&mut buf).await.map_err(text)?;
    parse_response(&buf, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_those_of_resolv_conf() {
        let text =
            "# nameserver 192.0.2.9\nsearch example.org\nnameserver 192.0.2.1\n nameserver 2001:db8::1 # second\n";
        let known: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1"].map(|a| a.parse().expect("an address")).into();
        assert_eq!(name_servers(text), known);
        assert_eq!(name_servers("search example.org\n"), [IpAddr::from([127, 0, 0, 1])]);
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        let asked = encode_query(7, "_http._tcp.example.org").expect("a name");
        assert!(parse_response(&asked, 7).is_err(), "a question is no answer");
        assert!(parse_response(b"", 7).is_err() && parse_response(&[0xff; 40], 7).is_err());
    }
}
