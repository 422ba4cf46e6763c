//! The demo as a test: its results must be as expected.

use std::process::Command;

use evenkeel_tests::{is_root, program};

#[test]
fn all_results_of_the_demo_are_as_expected() {
    if !is_root() {
        return;
    }
    let dir = program("evenkeel").with_file_name("demo-test");
    let out = Command::new(program("evenkeel")).args(["demo", "--json", "--dir"]).arg(&dir).output().expect("runs");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    let r: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(r["distribution_error_percent"].as_f64().expect("a number") <= 2.0, "{r}");
    assert_eq!(r["reply_frames_on_directors"], 0);
    assert_eq!(r["failed_outside_gaps"], 0);
    assert_eq!(r["failed_during_restart"], 0);
    assert_eq!(r["client_address_seen"], "10.77.0.2");
    assert!(r["connections_kept"].as_u64().expect("a number") > 100, "{r}");
    // The master fails right after an advert: three intervals and the skew time pass without one, less the time to cut
    // the link. A loaded machine may need longer, but not another master-down interval.
    let gap = r["failover_gap_ms"].as_u64().expect("a number");
    let bound = r["failover_bound_ms"].as_u64().expect("a number");
    assert!((bound - 600..2 * bound).contains(&gap), "gap {gap} ms, bound {bound} ms");
}
