//! Netlink sockets: opened, and their messages taken apart. Used for rtnetlink and for generic netlink (IPVS).

use std::io;

use netlink_sys::{Socket, SocketAddr};

use crate::Error;

/// The size of a netlink message's header in bytes.
pub(crate) const HEADER_BYTES: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// The acknowledgement contains only the header of the request.
const NLM_F_CAPPED: u16 = 0x100;
/// The acknowledgement has attributes: an extended ACK.
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// Opens a socket to the kernel in this thread's network namespace, with extended ACKs.
pub(crate) fn open(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    Ok(socket)
}

/// A received message.
pub(crate) struct Message<'b> {
    /// The message type.
    pub kind: u16,
    flags: u16,
    /// The sequence number of the request.
    pub seq: u32,
    /// The whole message.
    pub bytes: &'b [u8],
    /// The message without its header.
    pub body: &'b [u8],
}

/// What a message means for the request with its sequence number.
pub(crate) enum MessageKind {
    /// The request ended with this result.
    End(Result<(), KernelError>),
    /// The message is a part of the response.
    Data,
}

impl Message<'_> {
    pub(crate) fn classify(&self) -> MessageKind {
        match self.kind {
            NLMSG_DONE => MessageKind::End(Ok(())),
            NLMSG_ERROR => MessageKind::End(match self.body.first_chunk::<4>().map_or(0, |b| i32::from_ne_bytes(*b)) {
                0 => Ok(()),
                code => {
                    let source = io::Error::from_raw_os_error(code.saturating_abs());
                    Err(KernelError { source, extack: self.extack() })
                }
            }),
            _ => MessageKind::Data,
        }
    }

    /// The text of the extended ACK: NLMSGERR_ATTR_MSG, behind the error number and the (capped) request.
    fn extack(&self) -> Option<String> {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        let request = self.body.get(4..)?;
        let request_len = u32::from_ne_bytes(*request.first_chunk::<4>()?) as usize;
        let skipped = if self.flags & NLM_F_CAPPED != 0 { HEADER_BYTES } else { request_len.next_multiple_of(4) };
        let text = find_attribute(request.get(skipped..)?, NLMSGERR_ATTR_MSG)?;
        Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
    }
}

/// The messages of a datagram.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header = datagram.first_chunk::<HEADER_BYTES>()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let len = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let bytes = datagram.get(..len)?;
        let body = bytes.get(HEADER_BYTES..)?;
        datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
        let (kind, flags) = (u16::from_ne_bytes([k0, k1]), u16::from_ne_bytes([f0, f1]));
        Some(Message { kind, flags, seq: u32::from_ne_bytes([s0, s1, s2, s3]), bytes, body })
    })
}

/// The value of an attribute, the first one of its type.
pub(crate) fn find_attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let [l0, l1, k0, k1] = *attributes.first_chunk::<4>()?;
        let (len, kind) = (usize::from(u16::from_ne_bytes([l0, l1])), u16::from_ne_bytes([k0, k1]));
        let value = attributes.get(4..len)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

/// The kernel's reason to reject a request.
#[derive(Debug)]
pub(crate) struct KernelError {
    /// The error number.
    pub source: io::Error,
    /// The text of the extended ACK, if there is one.
    pub extack: Option<String>,
}

impl KernelError {
    /// Adds the operation and its object.
    pub(crate) fn into_error(self, operation: String) -> Error {
        Error::from_io(operation, self.source).with_extack(self.extack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An acknowledgement with an error number, and the attributes behind the request.
    fn ack(errno: i32, flags: u16, request: &[u8], attributes: &[u8]) -> Vec<u8> {
        let body = [&(-errno).to_ne_bytes()[..], request, attributes].concat();
        let len = (HEADER_BYTES + body.len()) as u32;
        let kind = [NLMSG_ERROR.to_ne_bytes(), flags.to_ne_bytes()].concat();
        [&len.to_ne_bytes()[..], &kind, &7u32.to_ne_bytes(), &[0; 4], &body].concat()
    }

    fn error_of(datagram: &[u8]) -> String {
        let message = messages(datagram).next().expect("a message");
        assert_eq!(message.seq, 7);
        let MessageKind::End(Err(e)) = message.classify() else { panic!("no error") };
        e.into_error("add route default".into()).to_string()
    }

    #[test]
    fn an_error_has_the_text_of_the_extended_ack() {
        let offset_and_text = [&[8, 0, 2, 0, 36, 0, 0, 0][..], &[21, 0, 1, 0], b"Nexthop is down\0\0\0\0\0"].concat();
        let request = [&[20, 0, 0, 0][..], &[0; 16]].concat();
        let expected = "add route default: Network is down (os error 100): Nexthop is down";
        let (capped, whole) = (&request[..16], &request[..]);
        assert_eq!(error_of(&ack(100, NLM_F_ACK_TLVS | NLM_F_CAPPED, capped, &offset_and_text)), expected);
        assert_eq!(error_of(&ack(100, NLM_F_ACK_TLVS, whole, &offset_and_text)), expected);
        assert_eq!(error_of(&ack(100, NLM_F_CAPPED, capped, &[])), "add route default: Network is down (os error 100)");
    }

    #[test]
    fn a_truncated_message_ends_the_datagram() {
        let good = ack(0, 0, &[0; 16], &[]);
        let datagram = [&good[..], &good[..20]].concat();
        assert_eq!(messages(&datagram).count(), 1);
        assert!(messages(&[0; 16]).next().is_none() && find_attribute(&[0; 8], 1).is_none());
    }
}
