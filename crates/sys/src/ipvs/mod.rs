//! The kernel's IPVS: a generic-netlink socket. What is said on it is in `evenkeel_core::ipvs`.

mod export;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use evenkeel_core::ipvs::message::{self, Command};
use evenkeel_core::ipvs::sync::SyncEntry;
use evenkeel_core::ipvs::{
    self, Change, Connection, DestEntry, IpvsInfo, ServiceEntry, ServiceId, SyncDaemon, Timeouts,
};
use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};

use crate::ipvs_backend::IpvsBackend;
use crate::{Context, Error, Result, netns};

/// GENL_ID_CTRL: the family that tells families' numbers.
const GENL_ID_CTRL: u16 = 0x10;
/// CTRL_CMD_GETFAMILY, version 1, and the attribute CTRL_ATTR_FAMILY_NAME with `IPVS`.
const GET_FAMILY_REQUEST: [u8; 16] = [3, 1, 0, 0, 9, 0, 2, 0, b'I', b'P', b'V', b'S', 0, 0, 0, 0];
/// CTRL_ATTR_FAMILY_ID
const CTRL_ATTR_FAMILY_ID: u16 = 1;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
/// NLMSG_ERROR
const NLMSG_ERROR: u16 = 2;
/// NLMSG_DONE
const NLMSG_DONE: u16 = 3;
/// A netlink message's header, bytes.
const HEADER_BYTES: usize = 16;

/// So many changes are under way at a time. Each that fails is answered with less than 300 bytes, which take about 1,300 in
/// the socket's queue (of 200 KiB usually).
const BATCH: usize = 128;

/// The kernel's IPVS in one network namespace.
pub struct Ipvs {
    socket: Socket,
    /// Where it is, if that is not this thread's namespace.
    namespace: Option<PathBuf>,
    family: u16,
    seq: u32,
    buf: Vec<u8>,
}

impl Ipvs {
    /// Opens it in this thread's network namespace. Where the kernel does not have it, its module is loaded.
    pub fn open() -> Result<Ipvs> {
        let open = || {
            let mut socket = Socket::new(NETLINK_GENERIC)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok::<_, io::Error>(socket)
        };
        let socket = open().context(|| "open a generic netlink socket".into())?;
        let mut ipvs = Ipvs { socket, namespace: None, family: GENL_ID_CTRL, seq: 0, buf: vec![0; 64 * 1024] };
        let what = || "find IPVS in the kernel".to_owned();
        let mut found = ipvs.request(&GET_FAMILY_REQUEST, 0, &what);
        if found.as_ref().is_err_and(|e| e.errno() == Some(libc::ENOENT)) {
            // The kernel has asked for the module by its alias; where aliases are not built, by its name.
            let _ = std::process::Command::new("modprobe").args(["-q", "ip_vs"]).status();
            found = ipvs.request(&GET_FAMILY_REQUEST, 0, &what);
        }
        let answers = found.map_err(|mut e| {
            if e.errno() == Some(libc::ENOENT) {
                e = Error { source: io::Error::from_raw_os_error(libc::ENOPROTOOPT), ..e };
                e = e.with_hint(
                    "the module ip_vs is not loaded and cannot be: `modprobe ip_vs`, or a kernel that has it",
                );
            }
            e
        })?;
        let id = answers.iter().find_map(|a| find_attribute(a.get(4..)?, CTRL_ATTR_FAMILY_ID)?.try_into().ok());
        ipvs.family = u16::from_ne_bytes(id.ok_or_else(|| Error::new(what(), "the kernel's answer has no number"))?);
        Ok(ipvs)
    }

    /// Opens it in the network namespace that `path` names (`net_namespace_ipvs`).
    pub fn open_in_netns(path: &Path) -> Result<Ipvs> {
        let opened = netns::run_in(Some(path), Ipvs::open)?;
        Ok(Ipvs { namespace: Some(path.to_owned()), ..opened })
    }

    fn encode_message(&mut self, payload: &[u8], flags: u16) -> Vec<u8> {
        self.seq = self.seq.wrapping_add(1);
        let len = (HEADER_BYTES + payload.len()) as u32;
        let mut m = Vec::with_capacity(len as usize);
        m.extend(len.to_ne_bytes());
        m.extend(self.family.to_ne_bytes());
        m.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        m.extend(self.seq.to_ne_bytes());
        m.extend([0; 4]);
        m.extend(payload);
        m
    }

    /// Sends a request and reads its whole answer: what stands behind the netlink headers.
    fn request(&mut self, payload: &[u8], flags: u16, what: &dyn Fn() -> String) -> Result<Vec<Vec<u8>>> {
        let message = self.encode_message(payload, NLM_F_ACK | flags);
        self.socket.send(&message, 0).context(what)?;
        let mut answers = Vec::new();
        let seq = self.seq;
        loop {
            let ended = self.receive_datagram(what, &mut |of, body| {
                if of == seq {
                    answers.push(body.to_vec());
                }
            })?;
            if let Some((_, result)) = ended.into_iter().find(|(of, _)| *of == seq) {
                return result.context(what).map(|()| answers);
            }
        }
    }

    /// Reads a datagram: answers go to `each` with their sequence numbers; what has ended is returned.
    fn receive_datagram(
        &mut self,
        what: &dyn Fn() -> String,
        each: &mut dyn FnMut(u32, &[u8]),
    ) -> Result<Vec<(u32, io::Result<()>)>> {
        let n = self.socket.recv(&mut &mut self.buf[..], 0).context(what)?;
        let mut rest = self.buf.get(..n).unwrap_or_default();
        let mut ended = Vec::new();
        while let Some((header, _)) = rest.split_at_checked(HEADER_BYTES) {
            let word = |at: usize| header.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
            let (len, kind, seq) = (word(0) as usize, (word(4) & 0xffff) as u16, word(8));
            let Some(body) = rest.get(HEADER_BYTES..len) else { break };
            match kind {
                NLMSG_DONE => ended.push((seq, Ok(()))),
                NLMSG_ERROR => {
                    let code = body.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
                    let result = if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                    ended.push((seq, result));
                }
                _ => each(seq, body),
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(ended)
    }

    fn request_one<T>(&mut self, payload: &[u8], read: impl Fn(&[u8]) -> Option<T>, what: &str) -> Result<T> {
        let answers = self.request(payload, 0, &|| what.to_owned())?;
        answers.first().and_then(|a| read(a)).ok_or_else(|| Error::new(what, "the kernel's answer makes no sense"))
    }

    fn dump<T>(&mut self, payload: &[u8], read: impl Fn(&[u8]) -> Option<T>, what: &str) -> Result<Vec<T>> {
        let answers = self.request(payload, NLM_F_DUMP, &|| what.to_owned())?;
        Ok(answers.iter().filter_map(|a| read(a)).collect())
    }

    /// Sets one of IPVS's sysctls (`net.ipv4.vs.NAME`).
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/ipv4/vs/{name}");
        let write = || fs::write(&path, value).context(|| format!("write {value} to {path}"));
        netns::run_in(self.namespace.as_deref(), write)
    }

    /// Does many changes, one after another, in their order; each one's result is at its place.
    pub fn apply_changes(&mut self, changes: &[Change]) -> Vec<Result<()>> {
        let mut results = Vec::with_capacity(changes.len());
        for some in changes.chunks(BATCH) {
            let first = self.seq.wrapping_add(1);
            let last = some.len() - 1;
            // They are done in their order, so that an answer to the last one, and errors, say everything.
            let ack = |n: usize| if n == last { NLM_F_ACK } else { 0 };
            let messages: Vec<u8> = some
                .iter()
                .enumerate()
                .flat_map(|(n, c)| self.encode_message(&message::change_request(c), ack(n)))
                .collect();
            results.extend(self.exchange_batch(first, some, &messages));
        }
        results
    }

    fn exchange_batch(&mut self, first: u32, changes: &[Change], messages: &[u8]) -> Vec<Result<()>> {
        let what = || "change IPVS".to_owned();
        let mut failed: Vec<Option<io::Error>> = changes.iter().map(|_| None).collect();
        let mut talk = self.socket.send(messages, 0).map(|_| ()).context(what);
        let mut done = false;
        while talk.is_ok() && !done {
            match self.receive_datagram(&what, &mut |_, _| {}) {
                Ok(some) => {
                    for (seq, result) in some {
                        let n = seq.wrapping_sub(first) as usize;
                        done |= n + 1 == changes.len();
                        if let (Some(place), Err(e)) = (failed.get_mut(n), result) {
                            *place = Some(e);
                        }
                    }
                }
                Err(e) => talk = Err(e),
            }
        }
        let why = talk.err().map(|e| e.source.kind());
        let result = |(e, c): (Option<io::Error>, &Change)| {
            let e = e.or_else(|| why.map(io::Error::from));
            e.map_or(Ok(()), Err).context(|| c.to_string())
        };
        failed.into_iter().zip(changes).map(result).collect()
    }
}

/// A plain attribute's value.
fn find_attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let word = |at: usize| Some(u16::from_ne_bytes(rest.get(at..at + 2)?.try_into().ok()?));
        let (len, kind) = (usize::from(word(0)?), word(2)?);
        let value = rest.get(4..len)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(len.next_multiple_of(4)..)?;
    }
}

impl IpvsBackend for Ipvs {
    fn info(&mut self) -> Result<IpvsInfo> {
        self.request_one(&message::request(Command::GetInfo), message::parse_info, "ask IPVS for its version")
    }

    fn services(&mut self) -> Result<Vec<ServiceEntry>> {
        self.dump(&message::request(Command::GetService), message::parse_service, "list IPVS's services")
    }

    fn service(&mut self, id: ServiceId) -> Result<ServiceEntry> {
        self.request_one(&message::get_service_request(id), message::parse_service, &format!("look at service {id}"))
    }

    fn dests(&mut self, id: ServiceId) -> Result<Vec<DestEntry>> {
        let read = |m: &[u8]| message::parse_dest(m, id.is_ipv6());
        self.dump(&message::get_dests_request(id), read, &format!("list the servers of {id}"))
    }

    fn connections(&mut self) -> Result<Vec<Connection>> {
        // The thread's own, which may be in another namespace than the process.
        let path = "/proc/thread-self/net/ip_vs_conn";
        let read = || fs::read_to_string(path).context(|| format!("read {path}"));
        Ok(ipvs::parse_connections(&netns::run_in(self.namespace.as_deref(), read)?).collect())
    }

    /// TCP and SCTP only: see [`SyncEntry::ending`].
    fn end_connections(&mut self, wanted: &dyn Fn(&Connection) -> bool) -> Result<usize> {
        let all = self.connections()?;
        let ends: Vec<SyncEntry> = all.iter().filter(|c| wanted(c)).filter_map(SyncEntry::closing).collect();
        self.export_connections(&ends).map(|left| ends.len() - left)
    }

    fn timeouts(&mut self) -> Result<Timeouts> {
        self.request_one(&message::request(Command::GetConfig), message::parse_timeouts, "ask IPVS for its timeouts")
    }

    fn sync_daemons(&mut self) -> Result<Vec<SyncDaemon>> {
        let mut all = self.dump(&message::request(Command::GetDaemon), message::parse_daemon, "list IPVS's daemons")?;
        all.sort_by_key(|d| d.role);
        Ok(all)
    }

    fn apply_change(&mut self, change: &Change) -> Result<()> {
        self.request(&message::change_request(change), 0, &|| change.to_string()).map(|_| ())
    }
}
