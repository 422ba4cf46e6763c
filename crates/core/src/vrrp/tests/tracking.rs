//! Tracked scripts, files and processes.

use super::*;

#[test]
fn scripts_change_the_priority_or_cause_fault() {
    let script = || TrackedObject::Script("s".into());
    let tracked = |weight, reverse| Track { object: script(), weight, reverse };
    for (weight, reverse, good, expected) in [
        (2, false, true, TrackEffect::Priority(2)),
        (2, false, false, TrackEffect::Priority(0)),
        (-20, false, true, TrackEffect::Priority(0)),
        (-20, false, false, TrackEffect::Priority(-20)),
        (2, true, true, TrackEffect::Priority(-2)),
        (2, true, false, TrackEffect::Priority(0)),
        (-20, true, false, TrackEffect::Priority(20)),
        (0, true, false, TrackEffect::Priority(0)),
        (0, false, false, TrackEffect::Fault),
        (0, true, true, TrackEffect::Fault),
    ] {
        assert_eq!(
            track_effect(&tracked(weight, reverse), Some(TrackResult::Good(good))),
            expected,
            "{weight} {reverse} {good}"
        );
    }
    let mut r = started_router("WEIGHT -60\npriority 100");
    r.handle(at_ms(10), Input::TrackResult { object: &script(), result: TrackResult::Good(false) });
    assert_eq!(r.priority(), 40);
    r.handle(at_ms(20), Input::TrackResult { object: &script(), result: TrackResult::Good(true) });
    assert_eq!(r.priority(), 100);
    let mut r = started_router("WEIGHT 0\npriority 100");
    assert_eq!(r.state(), State::Init, "it waits for the first result");
    r.handle(at_ms(10), Input::TrackResult { object: &script(), result: TrackResult::Good(true) });
    assert_eq!(r.state(), State::Backup);
    r.handle(at_ms(20), Input::TrackResult { object: &script(), result: TrackResult::Good(false) });
    assert_eq!(r.last_transition().1, &TransitionReason::TrackedObject(script(), TrackResult::Good(false)));
}

#[test]
fn a_number_in_a_file_is_weighted_or_causes_fault() {
    let file = || TrackedObject::File("f".into());
    let weighed =
        |weight, reverse, n| track_effect(&Track { object: file(), weight, reverse }, Some(TrackResult::Number(n)));
    for (weight, reverse, n, expected) in [
        (1, false, 20, TrackEffect::Priority(20)),
        (2, false, -20, TrackEffect::Priority(-40)),
        (2, true, -20, TrackEffect::Priority(40)),
        (1, false, -253, TrackEffect::Priority(-253)),
        (1, false, -254, TrackEffect::Fault),
        (1, false, i32::MAX, TrackEffect::Priority(253)),
        (-254, false, i32::MAX, TrackEffect::Fault),
        (0, false, 0, TrackEffect::Priority(0)),
        (0, false, 1, TrackEffect::Fault),
    ] {
        assert_eq!(weighed(weight, reverse, n), expected, "{weight} {reverse} {n}");
    }
}

fn process(parameters: &str, param_match: ParamMatch) -> TrackProcess {
    TrackProcess {
        name: "p".into(),
        program: "haproxy".into(),
        parameters: parameters.split_whitespace().map(str::to_owned).collect(),
        param_match,
        full_command: false,
        quorum: 2,
        quorum_max: Some(3),
        fork_delay: ms(500),
        terminate_delay: ms(200),
    }
}

#[test]
fn processes_match_by_name_and_parameters() {
    use super::track::process_matches;
    let command = ["/usr/sbin/haproxy", "-W", "-f", "/etc/h.cfg"];
    for (parameters, how, tracked) in [
        ("", ParamMatch::Any, true),
        ("-W -f /etc/h.cfg", ParamMatch::Exact, true),
        ("-W -f", ParamMatch::Exact, false),
        ("-W -f", ParamMatch::Initial, true),
        ("-f /etc/h.cfg", ParamMatch::Initial, false),
        ("-f /etc/h.cfg", ParamMatch::Partial, true),
        ("-f -W", ParamMatch::Partial, false),
        ("-W -f /etc/h.cfg -D", ParamMatch::Partial, false),
    ] {
        assert_eq!(process_matches(&process(parameters, how), "haproxy", &command), tracked, "{parameters} {how:?}");
    }
    assert!(!process_matches(&process("", ParamMatch::Any), "haproxy2", &command));
    let full = TrackProcess { full_command: true, ..process("", ParamMatch::Any) };
    assert!(process_matches(&full, "other", &command) && process_matches(&full, "other", &["haproxy"]));
    assert!(!process_matches(&full, "haproxy", &[]), "a kernel thread has no command line");
}

#[test]
fn a_process_quorum_changes_after_its_delay() {
    use super::track::ProcessQuorum;
    let p = process("", ParamMatch::Any);
    let mut q = ProcessQuorum::default();
    assert_eq!(q.update_count(at_ms(0), 1, &p), Some(false), "the first look counts at once");
    assert_eq!((q.update_count(at_ms(100), 2, &p), q.next_deadline()), (None, Some(at_ms(600))));
    assert_eq!(q.update_count(at_ms(300), 1, &p), None, "it was too short");
    assert_eq!(q.update_count(at_ms(400), 2, &p), None);
    assert_eq!(q.update_count(at_ms(900), 3, &p), Some(true));
    assert_eq!((q.update_count(at_ms(1000), 4, &p), q.next_deadline()), (None, Some(at_ms(1200))), "too many");
    assert_eq!(q.update_count(at_ms(1200), 4, &p), Some(false));
}

#[test]
fn rise_and_fall_count_consecutive_results() {
    let script = VrrpScript {
        name: "s".into(),
        command: ScriptCommand { argv: vec![], user: None, groups: false },
        interval: ms(1000),
        timeout: ms(1000),
        rise: 2,
        fall: 3,
        init_fail: false,
    };
    let mut s = ScriptState::new(&script);
    let mut feed = |results: &str| {
        results.chars().filter_map(|c| s.record_result(c == '+', script.rise, script.fall)).collect::<Vec<_>>()
    };
    assert_eq!(feed("+"), [true], "the first result counts at once");
    assert!(feed("--+--").is_empty(), "not three in a row");
    assert_eq!(feed("-"), [false]);
    assert!(feed("+-+").is_empty());
    assert_eq!(feed("+"), [true]);
}
