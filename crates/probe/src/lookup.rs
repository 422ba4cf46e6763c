//! Lookup of real servers by name: addresses by the system's resolver, and SRV records (RFC 2782), which getaddrinfo(3)
//! does not look up, from the name servers in resolv.conf.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use evenkeel_core::discovery::{MAX_SERVERS_PER_NAME, NameQuery, ResolvedServer};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

use super::random_bytes;

/// After this time without a response the next name server is queried.
const NAME_SERVER_TIMEOUT: Duration = Duration::from_secs(2);
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The servers that a name resolves to.
pub async fn lookup(query: &NameQuery) -> Result<Vec<ResolvedServer>, String> {
    if query.srv {
        return lookup_srv(&query.name).await;
    }
    let found = lookup_addresses(&query.name).await?;
    Ok(found.into_iter().map(|addr| ResolvedServer { addr, port: None, weight: None }).collect())
}

async fn lookup_addresses(name: &str) -> Result<Vec<IpAddr>, String> {
    let all = lookup_host((name, 0)).await.map_err(|e| e.to_string())?;
    let mut all: Vec<IpAddr> = all.map(|a| a.ip()).collect();
    all.sort();
    all.dedup();
    Ok(all)
}

/// The targets of the SRV records with the lowest priority, with their ports and weights.
async fn lookup_srv(name: &str) -> Result<Vec<ResolvedServer>, String> {
    let servers = name_servers(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default());
    let mut why = format!("{RESOLV_CONF} has no name server");
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
    // A target that cannot be resolved is an error of the whole lookup: otherwise a short failure of the resolver would
    // remove it.
    why.map_or(Ok(found), Err)
}

fn name_servers(text: &str) -> Vec<IpAddr> {
    let address = |line: &str| line.strip_prefix("nameserver")?.split_whitespace().next()?.parse().ok();
    let all: Vec<IpAddr> = text.lines().filter_map(|l| address(l.trim())).collect();
    // resolv.conf(5): the default is the local name server.
    if all.is_empty() { vec![IpAddr::from([127, 0, 0, 1])] } else { all }
}

async fn query_srv(server: IpAddr, name: &str) -> Result<Vec<SrvRecord>, String> {
    let to = SocketAddr::new(server, 53);
    let [hi, lo, ..] = random_bytes();
    let id = u16::from_be_bytes([hi, lo]);
    let query_bytes = encode_query(id, name)?;
    let response = timeout(NAME_SERVER_TIMEOUT, query_over_udp(to, &query_bytes, id))
        .await
        .map_err(|_| "no answer".to_owned())??;
    let response = if response.metadata.truncation {
        timeout(NAME_SERVER_TIMEOUT, query_over_tcp(to, &query_bytes, id))
            .await
            .map_err(|_| "no answer over TCP".to_owned())??
    } else {
        response
    };
    match response.metadata.response_code {
        ResponseCode::NoError => {}
        code => return Err(format!("it responded {code}")),
    }
    let record = |data: &RData| match data {
        RData::SRV(s) => Some((s.priority, s.weight, s.port, s.target.to_utf8())),
        _ => None,
    };
    // RFC 2782: a single target "." means that the service is not available.
    Ok(response.answers.iter().filter_map(|r| record(&r.data)).filter(|r| r.3 != ".").collect())
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
    let m = Message::from_vec(bytes).map_err(|e| format!("its response is not a DNS message: {e}"))?;
    let matches = m.metadata.id == id && m.metadata.message_type == MessageType::Response;
    if matches { Ok(m) } else { Err("its response does not match the query".to_owned()) }
}

async fn query_over_udp(to: SocketAddr, query_bytes: &[u8], id: u16) -> Result<Message, String> {
    let to_text = |e: std::io::Error| e.to_string();
    let any: IpAddr = if to.is_ipv6() { [0u16; 8].into() } else { [0u8; 4].into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(to_text)?;
    socket.connect(to).await.map_err(to_text)?;
    socket.send(query_bytes).await.map_err(to_text)?;
    let mut buf = vec![0; 4096];
    loop {
        let n = socket.recv(&mut buf).await.map_err(to_text)?;
        if let Ok(m) = parse_response(buf.get(..n).unwrap_or_default(), id) {
            return Ok(m);
        }
    }
}

async fn query_over_tcp(to: SocketAddr, query_bytes: &[u8], id: u16) -> Result<Message, String> {
    let to_text = |e: std::io::Error| e.to_string();
    let mut stream = TcpStream::connect(to).await.map_err(to_text)?;
    let length = u16::try_from(query_bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    stream.write_all(&[&length, query_bytes].concat()).await.map_err(to_text)?;
    let length = stream.read_u16().await.map_err(to_text)?;
    let mut buf = vec![0; length.into()];
    stream.read_exact(&mut buf).await.map_err(to_text)?;
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
    fn a_response_to_another_query_is_rejected() {
        let query = encode_query(7, "_http._tcp.example.org").expect("a name");
        assert!(parse_response(&query, 7).is_err(), "a query is not a response");
        assert!(parse_response(b"", 7).is_err() && parse_response(&[0xff; 40], 7).is_err());
    }
}
