//! The parser of `/proc/net/ip_vs_conn`, which is the only interface that lists connections (ip_vs_conn_seq_show() of
//! `ip_vs_conn.c`).

use std::net::IpAddr;

use super::Connection;

/// The connections in the file. Malformed lines are skipped, because the table may change while it is read.
///
/// Addresses and ports are hexadecimal; IPv6 addresses are written in full. The template of a firewall mark has the mark as
/// its virtual address.
pub fn parse_connections(text: &str) -> impl Iterator<Item = Connection> {
    text.lines().skip(1).filter_map(parse_line)
}

fn parse_line(line: &str) -> Option<Connection> {
    let mut words = line.split_whitespace();
    let protocol = words.next()?.to_owned();
    let mut end = || Some((parse_addr(words.next()?)?, u16::from_str_radix(words.next()?, 16).ok()?));
    let (client, service, dest) = (end()?, end()?, end()?);
    let state = words.next()?.to_owned();
    let expires_s = words.next()?.parse().ok()?;
    let engine = words.next().map(|name| (name.to_owned(), words.next().unwrap_or_default().to_owned()));
    Some(Connection {
        protocol,
        client,
        service,
        dest,
        state,
        expires_s,
        persistence_engine: engine,
        controls: None,
        fwmark: 0,
    })
}

fn parse_addr(word: &str) -> Option<IpAddr> {
    if word.contains(':') {
        return word.trim_matches(['[', ']']).parse().ok();
    }
    u32::from_str_radix(word, 16).ok().map(|n| IpAddr::V4(n.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from Linux 6.1, with one truncated line.
    #[test]
    fn lines_of_every_kind() {
        let text = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n\
            TCP 0A010103 9C43 0A020064 0050 0A02000C 0050 ESTABLISHED     897\n\
            IP  0A010101 0000 00000007 0000 0A02000C 0000 ASSURED          59\n\
            UDP 0A010101 0000 0A020064 13C4 0A02000B 13C4 ASSURED          58 sip call-1@c\n\
            TCP fd00:0001:0001:0000:0000:0000:0000:0001 9C41 fd00:0002:0000:0000:0000:0000:0000:0100 0050 \
            fd00:0002:0000:0000:0000:0000:0000:0012 0050 FIN_WAIT         119\n\
            TCP 0A010103 9C43 0A02";
        let all: Vec<Connection> = parse_connections(text).collect();
        assert_eq!(all.len(), 4);
        assert_eq!(all[0].client, (IpAddr::from([10, 1, 1, 3]), 40003));
        assert_eq!((all[0].state.as_str(), all[0].expires_s, &all[0].persistence_engine), ("ESTABLISHED", 897, &None));
        assert_eq!((all[1].protocol.as_str(), all[1].service.0), ("IP", IpAddr::from([0, 0, 0, 7])));
        assert_eq!(all[2].persistence_engine, Some(("sip".to_owned(), "call-1@c".to_owned())));
        assert_eq!(all[3].dest, ("fd00:2::12".parse().expect("an address"), 80));
    }
}
