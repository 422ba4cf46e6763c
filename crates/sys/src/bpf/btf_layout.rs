//! The layout of a map's elements, read from BTF, and the conversion of an element from one layout to another.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use btf_rs::{Btf, BtfType, Type};
use libbpf_rs::libbpf_sys as raw;
use libbpf_rs::{MapCore, MapHandle};

/// The limit for types within types. No map of ours comes near it.
const MAX_DEPTH: usize = 16;

/// The layout of a type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Layout {
    /// A number; its size in bytes.
    Scalar(usize),
    /// An array: the layout of its elements, and their number.
    Array(Box<Layout>, usize),
    /// A structure: its size in bytes, and its members as (name, offset in bytes, layout).
    Struct(usize, Vec<(String, usize, Layout)>),
}

impl Layout {
    /// The layout of the structure with this name; `None` if there is none, or if it has members of another kind.
    pub fn of_struct(btf: &Btf, name: &str) -> Option<Layout> {
        let all = btf.resolve_types_by_name(name).ok()?;
        let structure = all.into_iter().find(|t| matches!(t, Type::Struct(_)))?;
        parse_type(btf, &structure, 0)
    }

    /// The size in bytes.
    pub fn size(&self) -> usize {
        match self {
            Layout::Scalar(n) | Layout::Struct(n, _) => *n,
            Layout::Array(element, n) => element.size() * n,
        }
    }

    /// The offset of a structure's member in bytes.
    pub fn offset_of(&self, member: &str) -> Option<usize> {
        let Layout::Struct(_, members) = self else { return None };
        members.iter().find(|(name, ..)| name == member).map(|(_, offset, _)| *offset)
    }

    /// Converts a value of this layout to another layout. Members of the same name get the same value. New members keep
    /// their bytes in `to`. Members that the other layout does not have are dropped.
    pub fn convert(&self, from: &[u8], other: &Layout, to: &mut [u8]) {
        match (self, other) {
            (Layout::Scalar(a), Layout::Scalar(b)) => {
                // On little-endian machines the low bytes come first. Other machines convert numbers of the same size
                // only.
                let n = *a.min(b);
                if cfg!(target_endian = "big") && a != b {
                    return;
                }
                if let (Some(from), Some(to)) = (from.get(..n), to.get_mut(..n)) {
                    to.copy_from_slice(from);
                }
            }
            (Layout::Array(a, n), Layout::Array(b, m)) => {
                for i in 0..*n.min(m) {
                    let (Some(from), Some(to)) = (from.get(i * a.size()..), to.get_mut(i * b.size()..)) else { return };
                    a.convert(from, b, to);
                }
            }
            (Layout::Struct(_, old), Layout::Struct(_, new)) => {
                for (name, new_offset, new_layout) in new {
                    let Some((_, old_offset, old_layout)) = old.iter().find(|(n, ..)| n == name) else { continue };
                    if let (Some(from), Some(to)) = (from.get(*old_offset..), to.get_mut(*new_offset..)) {
                        old_layout.convert(from, new_layout, to);
                    }
                }
            }
            // The member has another kind of type now: its old value means nothing.
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

/// The BTF of an object file.
pub fn object_btf(object: &[u8]) -> Option<Btf> {
    let file = elf::ElfBytes::<elf::endian::AnyEndian>::minimal_parse(object).ok()?;
    let section = file.section_header_by_name(".BTF").ok()??;
    let (bytes, _) = file.section_data(&section).ok()?;
    Btf::from_bytes(bytes).ok()
}

/// The BTF that the kernel keeps with a map.
pub fn map_btf(map: &MapHandle) -> Option<Btf> {
    let id = map.info().ok()?.info.btf_id;
    // SAFETY: The argument is a number, and the result is checked.
    let fd = unsafe { raw::bpf_btf_get_fd_by_id(id) };
    if id == 0 || fd < 0 {
        return None;
    }
    // SAFETY: The descriptor is new and has no other owner.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let get_info = |info: &mut raw::bpf_btf_info| {
        let mut len = size_of_val(info) as u32;
        // SAFETY: The descriptor is valid, `len` is the size of `info`, and `info.btf` points to `info.btf_size` bytes.
        (unsafe { raw::bpf_btf_get_info_by_fd(fd.as_raw_fd(), info, &mut len) }) == 0
    };
    // The first call returns the size, the second one the bytes.
    let mut size = raw::bpf_btf_info::default();
    if !get_info(&mut size) {
        return None;
    }
    let mut bytes = vec![0u8; size.btf_size as usize];
    let mut info = raw::bpf_btf_info { btf: bytes.as_mut_ptr() as u64, btf_size: size.btf_size, ..Default::default() };
    get_info(&mut info).then(|| Btf::from_bytes(&bytes).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(name: &str, offset: usize, size: usize) -> (String, usize, Layout) {
        (name.to_owned(), offset, Layout::Scalar(size))
    }

    #[test]
    fn members_of_the_same_name_keep_their_values() {
        let old = Layout::Struct(12, vec![number("a", 0, 4), number("gone", 4, 4), number("b", 8, 2)]);
        let new = Layout::Struct(16, vec![number("b", 0, 8), number("new", 8, 4), number("a", 12, 4)]);
        let from = [1, 2, 3, 4, 9, 9, 9, 9, 5, 6, 0, 0];
        let mut to = [0; 16];
        old.convert(&from, &new, &mut to);
        assert_eq!(to, [5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
        let array = |element: &Layout, n| Layout::Array(Box::new(element.clone()), n);
        let mut to = [0; 48];
        array(&old, 2).convert(&[from, from].concat(), &array(&new, 3), &mut to);
        assert_eq!((to[0], to[12], to[16], to[28], to[32]), (5, 1, 5, 1, 0));
    }

    #[test]
    fn the_programs_own_structures_have_btf() {
        let btf = object_btf(super::super::packet_path::OBJECT).expect("BTF");
        let conn = Layout::of_struct(&btf, "conn_line").expect("a structure");
        assert_eq!(conn.size(), 64);
        let settings = Layout::of_struct(&btf, "settings").expect("a structure");
        assert_eq!(settings.size(), size_of::<super::super::abi::settings>());
        assert_eq!(settings.offset_of("abi"), Some(std::mem::offset_of!(super::super::abi::settings, abi)));
    }
}
