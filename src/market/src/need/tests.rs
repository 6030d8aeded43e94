//! Each constant by the failure that it prevents.

use super::*;

/// Windows of 15 s.
const WINDOW: Duration = Duration::from_secs(15);

fn free(limit: u64) -> Surroundings {
    Surroundings {
        limit: Some(MilliCpu::new(limit)),
        demand: Demand::ZERO,
        measured: None,
        share: None,
    }
}

fn window(n: u32, cpu: u64) -> Usage {
    Usage {
        cpu: MilliCpu::new(cpu),
        until: WINDOW * n,
    }
}

fn after(windows: &[u64], around: Surroundings) -> Estimate {
    let mut windows = (1..).zip(windows).map(|(n, cpu)| window(n, *cpu));
    let first = Estimate::first(windows.next().unwrap(), around);
    windows.fold(first, |estimate, usage| estimate.then(usage, around))
}

fn need(estimate: &Estimate) -> u64 {
    estimate.need().get()
}

#[test]
fn the_need_is_the_average_of_usage() {
    assert_eq!(need(&after(&[300], free(1000))), 300);
    // Two windows are one half-life.
    assert_eq!(need(&after(&[300, 500, 500], free(1000))), 400);
    let steady = after(&[300; 40], free(1000));
    assert_eq!(need(&steady), 300);
}

#[test]
fn a_window_counts_once() {
    let once = after(&[300, 500], free(1000));
    assert_eq!(once.then(window(2, 900), free(1000)), once);
    assert_eq!(once.then(window(1, 900), free(1000)), once);
}

#[test]
fn a_limit_that_is_reached_hides_the_need() {
    let around = free(200);
    assert_eq!(need(&after(&[195], around)), 300);
    // Below 97 % it takes a sign that something waits.
    assert_eq!(after(&[185], around).censored(), None);
    let waits = Surroundings {
        demand: Demand::NEUTRAL,
        ..around
    };
    assert_eq!(after(&[185], waits).censored(), Some(Censor::Limit));
}

/// From a tenth on, and not below, something waits.
#[test]
fn a_demand_of_a_tenth_says_that_its_limit_holds_it() {
    let says = |basis_points| Surroundings {
        demand: Demand::from_basis_points(basis_points),
        ..free(200)
    };
    assert_eq!(after(&[184], says(999)).censored(), None);
    assert_eq!(after(&[184], says(1_000)).censored(), Some(Censor::Limit));
}

/// One thread that burns needs one core: half as much again would take from others what it cannot use.
#[test]
fn what_the_agent_measured_bounds_the_escape_and_nothing_else() {
    let says = |measured, limit| Surroundings {
        measured: Some(MilliCpu::new(measured)),
        ..free(limit)
    };
    assert_eq!(need(&after(&[900], says(1_000, 900))), 1_000);
    // Neither more than the escape, nor less than what holds it, nor anything where nothing is hidden.
    assert_eq!(need(&after(&[900], says(64_000, 900))), 1_350);
    assert_eq!(need(&after(&[900], says(10, 900))), 900);
    assert_eq!(need(&after(&[300], says(64_000, 900))), 300);
    assert_eq!(need(&after(&[300], says(0, 900))), 300);
}

#[test]
fn a_full_node_hides_the_need_of_those_at_their_share() {
    let full = |share| Surroundings {
        share: Some(MilliCpu::new(share)),
        demand: Demand::NEUTRAL,
        ..free(4000)
    };
    let held = after(&[500], full(500));
    assert_eq!((held.censored(), need(&held)), (Some(Censor::Node), 750));
    let content = after(&[100], full(500));
    assert_eq!((content.censored(), need(&content)), (None, 100));
    // Where requests are right everybody has its share, and nothing waits.
    let calm = Surroundings {
        demand: Demand::ZERO,
        ..full(500)
    };
    assert_eq!(after(&[500], calm).censored(), None);
}

#[test]
fn the_escape_ends_with_the_first_window_that_is_not_censored() {
    let mut estimate = after(&[200], free(200));
    assert_eq!(need(&estimate), 300);
    estimate = estimate.then(window(2, 300), free(300));
    assert_eq!(need(&estimate), 450);
    estimate = estimate.then(window(3, 320), free(450));
    assert_eq!(estimate.censored(), None);
    assert!((250..=320).contains(&need(&estimate)));
}

#[test]
fn a_peak_counts_for_two_minutes_and_is_forgotten_then() {
    let estimate = after(&[100, 900, 100, 100], free(4000));
    let peak = |seconds| estimate.peak(Duration::from_secs(seconds)).get();
    assert_eq!([peak(60), peak(150)], [900, 900]);
    assert_eq!(peak(210), 450);
    assert!(peak(100_000) < 400);
}

#[test]
fn nothing_is_earned_before_four_windows() {
    assert_eq!(after(&[100, 100, 100], free(4000)).least(), None);
    let earned = after(&[100, 100, 100, 100], free(4000));
    assert_eq!(earned.least(), Some(MilliCpu::new(100)));
    // Who was silent a minute ago has earned silence.
    let woken = after(&[1000, 0, 0, 0, 1000], free(4000));
    assert!(woken.least().unwrap() < MilliCpu::new(400));
}

/// A queue that is nearly full is late, and no need: nine tenths of a limit, in every window, is all that is asked for.
#[test]
fn who_leaves_a_twentieth_of_its_limit_on_average_is_not_held_by_it() {
    let waits = Surroundings {
        demand: Demand::NEUTRAL,
        ..free(1000)
    };
    let always = |cpu: u64, windows: usize| after(&vec![cpu; windows], waits);
    // At first it is held, as far as anybody knows; after a minute and a half it is known not to be.
    for (windows, is_held) in [(1, true), (4, true), (7, false), (40, false)] {
        let estimate = always(920, windows);
        let expected = is_held.then_some(Censor::Limit);
        assert_eq!(estimate.censored(), expected, "{windows}: {estimate:?}");
    }
    assert_eq!(need(&always(920, 40)), 920);
    // Whose queue never empties uses all of it, always.
    assert_eq!(always(980, 40).censored(), Some(Censor::Limit));
    // When that changes, or the limit, it is seen again.
    let known = always(920, 40);
    let busy = (41..46).fold(known, |estimate, n| estimate.then(window(n, 1000), waits));
    assert_eq!(busy.censored(), Some(Censor::Limit));
    let lower = Surroundings {
        limit: Some(MilliCpu::new(900)),
        ..waits
    };
    let cut = known.then(window(41, 900), lower);
    assert_eq!(cut.censored(), Some(Censor::Limit));
    // Having been idle is no proof: who comes back to all of its limit is held at once.
    let idle = (41..60).fold(known, |estimate, n| estimate.then(window(n, 100), waits));
    let back = idle.then(window(60, 1000), waits);
    assert_eq!((back.censored(), need(&back)), (Some(Censor::Limit), 1500));
    // One that was let go by a tenth, and needs no more than before, is not taken at its limit for ever.
    let calm = free(1000);
    let grown = after(&[900], free(900)).then(window(2, 930), calm);
    assert_eq!((grown.censored(), need(&grown)), (None, 1000));
    let settled = (3..12).fold(grown, |estimate, n| estimate.then(window(n, 930), calm));
    assert!((920..=930).contains(&need(&settled)), "{settled:?}");
    // On a full machine it may be the others that leave it no more: that is no proof of anything.
    let full = Surroundings {
        share: Some(MilliCpu::new(600)),
        ..waits
    };
    for (cpu, holds) in [(930, Censor::Limit), (870, Censor::Node)] {
        let pressed = (41..60).fold(known, |estimate, n| estimate.then(window(n, cpu), full));
        assert_eq!(pressed.censored(), Some(holds), "{cpu}: {pressed:?}");
    }
}

#[test]
fn who_was_held_needs_its_limit_until_it_leaves_some_of_it() {
    let held = after(&[200], free(200));
    // Let go by a tenth it is not at its limit any more, and still uses most of it.
    let near = held.then(window(2, 200), free(220));
    assert_eq!((near.censored(), need(&near)), (None, 220));
    assert_eq!(need(&near.then(window(3, 195), free(220))), 220);
    let left = near.then(window(3, 180), free(220));
    assert!((180..200).contains(&need(&left)), "{left:?}");
    // It begins with a limit that was reached: who never was at his is taken at what he uses.
    assert_eq!(need(&after(&[200, 200], free(220))), 200);
}

/// When others are held for it the node is not full any more, and its average is still that of before.
#[test]
fn who_was_held_by_a_full_node_needs_its_limit_until_it_leaves_some_of_it() {
    let around = |share: Option<u64>| Surroundings {
        demand: Demand::NEUTRAL,
        share: share.map(MilliCpu::new),
        ..free(1500)
    };
    let held = after(&[100, 100, 100, 930], around(Some(930)));
    assert_eq!((held.censored(), need(&held)), (Some(Censor::Node), 1395));
    let roomy = held.then(window(5, 1340), around(None));
    assert_eq!((roomy.censored(), need(&roomy)), (None, 1500));
    let served = roomy.then(window(6, 900), around(None));
    assert!((600..900).contains(&need(&served)), "{served:?}");
}

/// A stranger fills the machine with what others leave idle. Who could have more than its limit by its weight all the same
/// leaves some of it of its own accord.
#[test]
fn a_full_machine_excuses_only_those_who_have_less_by_their_weight() {
    let around = |share| Surroundings {
        demand: Demand::NEUTRAL,
        share: Some(MilliCpu::new(share)),
        ..free(1000)
    };
    let need_of = |share| need(&after(&[&[1000][..], &[880; 40]].concat(), around(share)));
    assert_eq!(need_of(960), 1320, "its share is what it uses");
    assert_eq!(need_of(40_000), 880);
}
