//! An interpreter of BPF (RFC 9669) that runs the programs on copies of the kernel's maps. It counts what does not
//! depend on the machine: instructions, map lookups, and lines of the connection table.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_sys::bpf::object::Instruction;

use crate::plane::TestPlane;

/// The cost of one packet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Instructions.
    pub instructions: u32,
    /// Calls of the kernel's helpers, without map lookups.
    pub helpers: u32,
    /// Map lookups, by map.
    pub lookups: BTreeMap<String, u32>,
    /// Lines of the connection table that were read.
    pub conn_lines: usize,
}

/// An address is a region's index + 1 << 32, and an offset in the region. The first regions are those of every program.
const CONTEXT: usize = 0;
const FRAME: usize = 1;
const STACK: usize = 2;
const HEADROOM: usize = 256;
const STACK_BYTES: usize = 512;
/// The flag of a map's file descriptor, which is no address.
const MAP_FLAG: u64 = 1 << 63;

fn virtual_address(region: usize, offset: usize) -> u64 {
    ((region as u64 + 1) << 32) + offset as u64
}

struct Machine<'p> {
    plane: &'p TestPlane,
    code: Vec<Instruction>,
    regions: Vec<Vec<u8>>,
    /// The region of each map value that was looked up; none: the map has no such key.
    value_regions: BTreeMap<(String, Vec<u8>), Option<usize>>,
    data: usize,
    ifindex: u32,
    tc: bool,
    jiffies: u64,
    lines: BTreeSet<usize>,
    cost: Cost,
}

/// Runs the XDP program on a frame that a device received. Returns its action, the frame afterwards, and the cost.
/// The kernel's maps do not change.
pub fn emulate(plane: &TestPlane, frame: &[u8], ifindex: u32) -> (u32, Vec<u8>, Cost) {
    emulate_program(plane, frame, ifindex, false)
}

/// The same for the tc program, with the action of tc. Frames that it does not pass at once may need helpers that are
/// not implemented.
pub fn emulate_tc(plane: &TestPlane, frame: &[u8], ifindex: u32) -> (u32, Vec<u8>, Cost) {
    emulate_program(plane, frame, ifindex, true)
}

fn emulate_program(plane: &TestPlane, frame: &[u8], ifindex: u32, tc: bool) -> (u32, Vec<u8>, Cost) {
    let mut packet = vec![0; HEADROOM];
    packet.extend(frame);
    let mut m = Machine {
        plane,
        code: plane.plane.packet_path.instructions(if tc { "evenkeel_tc" } else { "evenkeel_xdp" }),
        regions: vec![vec![0; 24], packet, Vec::new()],
        value_regions: BTreeMap::new(),
        data: HEADROOM,
        ifindex,
        tc,
        jiffies: plane.plane.maps().jiffies64(),
        lines: BTreeSet::new(),
        cost: Cost::default(),
    };
    let verdict = m.call_function(0, [0, virtual_address(CONTEXT, 0), 0, 0, 0, 0]) as u32;
    m.cost.conn_lines = m.lines.len();
    (verdict, m.regions[FRAME][m.data..].to_vec(), m.cost)
}

impl Machine<'_> {
    fn split_address(a: u64) -> (usize, usize) {
        let region = (a >> 32).checked_sub(1).unwrap_or_else(|| panic!("{a:#x} is no address"));
        (region as usize, a as u32 as usize)
    }

    fn load_word(&mut self, a: u64, bytes: usize) -> u64 {
        let (region, at) = Self::split_address(a);
        if region == CONTEXT && self.tc {
            // struct __sk_buff
            let protocol = [self.regions[FRAME][self.data + 12], self.regions[FRAME][self.data + 13]];
            return match at {
                0 => (self.regions[FRAME].len() - self.data) as u64,
                16 => u64::from(u16::from_ne_bytes(protocol)),
                36 | 40 => u64::from(self.ifindex),
                76 => virtual_address(FRAME, self.data),
                80 => virtual_address(FRAME, self.regions[FRAME].len()),
                _ => 0, // PACKET_HOST, no mark, no tag, no GSO packet
            };
        }
        if region == CONTEXT {
            // struct xdp_md
            return match at {
                0 => virtual_address(FRAME, self.data),
                4 => virtual_address(FRAME, self.regions[FRAME].len()),
                12 => u64::from(self.ifindex),
                other => panic!("load of word {other} of the context"),
            };
        }
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(&self.regions[region][at..at + bytes]);
        u64::from_le_bytes(word)
    }

    fn store_word(&mut self, a: u64, bytes: usize, value: u64) {
        let (region, at) = Self::split_address(a);
        assert!(region != CONTEXT, "store to the context");
        self.regions[region][at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
    }

    fn map_value_region(&mut self, map: &str, key: Vec<u8>) -> Option<usize> {
        if let Some(known) = self.value_regions.get(&(map.to_owned(), key.clone())) {
            return *known;
        }
        let region = self.plane.plane.packet_path.lookup_value(map, &key).map(|v| {
            self.regions.push(v);
            self.regions.len() - 1
        });
        self.value_regions.insert((map.to_owned(), key), region);
        region
    }

    /// bpf-helpers(7)
    fn call_helper(&mut self, number: i32, args: [u64; 6]) -> u64 {
        match number {
            1 => {
                let (name, key) =
                    self.plane.plane.packet_path.map_by_fd((args[1] & !MAP_FLAG) as i32).expect("a map of the program");
                let key: Vec<u8> = (0..key).map(|i| self.load_word(args[2] + i as u64, 1) as u8).collect();
                *self.cost.lookups.entry(name.clone()).or_default() += 1;
                let Some(region) = self.map_value_region(&name, key) else { return 0 };
                if name == "conns" {
                    self.lines.insert(region);
                }
                return virtual_address(region, 0);
            }
            // bpf_redirect
            23 => self.cost.helpers += 1,
            // bpf_xdp_adjust_head
            44 => {
                self.cost.helpers += 1;
                self.data = self.data.checked_add_signed(args[2] as i32 as isize).expect("headroom");
                return 0;
            }
            // bpf_jiffies64(), which the kernel inlines
            118 => return self.jiffies,
            other => panic!("helper {other} is not implemented"),
        }
        4 // XDP_REDIRECT
    }

    fn execute_atomic(&mut self, i: Instruction, r: &mut [u64; 11]) {
        let bytes = if i.code & 0x18 == 0x18 { 8 } else { 4 };
        let a = r[usize::from(i.dst)].wrapping_add_signed(i64::from(i.off));
        let (old, operand) = (self.load_word(a, bytes), r[usize::from(i.src)]);
        let new = match i.imm & 0xf0 {
            0x00 => old.wrapping_add(operand),
            0x40 => old | operand,
            0x50 => old & operand,
            0xa0 => old ^ operand,
            0xe0 => operand,
            0xf0 => {
                let same = old == if bytes == 8 { r[0] } else { r[0] & 0xffff_ffff };
                r[0] = old;
                return if same {
                    self.store_word(a, bytes, operand)
                };
            }
            other => panic!("atomic {other:#x}"),
        };
        self.store_word(a, bytes, new);
        if i.imm & 1 != 0 {
            r[usize::from(i.src)] = old;
        }
    }

    /// Runs a function of the program, from its first instruction until it returns.
    fn call_function(&mut self, mut at: usize, args: [u64; 6]) -> u64 {
        let frame = self.regions[STACK].len();
        self.regions[STACK].resize(frame + STACK_BYTES, 0);
        let mut r = [0; 11];
        r[1..6].copy_from_slice(&args[1..]);
        r[10] = virtual_address(STACK, frame + STACK_BYTES);
        loop {
            let i = self.code[at];
            at += 1;
            self.cost.instructions += 1;
            let (d, s) = (usize::from(i.dst), usize::from(i.src));
            let imm = i64::from(i.imm) as u64;
            let size = match i.code & 0x18 {
                0x00 => 4,
                0x08 => 2,
                0x10 => 1,
                _ => 8,
            };
            let target = |base: u64| base.wrapping_add_signed(i64::from(i.off));
            match i.code & 7 {
                // LD: a 64-bit number, a map, or the address of a map's value
                0 => {
                    let high = self.code[at].imm;
                    at += 1;
                    r[d] = match i.src {
                        0 => u64::from(i.imm as u32) | (u64::from(high as u32) << 32),
                        1 => MAP_FLAG | u64::from(i.imm as u32),
                        2 => {
                            let (name, _) =
                                self.plane.plane.packet_path.map_by_fd(i.imm).expect("a map of the program");
                            let region = self.map_value_region(&name, vec![0; 4]).expect("constants");
                            virtual_address(region, high as usize)
                        }
                        other => panic!("a pseudo source {other}"),
                    };
                }
                // LDX, ST, STX
                1 => r[d] = self.load_word(target(r[s]), size),
                2 => self.store_word(target(r[d]), size, imm),
                3 if i.code & 0xe0 == 0xc0 => self.execute_atomic(i, &mut r),
                3 => self.store_word(target(r[d]), size, r[s]),
                // JMP32, JMP
                5 | 6 => {
                    let wide = i.code & 7 == 5;
                    let b = if i.code & 8 != 0 { r[s] } else { imm };
                    let cut = |v: u64| if wide { v } else { v & 0xffff_ffff };
                    let signed = |v: u64| if wide { v as i64 } else { i64::from(v as i32) };
                    let (x, y) = (cut(r[d]), cut(b));
                    let (sx, sy) = (signed(r[d]), signed(b));
                    let jump = match i.code & 0xf0 {
                        0x00 if !wide => {
                            at = at.wrapping_add_signed(i.imm as isize);
                            continue;
                        }
                        0x00 => true,
                        0x10 => x == y,
                        0x20 => x > y,
                        0x30 => x >= y,
                        0x40 => x & y != 0,
                        0x50 => x != y,
                        0x60 => sx > sy,
                        0x70 => sx >= sy,
                        0xa0 => x < y,
                        0xb0 => x <= y,
                        0xc0 => sx < sy,
                        0xd0 => sx <= sy,
                        0x80 => {
                            let args = [0, r[1], r[2], r[3], r[4], r[5]];
                            r[0] = match i.src {
                                1 => self.call_function(at.wrapping_add_signed(i.imm as isize), args),
                                _ => self.call_helper(i.imm, args),
                            };
                            false
                        }
                        0x90 => {
                            self.regions[STACK].truncate(frame);
                            return r[0];
                        }
                        other => panic!("jump {other:#x}"),
                    };
                    if jump {
                        at = at.wrapping_add_signed(isize::from(i.off));
                    }
                }
                // ALU, ALU64
                class => {
                    let wide = class == 7;
                    let b = if i.code & 8 != 0 { r[s] } else { imm };
                    let (x, y) = if wide { (r[d], b) } else { (r[d] & 0xffff_ffff, b & 0xffff_ffff) };
                    let bits = if wide { 63 } else { 31 };
                    let result = match i.code & 0xf0 {
                        0x00 => x.wrapping_add(y),
                        0x10 => x.wrapping_sub(y),
                        0x20 => x.wrapping_mul(y),
                        0x30 => x.checked_div(y).unwrap_or(0),
                        0x40 => x | y,
                        0x50 => x & y,
                        0x60 => x << (y & bits),
                        0x70 => x >> (y & bits),
                        0x80 => 0u64.wrapping_sub(x),
                        0x90 => x.checked_rem(y).unwrap_or(x),
                        0xa0 => x ^ y,
                        0xb0 => y,
                        0xc0 if wide => ((x as i64) >> (y & bits)) as u64,
                        0xc0 => ((x as i32) >> (y & bits)) as u64,
                        0xd0 => {
                            let bytes = r[d].to_le_bytes();
                            let swap = i.code & 8 != 0;
                            let n = i.imm as usize / 8;
                            let mut out = [0; 8];
                            for (to, from) in out[..n].iter_mut().zip(0..n) {
                                *to = bytes[if swap { n - 1 - from } else { from }];
                            }
                            r[d] = u64::from_le_bytes(out);
                            continue;
                        }
                        other => panic!("operation {other:#x}"),
                    };
                    r[d] = if wide { result } else { result & 0xffff_ffff };
                }
            }
        }
    }
}
