//! Netlink attributes: a length and a type of two bytes each in host byte order, followed by the value, padded to four
//! bytes (`include/uapi/linux/netlink.h`).

/// NLA_F_NESTED
const NLA_F_NESTED: u16 = 0x8000;
/// The bits of a type without its flags.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// A writer of attributes.
#[derive(Default)]
pub struct AttrWriter(pub Vec<u8>);

impl AttrWriter {
    /// Writes an attribute with these bytes.
    pub fn put_bytes(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(len.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    pub fn put_u8(&mut self, kind: u16, value: u8) {
        self.put_bytes(kind, &[value]);
    }

    pub fn put_u16(&mut self, kind: u16, value: u16) {
        self.put_bytes(kind, &value.to_ne_bytes());
    }

    pub fn put_u32(&mut self, kind: u16, value: u32) {
        self.put_bytes(kind, &value.to_ne_bytes());
    }

    /// Writes a string with its terminating zero.
    pub fn put_string(&mut self, kind: u16, value: &str) {
        self.put_bytes(kind, &[value.as_bytes(), &[0]].concat());
    }

    /// Writes an attribute that contains attributes.
    pub fn put_nested(&mut self, kind: u16, contents: impl FnOnce(&mut AttrWriter)) {
        let start = self.0.len();
        self.0.extend([0, 0]);
        self.0.extend((kind | NLA_F_NESTED).to_ne_bytes());
        contents(self);
        let len = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX).to_ne_bytes();
        if let Some(length) = self.0.get_mut(start..start + 2) {
            length.copy_from_slice(&len);
        }
    }
}

/// The attributes of a message or of an attribute. The iteration ends at the first attribute that is malformed.
pub struct AttrReader<'a>(pub &'a [u8]);

impl<'a> Iterator for AttrReader<'a> {
    type Item = (u16, AttrValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let word = |at: usize| Some(u16::from_ne_bytes(self.0.get(at..at + 2)?.try_into().ok()?));
        let (len, kind) = (usize::from(word(0)?), word(2)? & NLA_TYPE_MASK);
        let value = AttrValue(self.0.get(4..len)?);
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// The value of an attribute. A number that is too short reads as 0.
#[derive(Clone, Copy)]
pub struct AttrValue<'a>(pub &'a [u8]);

impl<'a> AttrValue<'a> {
    fn leading_bytes<const N: usize>(self) -> [u8; N] {
        self.0.get(..N).and_then(|b| b.try_into().ok()).unwrap_or([0; N])
    }

    pub fn u8(self) -> u8 {
        u8::from_ne_bytes(self.leading_bytes())
    }

    pub fn u16(self) -> u16 {
        u16::from_ne_bytes(self.leading_bytes())
    }

    pub fn be16(self) -> u16 {
        u16::from_be_bytes(self.leading_bytes())
    }

    pub fn u32(self) -> u32 {
        u32::from_ne_bytes(self.leading_bytes())
    }

    pub fn be32(self) -> u32 {
        u32::from_be_bytes(self.leading_bytes())
    }

    /// A number of four or eight bytes.
    pub fn u32_or_u64(self) -> u64 {
        if self.0.len() >= 8 { u64::from_ne_bytes(self.leading_bytes()) } else { self.u32().into() }
    }

    /// The string before the terminating zero.
    pub fn string(self) -> String {
        String::from_utf8_lossy(self.0.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
    }

    /// An IPv6 address, or an IPv4 address in the first four bytes; the bytes after an IPv4 address are ignored.
    pub fn addr(self, ipv6: bool) -> std::net::IpAddr {
        if ipv6 { self.leading_bytes::<16>().into() } else { self.leading_bytes::<4>().into() }
    }

    /// The attributes in the value.
    pub fn nested(self) -> AttrReader<'a> {
        AttrReader(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_attribute_ends_the_list() {
        let mut w = AttrWriter::default();
        w.put_u32(1, 7);
        w.put_nested(2, |w| w.put_string(3, "rr"));
        for n in 0..w.0.len() {
            assert!(AttrReader(&w.0[..n]).count() < 2, "{n}");
        }
        let all: Vec<_> = AttrReader(&w.0).collect();
        assert_eq!((all[0].0, all[0].1.u32()), (1, 7));
        assert_eq!(all[1].1.nested().next().map(|(k, v)| (k, v.string())), Some((3, "rr".to_owned())));
        // A length of 0 must not lead to an endless loop.
        assert_eq!(AttrReader(&[0, 0, 1, 0, 9, 9, 9, 9]).count(), 0);
    }
}
