//! Hash schedulers (dh, sh, mh): their tables, and the entry that a packet selects. `bpf/lib/hash.h` has the same hashes.

use std::net::IpAddr;

use super::walk::gcd;
use super::{Scheduler, SchedulerFlags, Server};

/// IP_VS_SH_TAB_SIZE, IP_VS_DH_TAB_SIZE
pub const SH_SIZE: usize = 256;
/// The default of Debian's kernels: ip_vs_mh_primes[], CONFIG_IP_VS_MH_TAB_INDEX 12.
pub const MH_SIZE: usize = 4093;
/// ip_vs_mh_init_svc(): the keys of mh's two hashes.
const MH_KEYS: [u64; 2] = [2_654_435_761, 2_654_446_892];

/// hash_32() of include/linux/hash.h
pub fn hash_32(v: u32, bits: u32) -> u32 {
    v.wrapping_mul(0x61C8_8647) >> (32 - bits)
}

/// An address as one number: an IPv4 address in host byte order, or the four words of an IPv6 address XORed.
pub fn fold_addr(a: IpAddr) -> u32 {
    match a {
        IpAddr::V4(a) => u32::from(a),
        IpAddr::V6(a) => {
            let n = u128::from(a);
            (n >> 96) as u32 ^ (n >> 64) as u32 ^ (n >> 32) as u32 ^ n as u32
        }
    }
}

/// hsiphash_1u32() of 64-bit kernels: SipHash-1-3 of one word, truncated to 32 bits.
fn hsiphash(value: u32, key: u64) -> u32 {
    let last = 4 << 56 | u64::from(value);
    let mut v = [0x736f_6d65_7073_6575, 0x646f_7261_6e64_6f6d, 0x6c79_6765_6e65_7261, 0x7465_6462_7974_6573];
    v.iter_mut().for_each(|w: &mut u64| *w ^= key);
    let round = |v: &mut [u64; 4]| {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    };
    v[3] ^= last;
    round(&mut v);
    v[0] ^= last;
    v[2] ^= 0xff;
    (0..3).for_each(|_| round(&mut v));
    (v[0] ^ v[1] ^ v[2] ^ v[3]) as u32
}

/// ip_vs_dh_reassign(): the list is repeated until the table is full; weights are ignored.
pub(super) fn build_dh_table(list: &[Server]) -> Vec<u32> {
    list.iter().cycle().take(SH_SIZE).map(|s| s.id).collect()
}

/// ip_vs_sh_reassign(): the list is repeated until the table is full, with each server as often as its weight says, at
/// least once.
pub(super) fn build_sh_table(list: &[Server]) -> Vec<u32> {
    let turns = list.iter().cycle().flat_map(|s| std::iter::repeat_n(s.id, s.weight.max(1) as usize));
    turns.take(SH_SIZE).collect()
}

/// ip_vs_mh_populate(): the servers take turns. In each turn a server takes the next free entries of its own permutation,
/// as many as its weight says.
pub(super) fn build_mh_table(list: &[Server]) -> Vec<u32> {
    let weights = list.iter().map(|s| s.last_weight).filter(|w| *w > 0);
    let (divisor, max) = weights.fold((0, 0), |(g, m), w| (gcd(g, w), m.max(w)));
    if divisor == 0 {
        return Vec::new();
    }
    // ip_vs_mh_shift_weight(): at most 64 entries in one turn
    let shift = (u32::BITS - (max / divisor).leading_zeros()).saturating_sub(6);
    const PRIME: u32 = MH_SIZE as u32;
    let mut permutations: Vec<(u32, u32, u32, u32)> = Vec::new();
    for s in list.iter().filter(|s| s.last_weight > 0) {
        let [offset, skip] = MH_KEYS.map(|k| hsiphash(s.hash_key, k));
        permutations.push((offset % PRIME, skip % (PRIME - 1) + 1, ((s.last_weight / divisor) >> shift).max(1), s.id));
    }
    let mut table: Vec<Option<u32>> = vec![None; MH_SIZE];
    let mut filled = 0;
    'filling: loop {
        for (at, skip, turns, id) in &mut permutations {
            for _ in 0..*turns {
                while table[*at as usize].is_some() {
                    *at = (*at + *skip) % PRIME;
                }
                table[*at as usize] = Some(*id);
                filled += 1;
                if filled == MH_SIZE {
                    break 'filling;
                }
            }
        }
    }
    table.into_iter().flatten().collect()
}

/// The index of dh for a destination address.
fn dh_index(destination: IpAddr) -> usize {
    hash_32(fold_addr(destination), 8) as usize
}

/// The index of sh for a client; `offset` is 0 for the first lookup.
fn sh_index(client: IpAddr, port: u16, offset: u32) -> usize {
    let h = hash_32(u32::from(port).wrapping_add(fold_addr(client)), 8);
    (offset.wrapping_add(h) as usize) % SH_SIZE
}

/// The index of mh for a client; `offset` is 0 for the first lookup.
fn mh_index(client: IpAddr, port: u16, offset: u32) -> usize {
    let v = offset.wrapping_add(u32::from(port)).wrapping_add(fold_addr(client));
    hsiphash(v, MH_KEYS[0]) as usize % MH_SIZE
}

/// The id of the server that a hash scheduler selects for a client and a destination address; `None` if that server is
/// not eligible, or if the scheduler is not a hash scheduler.
///
/// With [`SchedulerFlags::fallback`], sh and mh try other entries, each at the hash of the next offset
/// (ip_vs_sh_get_fallback(), ip_vs_mh_get_fallback()). This is the reference model of schedule_hash() in the packet path.
pub fn select_by_hash(
    scheduler: Scheduler,
    flags: SchedulerFlags,
    table: &[u32],
    (client, port): (IpAddr, u16),
    destination: IpAddr,
    is_eligible: impl Fn(u32) -> bool,
) -> Option<u32> {
    let port = if flags.port { port } else { 0 };
    let index = |offset: u32| match scheduler {
        Scheduler::Dh => Some(dh_index(destination)),
        Scheduler::Sh => Some(sh_index(client, port, offset)),
        Scheduler::Mh => Some(mh_index(client, port, offset)),
        _ => None,
    };
    let first = index(0)?;
    let id = *table.get(first)?;
    if is_eligible(id) {
        return Some(id);
    }
    if !flags.fallback || scheduler.own_flags().is_none() {
        return None;
    }
    let size = table.len() as u32;
    let mut others = (0..size).filter_map(|i| index((i + first as u32) % size));
    others.find_map(|at| table.get(at).copied().filter(|id| is_eligible(*id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_filled_and_shares_follow_weights() {
        let server = |id, weight| Server { id, weight, last_weight: weight, hash_key: id * 7919 };
        let list = [server(1, 1), server(2, 3)];
        for table in [build_sh_table(&list), build_mh_table(&list)] {
            let heavy = table.iter().filter(|id| **id == 2).count();
            assert!(heavy.abs_diff(table.len() * 3 / 4) <= 2, "{heavy} of {}", table.len());
        }
        assert_eq!(build_dh_table(&list).iter().filter(|id| **id == 2).count(), 128);
        assert!(build_mh_table(&[server(1, 0)]).is_empty() && build_sh_table(&[]).is_empty());
    }
}
