//! The kernel's IPVS through its generic netlink socket. The messages are encoded and parsed in `evenkeel_core::ipvs`.

mod export;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use evenkeel_core::ipvs::message::{self, Command};
use evenkeel_core::ipvs::sync::SyncEntry;
use evenkeel_core::ipvs::{
    self, Change, Connection, DestEntry, IpvsInfo, ServiceEntry, ServiceId, SyncDaemon, Timeouts,
};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_GENERIC;

use crate::ipvs_backend::IpvsBackend;
use crate::netlink_socket::{self, HEADER_BYTES, KernelError, MessageKind, find_attribute};
use crate::{Context, Error, Result, netns};

/// GENL_ID_CTRL: the generic netlink family that knows the IDs of all families.
const GENL_ID_CTRL: u16 = 0x10;
/// CTRL_CMD_GETFAMILY, version 1, and the attribute CTRL_ATTR_FAMILY_NAME with `IPVS`.
const GET_FAMILY_REQUEST: [u8; 16] = [3, 1, 0, 0, 9, 0, 2, 0, b'I', b'P', b'V', b'S', 0, 0, 0, 0];
const CTRL_ATTR_FAMILY_ID: u16 = 1;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;

/// The number of changes that are sent at once. An error response has less than 300 bytes and takes about 1,300 bytes
/// of the socket's receive buffer, which usually has 200 KiB.
const BATCH: usize = 128;

/// The kernel's IPVS in one network namespace.
pub struct Ipvs {
    socket: Socket,
    /// The network namespace; `None` for this thread's namespace.
    namespace: Option<PathBuf>,
    family: u16,
    seq: u32,
    buf: Vec<u8>,
}

/// The requests that a datagram ends, by sequence number.
type EndedRequests = Vec<(u32, std::result::Result<(), KernelError>)>;

impl Ipvs {
    /// Opens IPVS in this thread's network namespace. Loads its kernel module if it is not loaded.
    pub fn open() -> Result<Ipvs> {
        let socket = netlink_socket::open(NETLINK_GENERIC).context(|| "open a generic netlink socket".into())?;
        let mut ipvs = Ipvs { socket, namespace: None, family: GENL_ID_CTRL, seq: 0, buf: vec![0; 64 * 1024] };
        let operation = || "find IPVS in the kernel".to_owned();
        let mut response = ipvs.request(&GET_FAMILY_REQUEST, 0, &operation);
        if response.as_ref().is_err_and(|e| e.errno() == Some(libc::ENOENT)) {
            // The kernel loads the module by its alias. Where no aliases are installed, its name works.
            let _ = std::process::Command::new("modprobe").args(["-q", "ip_vs"]).status();
            response = ipvs.request(&GET_FAMILY_REQUEST, 0, &operation);
        }
        let response = response.map_err(|e| match e.errno() {
            Some(libc::ENOENT) => Error::from_errno(operation(), libc::ENOPROTOOPT).with_hint(
                "the module ip_vs is not loaded and cannot be loaded: `modprobe ip_vs`, or use a kernel that has it",
            ),
            _ => e,
        })?;
        let id = response.iter().find_map(|m| find_attribute(m.get(4..)?, CTRL_ATTR_FAMILY_ID)?.try_into().ok());
        let missing = || Error::new(operation(), "the kernel's response has no family ID");
        ipvs.family = u16::from_ne_bytes(id.ok_or_else(missing)?);
        Ok(ipvs)
    }

    /// Opens IPVS in the network namespace at `path` (`net_namespace_ipvs`).
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

    /// Sends a request and receives its whole response: the messages without their netlink headers.
    fn request(&mut self, payload: &[u8], flags: u16, operation: &dyn Fn() -> String) -> Result<Vec<Vec<u8>>> {
        let message = self.encode_message(payload, NLM_F_ACK | flags);
        self.socket.send(&message, 0).context(operation)?;
        let mut response = Vec::new();
        let request = self.seq;
        loop {
            let ended = self.receive_datagram(operation, &mut |seq, body| {
                if seq == request {
                    response.push(body.to_vec());
                }
            })?;
            if let Some((_, result)) = ended.into_iter().find(|(seq, _)| *seq == request) {
                return result.map(|()| response).map_err(|e| e.into_error(operation()));
            }
        }
    }

    /// Receives a datagram. Calls `data` with the sequence number and the body of each data message.
    fn receive_datagram(
        &mut self,
        operation: &dyn Fn() -> String,
        data: &mut dyn FnMut(u32, &[u8]),
    ) -> Result<EndedRequests> {
        let n = self.socket.recv(&mut &mut self.buf[..], 0).context(operation)?;
        let mut ended = Vec::new();
        for message in netlink_socket::messages(self.buf.get(..n).unwrap_or_default()) {
            match message.classify() {
                MessageKind::End(result) => ended.push((message.seq, result)),
                MessageKind::Data => data(message.seq, message.body),
            }
        }
        Ok(ended)
    }

    fn request_one<T>(&mut self, payload: &[u8], parse: impl Fn(&[u8]) -> Option<T>, operation: &str) -> Result<T> {
        let response = self.request(payload, 0, &|| operation.to_owned())?;
        let invalid = || Error::new(operation, "the kernel's response cannot be parsed");
        response.first().and_then(|m| parse(m)).ok_or_else(invalid)
    }

    fn dump<T>(&mut self, payload: &[u8], parse: impl Fn(&[u8]) -> Option<T>, operation: &str) -> Result<Vec<T>> {
        let response = self.request(payload, NLM_F_DUMP, &|| operation.to_owned())?;
        Ok(response.iter().filter_map(|m| parse(m)).collect())
    }

    /// Sets a sysctl of IPVS (`net.ipv4.vs.NAME`).
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/ipv4/vs/{name}");
        let write = || fs::write(&path, value).context(|| format!("write {value} to {path}"));
        netns::run_in(self.namespace.as_deref(), write)
    }

    /// Applies changes in their order. Returns the result of each change at its position.
    pub fn apply_changes(&mut self, changes: &[Change]) -> Vec<Result<()>> {
        let mut results = Vec::with_capacity(changes.len());
        for batch in changes.chunks(BATCH) {
            let first = self.seq.wrapping_add(1);
            let last = batch.len() - 1;
            // The kernel processes the messages in order, and responds to each error. So one acknowledgement, of the
            // last message, is enough.
            let ack = |n: usize| if n == last { NLM_F_ACK } else { 0 };
            let messages: Vec<u8> = batch
                .iter()
                .enumerate()
                .flat_map(|(n, c)| self.encode_message(&message::change_request(c), ack(n)))
                .collect();
            results.extend(self.exchange_batch(first, batch, &messages));
        }
        results
    }

    /// Sends the messages of a batch, the first of which has sequence number `first`, and receives the results.
    fn exchange_batch(&mut self, first: u32, changes: &[Change], messages: &[u8]) -> Vec<Result<()>> {
        let operation = || "change IPVS".to_owned();
        let mut failed: Vec<Option<KernelError>> = changes.iter().map(|_| None).collect();
        let mut exchange = self.socket.send(messages, 0).map(|_| ()).context(operation);
        let mut done = false;
        while exchange.is_ok() && !done {
            match self.receive_datagram(&operation, &mut |_, _| {}) {
                Ok(ended) => {
                    for (seq, result) in ended {
                        let n = seq.wrapping_sub(first) as usize;
                        done |= n + 1 == changes.len();
                        if let (Some(failure), Err(e)) = (failed.get_mut(n), result) {
                            *failure = Some(e);
                        }
                    }
                }
                Err(e) => exchange = Err(e),
            }
        }
        // If the socket failed, the result of changes without an error response is unknown: they count as failed.
        let socket_error = exchange.err().map(|e| e.source.kind());
        let result = |(e, change): (Option<KernelError>, &Change)| {
            let e = e.or_else(|| socket_error.map(|kind| KernelError { source: io::Error::from(kind), extack: None }));
            e.map_or(Ok(()), |e| Err(e.into_error(change.to_string())))
        };
        failed.into_iter().zip(changes).map(result).collect()
    }
}

impl IpvsBackend for Ipvs {
    fn info(&mut self) -> Result<IpvsInfo> {
        self.request_one(&message::request(Command::GetInfo), message::parse_info, "read the version of IPVS")
    }

    fn services(&mut self) -> Result<Vec<ServiceEntry>> {
        self.dump(&message::request(Command::GetService), message::parse_service, "list the services of IPVS")
    }

    fn service(&mut self, id: ServiceId) -> Result<ServiceEntry> {
        self.request_one(&message::get_service_request(id), message::parse_service, &format!("read service {id}"))
    }

    fn dests(&mut self, id: ServiceId) -> Result<Vec<DestEntry>> {
        let read = |m: &[u8]| message::parse_dest(m, id.is_ipv6());
        self.dump(&message::get_dests_request(id), read, &format!("list the real servers of {id}"))
    }

    fn connections(&mut self) -> Result<Vec<Connection>> {
        // /proc/net is that of the main thread, which may be in another network namespace.
        let path = "/proc/thread-self/net/ip_vs_conn";
        let read = || fs::read_to_string(path).context(|| format!("read {path}"));
        Ok(ipvs::parse_connections(&netns::run_in(self.namespace.as_deref(), read)?).collect())
    }

    /// TCP and SCTP only: see [`SyncEntry::closing`].
    fn end_connections(&mut self, wanted: &dyn Fn(&Connection) -> bool) -> Result<usize> {
        let all = self.connections()?;
        let ends: Vec<SyncEntry> = all.iter().filter(|c| wanted(c)).filter_map(SyncEntry::closing).collect();
        self.export_connections(&ends).map(|missing| ends.len() - missing)
    }

    fn timeouts(&mut self) -> Result<Timeouts> {
        self.request_one(&message::request(Command::GetConfig), message::parse_timeouts, "read the timeouts of IPVS")
    }

    fn sync_daemons(&mut self) -> Result<Vec<SyncDaemon>> {
        let mut all = self.dump(
            &message::request(Command::GetDaemon),
            message::parse_daemon,
            "list the synchronisation daemons of IPVS",
        )?;
        all.sort_by_key(|d| d.role);
        Ok(all)
    }

    fn apply_change(&mut self, change: &Change) -> Result<()> {
        self.request(&message::change_request(change), 0, &|| change.to_string()).map(|_| ())
    }
}
