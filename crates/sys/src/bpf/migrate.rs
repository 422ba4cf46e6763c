//! Migration: a newer program takes over the pinned maps of an older one, while the older one still forwards.
//!
//! A map whose elements have the same layout is used by both programs at once. The connection table must be such a map.
//! If a layout differs, the newer program gets a map of its own, and every element is converted by the names of its
//! members. The older program uses the old map until it is replaced on the devices. Maps whose contents the daemon or
//! the program writes again start empty.
//!
//! A conversion knows two kinds of maps: arrays with a value for each element, and static tables. A map that the
//! entries of the connection table refer to must keep its kind.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapMut, MapType, OpenMapMut};

use super::btf_layout::{Layout, map_btf, object_btf};
use super::libbpf::{bpf_error, is_static_table};
use super::pins::PINNED_MAPS;
use crate::{Context, Error, Result};

/// The structure of each map's elements. The elements of other maps are plain numbers.
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
/// The maps that every daemon, or the program, fills again.
const REBUILT_MAPS: &[&str] =
    &["mark_rules", "vlans", "devices", "reply_routes", "route_cache", "flow_classes", "flow_cache", "expiry"];
/// The maps whose sizes the loader sets.
const SIZED_MAPS: &[&str] = &["conns", "conn_overflow"];

/// Where the contents of a new program's map come from.
pub(super) enum MapSource {
    /// The map is new and empty.
    Empty,
    /// The pinned map itself is used.
    Reuse,
    /// The map is new, and the elements of this pinned map are converted. The layouts are the old and the new one;
    /// without them the elements are copied.
    Convert(MapHandle, Option<(Layout, Layout)>),
}

/// The maps that are pinned, with the layouts of their elements.
pub(super) struct PinnedMaps {
    maps: BTreeMap<String, (MapHandle, Option<Layout>)>,
    /// The layouts of the new program, by structure.
    layouts: BTreeMap<&'static str, Layout>,
}

impl PinnedMaps {
    /// Opens the pinned maps for the program in `object`. Returns `None` if no map is pinned, and an error if the maps
    /// cannot be migrated.
    pub fn open(dir: &Path, object: &[u8], abi: u32, oldest: u32) -> Result<Option<PinnedMaps>> {
        let failed = |reason: &str| Error::new(format!("migrate the maps in {}", dir.display()), reason);
        if !dir.join("settings").exists() {
            return Ok(None);
        }
        let btf = object_btf(object).ok_or_else(|| failed("the program's object file has no BTF"))?;
        let layouts: BTreeMap<&str, Layout> =
            MAP_STRUCTS.iter().filter_map(|(_, s)| Some((*s, Layout::of_struct(&btf, s)?))).collect();
        let mut maps = BTreeMap::new();
        for name in PINNED_MAPS.iter().filter(|n| dir.join(n).exists()) {
            let path = dir.join(name);
            let map = MapHandle::from_pinned_path(&path);
            let map = map.map_err(|e| bpf_error(format!("open map {}", path.display()), e))?;
            let structure = MAP_STRUCTS.iter().find(|(m, _)| m == name);
            let layout = structure.and_then(|(_, s)| Layout::of_struct(&map_btf(&map)?, s));
            maps.insert((*name).to_owned(), (map, layout));
        }
        let pinned = PinnedMaps { maps, layouts };
        let found = pinned.abi().ok_or_else(|| failed("the settings have no BTF"))?;
        if found > abi || found < oldest {
            let reason =
                format!("their layout is {found}; this version's is {abi}, and the oldest that it reads is {oldest}");
            return Err(failed(&reason));
        }
        // Conversion by names would be wrong: the second half of an IPv6 entry has other members than its type says.
        if pinned.maps.get("conns").is_some_and(|(_, old)| old.as_ref() != pinned.layouts.get("conn_line")) {
            return Err(failed("connection entries have another layout in this version"));
        }
        if found < abi {
            tracing::info!("the maps of layout {found} are migrated to layout {abi}");
        }
        Ok(Some(pinned))
    }

    /// The layout number in the pinned settings.
    fn abi(&self) -> Option<u32> {
        let (map, layout) = self.maps.get("settings")?;
        let offset = layout.as_ref()?.offset_of("abi")?;
        let bytes = map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).ok()??;
        Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
    }

    /// The number of entries of a pinned map.
    pub fn max_entries(&self, name: &str) -> Option<u32> {
        self.maps.get(name).map(|(map, _)| map.max_entries())
    }

    /// The source of a map of the new program. It can be asked once for each map.
    pub fn take_source(&mut self, name: &str, new: &OpenMapMut<'_>) -> MapSource {
        let Some((old, old_layout)) = self.maps.remove(name) else { return MapSource::Empty };
        let new_layout = MAP_STRUCTS.iter().find(|(m, _)| *m == name).and_then(|(_, s)| self.layouts.get(s)).cloned();
        let same_size = SIZED_MAPS.contains(&name) || old.max_entries() == new.max_entries();
        let same_key = old.key_size() == new.key_size();
        if same_size && same_key && old_layout == new_layout && old.value_size() == new.value_size() {
            return MapSource::Reuse;
        }
        let same_kind = is_static_table(&old) == (new.max_entries() == 1);
        if REBUILT_MAPS.contains(&name) || !same_key || !same_kind {
            return MapSource::Empty;
        }
        MapSource::Convert(old, old_layout.zip(new_layout))
    }
}

/// Fills a map that was loaded, and pins it under its name in place of the pinned map.
pub(super) fn install_map(dir: &Path, name: &str, map: &mut MapMut<'_>, source: &MapSource, abi: u32) -> Result<()> {
    match source {
        MapSource::Reuse => return Ok(()),
        MapSource::Empty => {}
        MapSource::Convert(old, layouts) => convert_map(old, map, layouts.as_ref()).map_err(|e| {
            let e = bpf_error(format!("convert map {name}"), e);
            e.with_hint("to start with empty maps, remove the files in the directory of the pinned maps")
        })?,
    }
    if name == "settings" {
        write_abi(map, abi)?;
    }
    // A rename replaces the old pin in one step. Names on the BPF file system must not contain dots.
    let (next, path) = (dir.join(format!("{name}-next")), dir.join(name));
    let _ = fs::remove_file(&next);
    map.pin(&next).map_err(|e| bpf_error(format!("pin map {name} in {}", dir.display()), e))?;
    fs::rename(&next, &path).context(|| format!("pin map {}", path.display()))
}

/// Writes the layout number into new settings.
fn write_abi(settings: &MapMut<'_>, abi: u32) -> Result<()> {
    let operation = || "write the layout number into the settings".to_owned();
    let btf = MapHandle::try_from(settings).ok().and_then(|handle| map_btf(&handle));
    let offset = btf.and_then(|btf| Layout::of_struct(&btf, "settings")?.offset_of("abi"));
    let offset = offset.ok_or_else(|| Error::new(operation(), "the settings have no BTF"))?;
    let key = 0u32.to_ne_bytes();
    let failed = |e| bpf_error(operation(), e);
    let mut bytes = settings.lookup(&key, MapFlags::ANY).map_err(failed)?.unwrap_or_default();
    if let Some(field) = bytes.get_mut(offset..offset + 4) {
        field.copy_from_slice(&abi.to_ne_bytes());
    }
    settings.update(&key, &bytes, MapFlags::ANY).map_err(failed)
}

/// Converts an element to a layout of `size` bytes.
fn convert_element(from: &[u8], size: usize, layouts: Option<&(Layout, Layout)>) -> Vec<u8> {
    let mut to = vec![0u8; size];
    match layouts {
        Some((old, new)) => old.convert(from, new, &mut to),
        None => {
            let n = from.len().min(size);
            to[..n].copy_from_slice(&from[..n]);
        }
    }
    to
}

/// Converts every element that is not all zeros.
fn convert_map(old: &MapHandle, new: &MapMut<'_>, layouts: Option<&(Layout, Layout)>) -> libbpf_rs::Result<()> {
    if is_static_table(new) {
        return convert_static_table(old, new, layouts);
    }
    let size = new.value_size() as usize;
    let is_set = |value: &[u8]| value.iter().any(|b| *b != 0);
    for i in 0..old.max_entries().min(new.max_entries()) {
        let key = i.to_ne_bytes();
        if old.map_type() == MapType::PercpuArray {
            let cpus = old.lookup_percpu(&key, MapFlags::ANY)?;
            if let Some(cpus) = cpus.filter(|cpus| cpus.iter().any(|v| is_set(v))) {
                let cpus: Vec<Vec<u8>> = cpus.iter().map(|v| convert_element(v, size, layouts)).collect();
                new.update_percpu(&key, &cpus, MapFlags::ANY)?;
            }
        } else if let Some(value) = old.lookup(&key, MapFlags::ANY)?.filter(|v| is_set(v)) {
            new.update(&key, &convert_element(&value, size, layouts), MapFlags::ANY)?;
        }
    }
    Ok(())
}

/// As [`convert_map`], for two static tables.
fn convert_static_table(
    old: &MapHandle,
    new: &MapMut<'_>,
    layouts: Option<&(Layout, Layout)>,
) -> libbpf_rs::Result<()> {
    let word = size_of::<u32>();
    let (old_size, new_size) = layouts.map_or((word, word), |(old, new)| (old.size().max(1), new.size().max(1)));
    let key = 0u32.to_ne_bytes();
    let from = old.lookup(&key, MapFlags::ANY)?.unwrap_or_default();
    let mut to = vec![0; new.value_size() as usize];
    for (from, to) in from.chunks_exact(old_size).zip(to.chunks_exact_mut(new_size)) {
        to.copy_from_slice(&convert_element(from, new_size, layouts));
    }
    new.update(&key, &to, MapFlags::ANY)
}
