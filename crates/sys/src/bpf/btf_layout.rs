//! How a map's elements lie in memory, as BTF describes it; and what one version of the program has written, rewritten for
//! another.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use btf_rs::{Btf, BtfType, Type};
use libbpf_rs::libbpf_sys as raw;
use libbpf_rs::{MapCore, MapHandle};

/// Types within types: more than any map has.
const MAX_DEPTH: usize = 16;

/// A type, as far as where its parts lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Layout {
    /// A number of so many bytes.
    Scalar(usize),
    /// So many of one kind.
    Array(Box<Layout>, usize),
    /// Its size, and its members: name, offset in bytes, shape.
    Struct(usize, Vec<(String, usize, Layout)>),
}

impl Layout {
    /// The shape of the structure of a name.
    pub fn of_struct(btf: &Btf, name: &str) -> Option<Layout> {
        let all = btf.resolve_types_by_name(name).ok()?;
        let structure = all.into_iter().find(|t| matches!(t, Type::Struct(_)))?;
        parse_type(btf, &structure, 0)
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        match self {
            Layout::Scalar(n) | Layout::Struct(n, _) => *n,
            Layout::Array(of, n) => of.size() * n,
        }
    }

    /// Where a member of a structure lies.
    pub fn offset_of(&self, member: &str) -> Option<usize> {
        let Layout::Struct(_, members) = self else { return None };
        members.iter().find(|(name, ..)| name == member).map(|(_, at, _)| *at)
    }

    /// Rewrites bytes of this shape as bytes of another one of the same meaning: what has the same name has the same value,
    /// what is new stays as it is in `to`, what is no more is left out.
    pub fn convert(&self, from: &[u8], other: &Layout, to: &mut [u8]) {
        match (self, other) {
            (Layout::Scalar(a), Layout::Scalar(b)) => {
                // Little-endian machines: the low bytes come first. Others only have numbers of one size.
                let n = *a.min(b);
                if cfg!(target_endian = "big") && a != b {
                    return;
                }
                if let (Some(from), Some(to)) = (from.get(..n), to.get_mut(..n)) {
                    to.copy_from_slice(from);
                }
            }
            (Layout::Array(a, n), Layout::Array(b, m)) => {
                let (a, b, n) = (a, b, n.min(m));
                for i in 0..*n {
                    let (Some(from), Some(to)) = (from.get(i * a.size()..), to.get_mut(i * b.size()..)) else { return };
                    a.convert(from, b, to);
                }
            }
            (Layout::Struct(_, old), Layout::Struct(_, new)) => {
                for (name, at, shape) in new {
                    let had = old.iter().find(|(n, ..)| n == name);
                    let Some((_, was, had)) = had else { continue };
                    let (Some(from), Some(to)) = (from.get(*was..), to.get_mut(*at..)) else { continue };
                    had.convert(from, shape, to);
                }
            }
            // A member that became something else altogether begins anew.
            _ => {}
        }
    }
}

fn parse_type(btf: &Btf, of: &Type, depth: usize) -> Option<Layout> {
    let next = |t: &dyn BtfType| {
        let id = t.get_type_id()?;
        parse_type(btf, &btf.resolve_type_by_id(id).ok()?, depth + 1)
    };
    if depth > MAX_DEPTH {
        return None;
    }
    match of {
        Type::Int(i) => Some(Layout::Scalar(i.size())),
        Type::Enum(e) => Some(Layout::Scalar(e.size())),
        Type::Enum64(e) => Some(Layout::Scalar(e.size())),
        Type::Array(a) => Some(Layout::Array(Box::new(next(a)?), a.len())),
        Type::Typedef(t) => next(t),
        Type::Const(t) | Type::Volatile(t) | Type::Restrict(t) => next(t),
        Type::TypeTag(t) => next(t),
        Type::Struct(s) => {
            let member = |m: &btf_rs::Member| {
                let name = btf.resolve_name(m).ok()?;
                Some((name, m.bit_offset() as usize / 8, next(m)?))
            };
            Some(Layout::Struct(s.size(), s.members.iter().map(member).collect::<Option<_>>()?))
        }
        _ => None,
    }
}

/// The description within an object file.
pub fn object_btf(object: &[u8]) -> Option<Btf> {
    let file = elf::ElfBytes::<elf::endian::AnyEndian>::minimal_parse(object).ok()?;
    let section = file.section_header_by_name(".BTF").ok()??;
    let (bytes, _) = file.section_data(&section).ok()?;
    Btf::from_bytes(bytes).ok()
}

/// The description that the kernel keeps with a map.
pub fn map_btf(map: &MapHandle) -> Option<Btf> {
    let id = map.info().ok()?.info.btf_id;
    // SAFETY: a plain number; the result is checked.
    let fd = unsafe { raw::bpf_btf_get_fd_by_id(id) };
    if id == 0 || fd < 0 {
        return None;
    }
    // SAFETY: a descriptor that bpf_btf_get_fd_by_id just made.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let ask = |info: &mut raw::bpf_btf_info| {
        let mut len = size_of_val(info) as u32;
        // SAFETY: a valid descriptor, and a structure of the length that is said; what it points to is as long as it says.
        (unsafe { raw::bpf_btf_get_info_by_fd(fd.as_raw_fd(), info, &mut len) }) == 0
    };
    let mut size = raw::bpf_btf_info::default();
    if !ask(&mut size) {
        return None;
    }
    let mut bytes = vec![0u8; size.btf_size as usize];
    let mut whole = raw::bpf_btf_info { btf: bytes.as_mut_ptr() as u64, btf_size: size.btf_size, ..Default::default() };
    ask(&mut whole).then(|| Btf::from_bytes(&bytes).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(name: &str, at: usize, size: usize) -> (String, usize, Layout) {
        (name.to_owned(), at, Layout::Scalar(size))
    }

    #[test]
    fn what_has_the_same_name_has_the_same_value() {
        let old = Layout::Struct(12, vec![number("a", 0, 4), number("gone", 4, 4), number("b", 8, 2)]);
        let new = Layout::Struct(16, vec![number("b", 0, 8), number("new", 8, 4), number("a", 12, 4)]);
        let from = [1, 2, 3, 4, 9, 9, 9, 9, 5, 6, 0, 0];
        let mut to = [0; 16];
        old.convert(&from, &new, &mut to);
        assert_eq!(to, [5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
        let many = |of: &Layout, n| Layout::Array(Box::new(of.clone()), n);
        let mut to = [0; 48];
        many(&old, 2).convert(&[from, from].concat(), &many(&new, 3), &mut to);
        assert_eq!((to[0], to[12], to[16], to[28], to[32]), (5, 1, 5, 1, 0));
    }

    #[test]
    fn the_programs_own_structures_are_known() {
        let btf = object_btf(super::super::packet_path::OBJECT).expect("described");
        let conn = Layout::of_struct(&btf, "conn_line").expect("a structure");
        assert_eq!(conn.size(), 64);
        let settings = Layout::of_struct(&btf, "settings").expect("a structure");
        assert_eq!(settings.size(), size_of::<super::super::abi::settings>());
        assert_eq!(settings.offset_of("abi"), Some(std::mem::offset_of!(super::super::abi::settings, abi)));
    }
}
