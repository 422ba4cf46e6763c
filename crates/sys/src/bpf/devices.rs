//! The device table and the VLAN table: what the XDP program knows of devices.
//!
//! XDP sees the frames of a VLAN on the VLAN's lower device, with their tags. The program compares a frame's
//! destination with the device's MAC address and leaves frames for other hosts alone.

use std::collections::BTreeMap;

use libbpf_rs::{MapCore, MapFlags};

use super::abi::*;
use super::libbpf::bpf_error;
use super::maps::Maps;
use crate::netlink::Link;
use crate::{Error, Result};

type Tags = [u32; EK_VLAN_TAGS as usize];

/// The lowest device of a VLAN, or of a VLAN on a VLAN, and the tags that its frames have there, the outermost first.
/// `None` if the device is no VLAN or has more tags than the program handles.
fn lower_device(link: &Link, links: &[Link]) -> Option<(u32, Tags)> {
    let mut tags = Vec::new();
    let mut lower = link;
    while let Some((protocol, number)) = lower.vlan {
        tags.insert(0, u32::from(protocol) << 16 | u32::from(number));
        lower = links.iter().find(|l| Some(l.index) == lower.lower)?;
    }
    let fits = !tags.is_empty() && tags.len() <= EK_VLAN_TAGS as usize;
    fits.then(|| (lower.index, std::array::from_fn(|i| tags.get(i).copied().unwrap_or(0))))
}

/// An entry whose device does not exist any more. It can be used again, and probing goes on behind it.
const REMOVED: u32 = u32::MAX;

/// The positions of a device in the device table.
fn positions(ifindex: u32) -> impl Iterator<Item = usize> {
    (0..EK_DEVICE_PROBES).map(move |i| (ifindex.wrapping_add(i) & (EK_DEVICES - 1)) as usize)
}

impl Maps {
    /// True if the device is a VLAN that the XDP program knows.
    pub(super) fn is_vlan(&self, ifindex: u32) -> bool {
        positions(ifindex).map(|i| self.devices.read(i)).any(|d| d.ifindex == ifindex && d.lower != 0)
    }

    /// Writes a device with its MAC address into the device table. A VLAN keeps the tags that it has there until the
    /// next [`Maps::record_vlans`].
    pub(super) fn record_device(&self, link: &Link) -> Result<()> {
        self.write_device(link, None)
    }

    fn write_device(&self, link: &Link, vlan: Option<(u32, Tags)>) -> Result<()> {
        let devices = &self.devices;
        let find = |ifindex| positions(link.index).find(|&i| devices.read(i).ifindex == ifindex);
        let position = find(link.index).or_else(|| find(REMOVED)).or_else(|| find(0));
        let full = || Error::new(format!("add {} to the device table", link.name), "no entry is free near its index");
        let position = position.ok_or_else(full)?;
        let current = devices.read(position);
        let kept = if link.vlan.is_some() { (current.lower, current.tags) } else { (0, [0; EK_VLAN_TAGS as usize]) };
        let (lower, tags) = vlan.unwrap_or(kept);
        let sends_xdp = if current.ifindex == link.index { current.sends_xdp } else { 0 };
        devices.write(position, device { ifindex: link.index, mac: link.mac, sends_xdp, lower, tags });
        Ok(())
    }

    /// Removes devices that do not exist any more, and records which of the others XDP programs can send by: those with
    /// an XDP program of their own, and VLANs on them.
    pub(super) fn sync_devices(&self, links: &[Link], has_xdp: impl Fn(u32) -> bool) {
        for i in 0..self.devices.len() {
            let mut entry = self.devices.read(i);
            if entry.ifindex == 0 || entry.ifindex == REMOVED {
                continue;
            }
            let Some(link) = links.iter().find(|l| l.index == entry.ifindex) else {
                self.devices.write(i, device { ifindex: REMOVED, ..Default::default() });
                continue;
            };
            let lowest = lower_device(link, links).map_or(link.index, |(lower, _)| lower);
            let sends_xdp = u16::from(has_xdp(lowest));
            if entry.sends_xdp != sends_xdp {
                entry.sends_xdp = sends_xdp;
                self.devices.write(i, entry);
            }
        }
    }

    /// Writes all VLANs into both tables, and removes VLANs that do not exist any more.
    pub fn record_vlans(&self, links: &[Link]) -> Result<()> {
        let mut wanted: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for link in links {
            let Some((lower, tags)) = lower_device(link, links) else { continue };
            self.write_device(link, Some((lower, tags)))?;
            wanted.insert([lower, tags[0], tags[1]].iter().flat_map(|w| w.to_ne_bytes()).collect(), link.index);
        }
        let failed = |e| bpf_error("write the VLAN table".into(), e);
        for (key, ifindex) in &wanted {
            self.vlans.update(key, &ifindex.to_ne_bytes(), MapFlags::ANY).map_err(failed)?;
        }
        let gone: Vec<Vec<u8>> = self.vlans.keys().filter(|k| !wanted.contains_key(k)).collect();
        for key in gone {
            self.vlans.delete(&key).map_err(failed)?;
        }
        Ok(())
    }
}
