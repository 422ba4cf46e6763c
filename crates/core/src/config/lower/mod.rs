//! The lowering stage: typed configuration to [`Config`], the model that the daemon runs.
//!
//! It applies defaults, the inheritance between nested blocks (`global_defs` to instance, virtual server to real server
//! to checker), and it leaves out what keepalived would leave out. The stages before have reported errors of the text,
//! so most of what is invalid is dropped here without a diagnostic. A diagnostic of this stage says that this version
//! cannot do something.
//!
//! - [`global`], [`dataplane`], [`notify`], [`mail`]: `global_defs`, and the notification of operators.
//! - [`vrrp`]: instances, sync groups, tracked objects, virtual MAC interfaces.
//! - [`routing`]: routes and rules of instances, and static ones.
//! - [`lvs`]: virtual servers, real servers, checkers.

mod dataplane;
mod global;
mod lvs;
mod mail;
mod notify;
mod routing;
mod vrrp;

use std::collections::{BTreeMap, HashSet};

use self::vrrp::DefaultWeights;
use super::value::Section;
use super::{Diagnostic, Environment, IprouteDirs, Span};
use crate::model::{CheckKind, Config, Statics, TrackedObject, Vmac};

/// The state of the lowering stage.
pub(crate) struct LoweringContext<'l> {
    root: &'l Section,
    /// Every `global_defs` block, the last one first.
    ///
    /// It is kept as a list because each check asks for global settings, and a file may have 100,000 checks.
    globals: Vec<&'l Section>,
    /// Every `SSL` block, the last one first.
    ssl: Vec<&'l Section>,
    environment: &'l dyn Environment,
    /// The directories in which iproute2's names of routes and rules are looked up.
    iproute_dirs: &'l IprouteDirs,
    diagnostics: &'l mut Vec<Diagnostic>,
    /// Keywords that [`LoweringContext::report_not_in_force`] has reported.
    reported: HashSet<String>,
    /// The preferences of rules that have none, by their lines.
    rule_preferences: BTreeMap<Span, u32>,
    /// The virtual interfaces that the instances lowered so far need.
    vmacs: Vec<Vmac>,
}

/// Lowers a whole file. `root` is the typed configuration; new diagnostics are appended to `diagnostics`.
pub(crate) fn lower(
    root: &Section,
    environment: &dyn Environment,
    iproute_dirs: &IprouteDirs,
    diagnostics: &mut Vec<Diagnostic>,
) -> Config {
    let last_first = |name: &'static str| {
        let mut all: Vec<&Section> = root.sections(name).collect();
        all.reverse();
        all
    };
    let (globals, ssl) = (last_first("global_defs"), last_first("SSL"));
    let (reported, vmacs) = (HashSet::new(), Vec::new());
    let rule_preferences = routing::rule_preferences(root);
    let mut l = LoweringContext {
        root,
        globals,
        ssl,
        environment,
        iproute_dirs,
        diagnostics,
        reported,
        rule_preferences,
        vmacs,
    };
    let mut global = l.lower_global_defs();
    let mut weights = DefaultWeights::new();
    let scripts = l.lower_scripts(&global, &mut weights);
    let track_files = l.lower_track_files(&mut weights);
    let track_processes = l.lower_track_processes(&mut weights);
    let bfd = l.lower_bfd_instances(&mut weights);
    let mut instances = l.lower_instances(&weights);
    global.sync = l.lower_sync_daemon(&instances);
    let sync_groups = l.lower_sync_groups(&mut instances, &weights);
    let virtual_servers = l.lower_services(&weights);
    let announce_intervals = l.announce_intervals();
    let statics = Statics {
        addresses: l.static_addresses(),
        routes: l.lower_routes(root, "static_routes"),
        rules: l.lower_rules(root, "static_rules"),
    };
    let mut config = Config {
        global,
        scripts,
        track_files,
        track_processes,
        bfd,
        instances,
        sync_groups,
        vmacs: std::mem::take(&mut l.vmacs),
        statics,
        link_delays: l.link_delays(),
        dynamic_interfaces: l.global_setting(|g| g.get("dynamic_interfaces").map(|_| ())).is_some(),
        announce_intervals,
        namespace: root.text("net_namespace").map(str::to_owned),
        ipvs_namespace: LoweringContext::ipvs_namespace(root),
        virtual_servers,
    };
    remove_unused_trackers(&mut config);
    l.apply_track_groups(&mut config);
    config
}

/// Removes scripts, files and processes that no instance, sync group or FILE_CHECK tracks: nothing has to run them.
fn remove_unused_trackers(config: &mut Config) {
    let tracked: HashSet<&TrackedObject> = config.instances.iter().flat_map(|i| &i.tracks).map(|t| &t.object).collect();
    let checks = config.virtual_servers.iter().flat_map(|v| &v.servers).flat_map(|r| &r.checks);
    let files: HashSet<&str> = checks
        .filter_map(|c| if let CheckKind::File { name, .. } = &c.kind { Some(name.as_str()) } else { None })
        .collect();
    config.scripts.retain(|s| tracked.contains(&TrackedObject::Script(s.name.clone())));
    config.track_files.retain(|f| files.contains(&*f.name) || tracked.contains(&TrackedObject::File(f.name.clone())));
    config.track_processes.retain(|p| tracked.contains(&TrackedObject::Process(p.name.clone())));
}

impl<'l> LoweringContext<'l> {
    /// Reports what this version cannot do although the file would do harm without it: the daemon does not start.
    pub(crate) fn report_unsupported(&mut self, span: Span, message: String, label: &str) {
        self.diagnostics.push(Diagnostic::unsupported(span, message).label(label.to_owned()));
    }

    /// Reports once that `keyword` is accepted and has no effect in this version.
    pub(crate) fn report_not_in_force(&mut self, span: Span, keyword: &str) {
        if self.reported.insert(keyword.to_owned()) {
            self.diagnostics.push(
                Diagnostic::lint("not-in-force", span, format!("`{keyword}` is accepted, but not implemented yet"))
                    .label("no effect in this version"),
            );
        }
    }

    /// What `read` returns for the last `global_defs` block that has the setting.
    pub(crate) fn global_setting<T>(&self, read: impl Fn(&'l Section) -> Option<T>) -> Option<T> {
        self.globals.iter().copied().find_map(read)
    }
}
