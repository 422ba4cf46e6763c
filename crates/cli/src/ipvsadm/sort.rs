//! The order of services and servers in a listing.

use std::net::IpAddr;

use evenkeel_core::ipvs::{DestEntry, ServiceEntry, ServiceId};

use super::action::SortOrder;

/// Returns a negative number, zero or a positive number, as comparison functions of C.
type Compare<T> = fn(&T, &T) -> i32;

pub fn sort_services(all: &mut Vec<ServiceEntry>, order: SortOrder) {
    match order {
        SortOrder::None => {}
        SortOrder::Ipvsadm => merge_sort(all, compare_services),
        SortOrder::Correct => all.sort_by_key(|s| match s.service.id {
            ServiceId::Address { protocol, addr, port } => {
                (0, addr.is_ipv6(), protocol.number(), Some(addr), u32::from(port))
            }
            ServiceId::Fwmark { mark, ipv6 } => (1, ipv6, 0, None, mark),
        }),
    }
}

pub fn sort_dests(all: &mut Vec<DestEntry>, order: SortOrder) {
    match order {
        SortOrder::None => {}
        SortOrder::Ipvsadm => merge_sort(all, compare_dests),
        SortOrder::Correct => all.sort_by_key(|d| (d.dest.addr, d.dest.port)),
    }
}

/// ipvsadm's order of services: by mark, family, protocol, address and port, each by the sign of a 32-bit difference.
/// So 172.16.0.0 precedes 10.0.0.0, and a mark of 2^31 lies between 2 and -1.
fn compare_services(a: &ServiceEntry, b: &ServiceEntry) -> i32 {
    let parts = |id: ServiceId| match id {
        ServiceId::Address { protocol, addr, port } => (0, protocol.number(), addr, port),
        ServiceId::Fwmark { mark, .. } => (mark, 0, IpAddr::from([0; 4]), 0),
    };
    let ((mark, protocol, addr, port), (b_mark, b_protocol, b_addr, b_port)) =
        (parts(a.service.id), parts(b.service.id));
    let family = i32::from(a.service.id.is_ipv6()) - i32::from(b.service.id.is_ipv6());
    let differences = [
        mark.wrapping_sub(b_mark).cast_signed(),
        family,
        i32::from(protocol) - i32::from(b_protocol),
        address_difference(addr, b_addr),
        i32::from(port) - i32::from(b_port),
    ];
    differences.into_iter().find(|d| *d != 0).unwrap_or(0)
}

fn compare_dests(a: &DestEntry, b: &DestEntry) -> i32 {
    match address_difference(a.dest.addr, b.dest.addr) {
        0 => i32::from(a.dest.port) - i32::from(b.dest.port),
        d => d,
    }
}

/// The difference of the first 32-bit words that differ. An IPv4 address is one word followed by three zero words.
fn address_difference(a: IpAddr, b: IpAddr) -> i32 {
    let words = |addr: IpAddr| match addr {
        IpAddr::V4(a) => [u32::from(a), 0, 0, 0],
        IpAddr::V6(a) => {
            let n = u128::from(a);
            [96, 64, 32, 0].map(|shift| (n >> shift) as u32)
        }
    };
    let differences = words(a).into_iter().zip(words(b)).map(|(a, b)| a.wrapping_sub(b).cast_signed());
    differences.into_iter().find(|d| *d != 0).unwrap_or(0)
}

/// The merge sort of the C library, with the same comparisons. ipvsadm's order is not transitive, so that the result
/// depends on the algorithm.
fn merge_sort<T>(all: &mut Vec<T>, compare: Compare<T>) {
    if all.len() < 2 {
        return;
    }
    let mut second = all.split_off(all.len() / 2);
    merge_sort(all, compare);
    merge_sort(&mut second, compare);
    let mut a = std::mem::take(all).into_iter().peekable();
    let mut b = second.into_iter().peekable();
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        let first = if compare(x, y) <= 0 { a.next() } else { b.next() };
        all.extend(first);
    }
    all.extend(a);
    all.extend(b);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_as_ipvsadm_subtracts_them() {
        let less = |a: &str, b: &str| address_difference(a.parse().expect("one"), b.parse().expect("another")) < 0;
        assert!(less("172.16.0.1", "10.0.0.1") && less("192.168.0.1", "10.0.0.1") && less("172.16.0.1", "192.168.0.1"));
        assert!(less("fd00::1", "2001:db8::1") && less("fd00::2", "10.0.0.1"));
    }

    #[test]
    fn an_order_that_is_not_transitive_gives_a_stable_result() {
        let compare: Compare<u32> = |a, b| a.wrapping_sub(*b).cast_signed();
        let mut marks = vec![0x8000_0000, 1, 2, u32::MAX];
        merge_sort(&mut marks, compare);
        let mut again = marks.clone();
        merge_sort(&mut again, compare);
        assert_eq!(marks, again);
        assert_eq!(marks.len(), 4);
    }
}
