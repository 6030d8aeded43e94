use super::*;

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn all(load: Load, length: u64, seed: u64) -> Vec<Request> {
    let cost = Cost::Exponential(Nanos::millis(10));
    let end = Nanos::from(seconds(length));
    let mut arrivals = Arrivals::new(load, cost, end, seed);
    std::iter::from_fn(|| arrivals.before(end)).collect()
}

fn near(value: f64, expected: f64) -> bool {
    (value - expected).abs() < 1e-9
}

#[test]
fn the_shapes() {
    let ramp = Load::Ramp {
        from: 1.0,
        to: 3.0,
        begin: seconds(10),
        end: seconds(20),
    };
    assert!(near(ramp.during(5.0), 1.0) && near(ramp.during(15.0), 2.0));
    assert!(near(ramp.during(99.0), 3.0));
    let bursts = Load::Bursts {
        calm: 0.1,
        busy: 2.0,
        every: seconds(30),
        length: seconds(5),
    };
    assert!(near(bursts.during(34.0), 2.0) && near(bursts.during(35.0), 0.1));
    let silence = Load::Silence {
        load: 1.0,
        from: seconds(3),
        until: seconds(6),
    };
    assert!(near(silence.during(3.0), 0.0) && near(silence.during(6.0), 1.0));
    let trace = Load::Trace {
        mean: 2.0,
        shape: Arc::from([0.5, 1.5]),
        offset: 1,
    };
    assert!(near(trace.during(0.0), 3.0) && near(trace.during(1.0), 1.0));
}

#[test]
#[allow(clippy::cast_precision_loss)] // thousands
fn as_much_work_comes_as_was_offered() {
    let requests = all(Load::Steady(0.8), 500, 1);
    let count = requests.len() as f64;
    let work = requests.iter().map(|r| r.left.seconds()).sum::<f64>();
    assert!((count / 40_000.0 - 1.0).abs() < 0.02, "{count}");
    assert!((work / 400.0 - 1.0).abs() < 0.03, "{work}");
}

#[test]
fn nothing_comes_in_silence_and_it_ends() {
    let silence = Load::Silence {
        load: 0.5,
        from: seconds(10),
        until: seconds(20),
    };
    let quiet = Nanos::SECOND.times(10)..Nanos::SECOND.times(20);
    let requests = all(silence, 30, 2);
    assert!(!requests.is_empty());
    assert!(requests.iter().all(|r| !quiet.contains(&r.arrived)));
    assert!(all(Load::Steady(0.0), 30, 2).is_empty());
}
