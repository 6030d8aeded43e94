use proptest::prelude::*;

use super::*;

fn sum(text: &str) -> Result<f64, ExpositionError> {
    let mut sum = Sum::of("app_queue");
    sum.push(text.as_bytes())?;
    sum.finish()
}

#[test]
fn samples_of_all_label_sets_are_added_up() {
    let text = "# HELP app_queue Jobs, app_queue 9.\n# TYPE app_queue gauge\n\
        app_queue{shard=\"a\"} 3\napp_queue_total 99\napp_queue{shard=\"b } \\\" {\"} 4.5 1700000000000\n\
        other 7\nmy_app_queue 50\n";
    assert_eq!(sum(text), Ok(7.5));
    assert_eq!(sum("app_queue 0"), Ok(0.0));
    assert_eq!(sum("\tapp_queue\t1e3\r\n"), Ok(1000.0));
}

#[test]
fn what_others_may_write_besides_is_read() {
    for text in [
        "app_queue {a=\"1\"} 7",
        "app_queue \t{ a = \"1\" , b = \"}\" , }\t7 ",
        "app_queue{}7",
        "app_queue 7 1700000000.123",
        "app_queue 7 -1.5e3",
        "app_queue{a=\"1\"} 7 # {id=\"# } 9\"} 0.5",
        "app_queue 7 1700000000.123 # {} 0.5 1700000000.1",
        "app_queue 7 # {} NaN",
    ] {
        assert_eq!(sum(text), Ok(7.0), "{text}");
    }
    let text = "took_bucket {path = \"le=\", le = \"0.1\"} 4 # {id=\"le\"} 0.05 1700000000.5\n\
        took_bucket{ le =\"+Inf\", } 9 1700000000.5\n";
    assert_eq!(buckets(text), Ok(vec![(0.1, 4.0), (f64::INFINITY, 9.0)]));
}

#[test]
fn no_sample_is_not_zero() {
    assert_eq!(sum(""), Err(ExpositionError::Absent));
    assert_eq!(
        sum("# app_queue 1\napp_queue_total 2\n"),
        Err(ExpositionError::Absent)
    );
}

#[test]
fn numbers_that_no_queue_has_are_refused() {
    for bad in ["NaN", "+Inf", "-Inf", "inf", "-1", "1e999"] {
        assert_eq!(
            sum(&format!("app_queue {bad}\n")),
            Err(ExpositionError::Value),
            "{bad}"
        );
    }
}

#[test]
fn a_sum_beyond_all_numbers_is_refused() {
    let text = "app_queue{a=\"1\"} 1e308\napp_queue{a=\"2\"} 1e308\n";
    assert_eq!(sum(text), Err(ExpositionError::Value));
}

#[test]
fn samples_that_cannot_be_read_are_refused() {
    for bad in [
        "",
        " ",
        "{",
        "{a=\"}\"",
        "{a=\"1\"}",
        " x",
        " 1 x",
        " 1 2 3",
        " 1,0",
        " 0x10",
        " 1 2 # ",
        " 1 2 # 3",
        " 1 NaN",
        "{} 1 # {",
        "{} 1 # {}",
        "{} 1 # {} x",
        "{} 1 # {} 1 2 3",
        "{} 1 # {} 1 x",
        " {a=\"}\"",
    ] {
        assert_eq!(
            sum(&format!("app_queue{bad}\n")),
            Err(ExpositionError::Malformed),
            "{bad:?}"
        );
    }
}

#[test]
fn an_endless_line_is_given_up() {
    let mut sum = Sum::of("app_queue");
    let mut taken = 0;
    while sum.push(&[b'x'; 1000]).is_ok() {
        taken += 1000;
    }
    assert!(taken <= LINE_MAX, "{taken}");
}

proptest! {
    #[test]
    fn however_an_answer_is_cut_the_sum_is_the_same(
        values in prop::collection::vec(0u32..1_000_000, 1..20),
        step in 1usize..50,
    ) {
        let lines: Vec<_> = values.iter().map(|v| format!("other 1\napp_queue{{l=\"{v}\"}} {v}\n")).collect();
        let text = lines.concat();
        let mut sum = Sum::of("app_queue");
        for part in text.as_bytes().chunks(step) {
            sum.push(part).unwrap();
        }
        prop_assert_eq!(sum.finish(), Ok(values.iter().map(|v| f64::from(*v)).sum()));
    }

    #[test]
    fn what_comes_out_is_a_number_from_0_up(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut sum = Sum::of("a");
        if sum.push(&bytes).is_ok() && let Ok(total) = sum.finish() {
            prop_assert!(total >= 0.0 && total.is_finite());
        }
    }

    #[test]
    fn near_misses_never_panic(line in "app_queue(\\{[a-z=\"\\\\}]{0,8}\\})?[ \t]?[-+0-9.eEinfNa]{0,8}( [0-9-]{0,4})?") {
        if let Ok(total) = sum(&line) {
            prop_assert!(total >= 0.0 && total.is_finite());
        }
    }
}

fn buckets(text: &str) -> Result<Histogram, ExpositionError> {
    let mut buckets = Buckets::of("took");
    for part in text.as_bytes().chunks(7) {
        buckets.push(part)?;
    }
    buckets.finish()
}

#[test]
fn buckets_of_the_same_bound_are_added_up() {
    let text = "# TYPE took histogram\n\
        took_bucket{path=\"/a\",le=\"+Inf\"} 9\ntook_bucket{path=\"/a\",le=\"0.1\"} 4\n\
        took_bucket{le=\"0.1\",path=\"}\"} 2 1700000000000\ntook_bucket{path=\"/b\",le=\"+Inf\"} 3\n\
        took_sum 5\ntook_count 12\ntook_bucketed 1\n";
    let expected = vec![(0.1, 6.0), (f64::INFINITY, 12.0)];
    assert_eq!(buckets(text), Ok(expected));
}

#[test]
fn what_is_no_histogram_is_refused() {
    use ExpositionError::{Absent, Histogram, Malformed, Value};
    let each = |bound: u32| format!("took_bucket{{le=\"{bound}\"}} 1\n");
    let many = (0..300).map(each).collect::<Vec<_>>().concat();
    for (text, why) in [
        ("", Absent),
        ("took 5\n", Absent),
        ("took_bucket{le=\"1\"} 5\n", Histogram),
        (&many, Histogram),
        ("took_bucket{le=\"+Inf\"} NaN\n", Value),
        ("took_bucket{le=\"+Inf\"} -1\n", Value),
        (
            "took_bucket{a=\"1\",le=\"+Inf\"} 1e308\ntook_bucket{a=\"2\",le=\"+Inf\"} 1e308\n",
            Value,
        ),
        ("took_bucket{le=\"NaN\"} 1\n", Malformed),
        ("took_bucket{le=\"x\"} 1\n", Malformed),
        ("took_bucket{path=\"/\"} 1\n", Malformed),
        ("took_bucket 1\n", Malformed),
    ] {
        assert_eq!(buckets(text), Err(why), "{text}");
    }
}
