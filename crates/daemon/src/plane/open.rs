//! Opening a data plane: which kind a configuration asks for, which one is available, and what an earlier daemon left.

use anyhow::Context;
use evenkeel_core::model::{Config, DataPlaneMode};

use super::data_plane::{DataPlane, PlaneKind, PlanePaths};
use super::ipvs::IpvsDataPlane;
use super::xdp::XdpDataPlane;

/// The kind that a configuration asks for, and the one that may replace it if it is not available.
fn preferred_kinds(config: &Config) -> (PlaneKind, Option<PlaneKind>) {
    match (config.global.dataplane, config.ipvs_only_feature()) {
        (DataPlaneMode::Xdp, _) => (PlaneKind::Xdp, None),
        (DataPlaneMode::Ipvs, _) => (PlaneKind::Ipvs, None),
        (DataPlaneMode::Auto, None) => (PlaneKind::Xdp, Some(PlaneKind::Ipvs)),
        (DataPlaneMode::Auto, Some(_)) => (PlaneKind::Ipvs, Some(PlaneKind::Xdp)),
    }
}

/// Whether an open data plane of a kind may serve a configuration.
pub fn is_suitable(kind: PlaneKind, config: &Config) -> bool {
    let (first, second) = preferred_kinds(config);
    kind == first || second == Some(kind) && config.ipvs_only_feature().is_none()
}

/// Opens the data plane that a configuration asks for, or the other kind if that is allowed.
pub fn open(config: &Config, paths: &PlanePaths) -> anyhow::Result<Box<dyn DataPlane>> {
    let (first, second) = preferred_kinds(config);
    let error = match open_kind(first, config, paths) {
        Ok(plane) => {
            if let (PlaneKind::Ipvs, Some(feature)) = (first, config.ipvs_only_feature()) {
                tracing::info!("the data plane is the kernel's IPVS, because the configuration has {feature}");
            }
            return Ok(plane);
        }
        Err(e) => e,
    };
    let Some(second) = second else { return Err(error) };
    match open_kind(second, config, paths) {
        Ok(plane) => {
            tracing::warn!("{error:#}; the data plane is {} instead", second.name());
            Ok(plane)
        }
        // The error of the preferred kind comes last, as the cause.
        Err(other) => Err(error.context(format!("{other:#}"))),
    }
}

fn open_kind(kind: PlaneKind, config: &Config, paths: &PlanePaths) -> anyhow::Result<Box<dyn DataPlane>> {
    Ok(match kind {
        PlaneKind::Xdp => Box::new(XdpDataPlane::open(config, paths).context("the packet path cannot be loaded")?),
        PlaneKind::Ipvs => Box::new(IpvsDataPlane::open(config, paths).context("the kernel's IPVS cannot be used")?),
    })
}

/// Whether an earlier daemon left services, which must be taken over, if only to be removed.
pub fn has_leftovers(paths: &PlanePaths) -> bool {
    has_leftovers_of(PlaneKind::Xdp, paths) || has_leftovers_of(PlaneKind::Ipvs, paths)
}

/// Whether the packet path is loaded, as `evenkeel ipvsadm` does it for a daemon without services.
pub fn has_manual_services(config: &Config, paths: &PlanePaths) -> bool {
    is_suitable(PlaneKind::Xdp, config) && has_leftovers_of(PlaneKind::Xdp, paths)
}

fn has_leftovers_of(kind: PlaneKind, paths: &PlanePaths) -> bool {
    match kind {
        PlaneKind::Xdp => paths.bpf_dir.join("settings").exists(),
        PlaneKind::Ipvs => paths.services_record.exists(),
    }
}

/// Opens the other kind of data plane if an earlier daemon left services in it. Its connections can then be moved.
pub fn open_leftover_plane(kind: PlaneKind, config: &Config, paths: &PlanePaths) -> Option<Box<dyn DataPlane>> {
    let other = if kind == PlaneKind::Xdp { PlaneKind::Ipvs } else { PlaneKind::Xdp };
    if !has_leftovers_of(other, paths) {
        return None;
    }
    match open_kind(other, config, paths) {
        Ok(plane) => Some(plane),
        Err(e) => {
            tracing::warn!("services of an earlier daemon stay in {}: {e:#}", other.name());
            None
        }
    }
}
