//! What an older program has left in its maps, taken over by a newer one while the older one still forwards.
//!
//! A map whose elements lie as they did is used as it is, by both programs at once: above all the connections. Of others the
//! newer program gets its own, into which every element is rewritten by the names of its members; the older one goes on
//! with the old map until it is replaced on the devices. What the daemon writes anew anyway begins empty.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapMut, MapType, OpenMapMut};

use super::btf_layout::{Layout, map_btf, object_btf};
use super::mmap::is_static_map;
use super::object::{PINNED_MAPS, bpf_error};
use crate::{Context, Error, Result};

/// What the elements of a map are; of others they are numbers.
const MAP_STRUCTS: &[(&str, &str)] = &[
    ("settings", "settings"),
    ("endpoints", "endpoint"),
    ("nat_dests", "endpoint"),
    ("mark_rules", "mark_rule_set"),
    ("reply_routes", "reply_route"),
    ("services", "service"),
    ("dests", "dest"),
    ("blocks", "block"),
    ("block_refs", "block_refs"),
    ("conns", "conn_line"),
    ("flow_cache", "flow_cache_line"),
    ("devices", "device"),
    ("service_stats", "counters"),
    ("dest_stats", "counters"),
    ("expiry", "expire_state"),
];
/// What is written anew by every daemon, or by the program.
const REBUILT_MAPS: &[&str] =
    &["mark_rules", "vlans", "devices", "reply_routes", "route_cache", "flow_classes", "flow_cache", "expiry"];

/// How a program comes by one of its maps.
pub enum MapSource {
    /// It is empty.
    Empty,
    /// It is the one that is there.
    Reuse,
    /// Its elements are rewritten from this one.
    Convert(MapHandle, Option<(Layout, Layout)>),
}

/// Maps that are there.
pub struct PinnedMaps {
    maps: BTreeMap<String, (MapHandle, Option<Layout>)>,
    layouts: BTreeMap<&'static str, Layout>,
}

impl PinnedMaps {
    /// Looks what is pinned; `None` if nothing is. An error says why it cannot be taken over.
    pub fn open(dir: &Path, object: &[u8], abi: u32, oldest: u32) -> Result<Option<PinnedMaps>> {
        let what = || format!("take the maps in {} over", dir.display());
        if !dir.join("settings").exists() {
            return Ok(None);
        }
        let btf = object_btf(object).ok_or_else(|| Error::new(what(), "the program's own layout is not described"))?;
        let shapes: BTreeMap<&str, Layout> =
            MAP_STRUCTS.iter().filter_map(|(_, s)| Some((*s, Layout::of_struct(&btf, s)?))).collect();
        let mut maps = BTreeMap::new();
        for name in PINNED_MAPS.iter().filter(|n| dir.join(n).exists()) {
            let path = dir.join(name);
            let map =
                MapHandle::from_pinned_path(&path).map_err(|e| bpf_error(format!("open {}", path.display()), e))?;
            let structure = MAP_STRUCTS.iter().find(|(m, _)| m == name);
            let shape = structure.and_then(|(_, s)| Layout::of_struct(&map_btf(&map)?, s));
            maps.insert((*name).to_owned(), (map, shape));
        }
        let number = || {
            let (map, shape) = maps.get("settings")?;
            let at = shape.as_ref()?.offset_of("abi")?;
            let bytes = map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).ok()??;
            Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
        };
        let found = number().ok_or_else(|| Error::new(what(), "their layout is not described"))?;
        if found > abi || found < oldest {
            let why =
                format!("they are of layout {found}, and this version's is {abi}, which reads those from {oldest} on");
            return Err(Error::new(what(), why));
        }
        // An entry of IPv6 lies over two, of which the second has other members than it seems.
        if maps.get("conns").is_some_and(|(_, was)| was.as_ref() != shapes.get("conn_line")) {
            return Err(Error::new(what(), "connections lie otherwise in this version"));
        }
        if found < abi {
            tracing::info!("what a daemon with layout {found} has left is taken over into layout {abi}");
        }
        Ok(Some(PinnedMaps { maps, layouts: shapes }))
    }

    /// How many elements a map has that is there.
    pub fn max_entries(&self, name: &str) -> Option<u32> {
        self.maps.get(name).map(|(map, _)| map.max_entries())
    }

    /// How a map of the new object is to be had. Asked once of each.
    pub fn take_source(&mut self, name: &str, new: &OpenMapMut<'_>) -> MapSource {
        let Some((old, was)) = self.maps.remove(name) else { return MapSource::Empty };
        let is = MAP_STRUCTS.iter().find(|(m, _)| *m == name).and_then(|(_, s)| self.layouts.get(s)).cloned();
        // The loader says how large these are.
        let sized = matches!(name, "conns" | "conn_overflow") || old.max_entries() == new.max_entries();
        if sized && was == is && old.value_size() == new.value_size() && old.key_size() == new.key_size() {
            return MapSource::Reuse;
        }
        if REBUILT_MAPS.contains(&name) || old.key_size() != new.key_size() {
            return MapSource::Empty;
        }
        MapSource::Convert(old, was.zip(is))
    }
}

/// Fills a map that was loaded and pins it under its name, in the place of what is there.
pub fn install_map(dir: &Path, name: &str, map: &mut MapMut<'_>, how: &MapSource, abi: u32) -> Result<()> {
    match how {
        MapSource::Reuse => return Ok(()),
        MapSource::Empty => {}
        MapSource::Convert(old, shapes) => convert_map(old, map, shapes.as_ref()).map_err(|e| {
            let e = bpf_error(format!("rewrite map {name}"), e);
            e.with_hint("without its contents: remove the files in the directory of the pinned maps")
        })?,
    }
    if name == "settings" {
        let at = abi_offset(map).ok_or_else(|| Error::new("write the layout's number", "it is not described"))?;
        let key = 0u32.to_ne_bytes();
        let failed = |e| bpf_error("write the layout's number".into(), e);
        let mut bytes = map.lookup(&key, MapFlags::ANY).map_err(failed)?.unwrap_or_default();
        if let Some(place) = bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&abi.to_ne_bytes());
        }
        map.update(&key, &bytes, MapFlags::ANY).map_err(failed)?;
    }
    // The file system of pinned maps takes no dots; a new name over an old one leaves no moment without any.
    let (next, path) = (dir.join(format!("{name}-next")), dir.join(name));
    let _ = fs::remove_file(&next);
    map.pin(&next).map_err(|e| bpf_error(format!("pin map {name} in {}", dir.display()), e))?;
    fs::rename(&next, &path).context(|| format!("pin {}", path.display()))
}

/// Where the layout's number lies in the settings.
fn abi_offset(map: &MapMut<'_>) -> Option<usize> {
    let handle = MapHandle::try_from(map).ok()?;
    Layout::of_struct(&map_btf(&handle)?, "settings")?.offset_of("abi")
}

/// How large an element of a map is.
fn element_size(map: &impl MapCore, shape: Option<&Layout>) -> usize {
    if is_static_map(map) { shape.map_or(size_of::<u32>(), Layout::size) } else { map.value_size() as usize }
}

/// Rewrites every element that is not all zeros.
fn convert_map(old: &MapHandle, new: &MapMut<'_>, shapes: Option<&(Layout, Layout)>) -> libbpf_rs::Result<()> {
    let size = element_size(new, shapes.map(|(_, is)| is));
    let one = |from: &[u8]| {
        let mut to = vec![0u8; size];
        match shapes {
            Some((was, is)) => was.convert(from, is, &mut to),
            None => {
                let n = from.len().min(size);
                to[..n].copy_from_slice(&from[..n]);
            }
        }
        to
    };
    if old.map_type() == MapType::PercpuArray {
        for i in 0..old.max_entries().min(new.max_entries()) {
            let Some(all) = old.lookup_percpu(&i.to_ne_bytes(), MapFlags::ANY)? else { continue };
            if all.iter().flatten().any(|b| *b != 0) {
                let all: Vec<Vec<u8>> = all.iter().map(|v| one(v)).collect();
                new.update_percpu(&i.to_ne_bytes(), &all, MapFlags::ANY)?;
            }
        }
        return Ok(());
    }
    let mut table = vec![0; if is_static_map(new) { new.value_size() as usize } else { 0 }];
    let each = element_size(old, shapes.map(|(was, _)| was)).max(1);
    for key in 0..old.max_entries() {
        let Some(value) = old.lookup(&key.to_ne_bytes(), MapFlags::ANY)? else { continue };
        for (n, from) in value.chunks_exact(each).enumerate().filter(|(_, from)| from.iter().any(|b| *b != 0)) {
            let i = key as usize + n;
            if is_static_map(new) {
                if let Some(to) = table.get_mut(i * size..(i + 1) * size) {
                    to.copy_from_slice(&one(from));
                }
            } else if i < new.max_entries() as usize {
                new.update(&(i as u32).to_ne_bytes(), &one(from), MapFlags::ANY)?;
            }
        }
    }
    if is_static_map(new) {
        new.update(&0u32.to_ne_bytes(), &table, MapFlags::ANY)?;
    }
    Ok(())
}
