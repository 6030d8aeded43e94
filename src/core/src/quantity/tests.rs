use proptest::prelude::*;

use super::*;

/// Text, `String()`, and `String()` after `RoundUp(Milli)`, as Go prints them
/// (`k8s.io/apimachinery` v0.37.2).
const TAKEN: &[(&str, &str, &str)] = &[
    ("0", "0", "0"),
    ("00", "0", "0"),
    ("-0", "0", "0"),
    ("+", "0", "0"),
    ("-", "0", "0"),
    (".", "0", "0"),
    ("m", "0", "0"),
    (".m", "0", "0"),
    ("Ki", "0", "0"),
    ("E", "0", "0"),
    ("1", "1", "1"),
    ("+1", "+1", "+1"),
    ("-1", "-1", "-1"),
    ("01", "01", "01"),
    ("1.", "1.", "1."),
    ("5.", "5.", "5."),
    (".5", "500m", "500m"),
    ("00.50", "500m", "500m"),
    ("1.5", "1500m", "1500m"),
    ("1.500", "1.500", "1.500"),
    ("1.000", "1", "1"),
    ("1500m", "1500m", "1500m"),
    ("100m", "100m", "100m"),
    ("0.1", "100m", "100m"),
    ("1u", "1u", "1m"),
    ("1n", "1n", "1m"),
    ("0.1n", "1n", "1m"),
    ("-0.1n", "-1n", "-1m"),
    ("1.1n", "2n", "1m"),
    ("0.1m", "100u", "1m"),
    ("1500u", "1500u", "2m"),
    ("999999999n", "999999999n", "1"),
    ("1000000000n", "1", "1"),
    ("1e3", "1e3", "1e3"),
    ("1E3", "1E3", "1E3"),
    ("1e-3", "1e-3", "1e-3"),
    ("1E+3", "1E+3", "1E+3"),
    ("1e+3", "1e+3", "1e+3"),
    ("1e0", "1e0", "1e0"),
    ("1e-9", "1e-9", "1e-3"),
    ("1e-10", "1e-9", "1e-3"),
    ("1e5", "100e3", "100e3"),
    ("15e2", "1500", "1500"),
    ("1e9223372036854775807", "100e-3", "100e-3"),
    ("1e4294967296", "1e4294967296", "1e4294967296"),
    ("1e2147483647", "10e2147483646", "10e2147483646"),
    ("1.5e-2147483648", "150e2147483646", "150e2147483646"),
    ("1E", "1E", "1E"),
    ("12E", "12E", "12E"),
    ("1000E", "1", "1"),
    ("1k", "1k", "1k"),
    ("1000k", "1M", "1M"),
    ("1000m", "1", "1"),
    ("1000Mi", "1000Mi", "1000Mi"),
    ("1M", "1M", "1M"),
    ("1G", "1G", "1G"),
    ("1T", "1T", "1T"),
    ("1P", "1P", "1P"),
    ("1Ki", "1Ki", "1Ki"),
    ("8Ki", "8Ki", "8Ki"),
    ("+1Ki", "+1Ki", "+1Ki"),
    ("001Ki", "001Ki", "001Ki"),
    ("1.Ki", "1.Ki", "1.Ki"),
    ("1023", "1023", "1023"),
    ("1024", "1024", "1024"),
    ("1024Ki", "1Mi", "1Mi"),
    ("0.5Ki", "512", "512"),
    ("0.1Ki", "102400m", "102400m"),
    ("1.5Ki", "1536", "1536"),
    ("1.5Gi", "1536Mi", "1536Mi"),
    ("1Mi", "1Mi", "1Mi"),
    ("1Gi", "1Gi", "1Gi"),
    ("14Ti", "14Ti", "14Ti"),
    ("1Pi", "1Pi", "1Pi"),
    ("1Ei", "1Ei", "1Ei"),
    ("7Ei", "7Ei", "7Ei"),
    ("8Ei", "9223372036854775807", "9223372036854775807"),
    ("-9Ei", "-9223372036854775807", "-9223372036854775807"),
    ("0.001Ki", "1024m", "1024m"),
    ("1.0000000001Ki", "1024000000103n", "1024001m"),
    ("0.00000000000000001Ei", "11529215047n", "11530m"),
    ("0Ei", "0", "0"),
    ("0e-10", "0", "0"),
    (
        "9223372036854775807",
        "9223372036854775807",
        "9223372036854775807",
    ),
    (
        "9223372036854775808",
        "9223372036854775808",
        "9223372036854775808",
    ),
    (
        "99999999999999999999",
        "99999999999999999999",
        "99999999999999999999",
    ),
    (
        "1234567890123456789e3",
        "1234567890123456789e3",
        "1234567890123456789e3",
    ),
    ("1234567890123456789012345e-30", "1235e-9", "1e-3"),
    (
        "9007199254740993Ki",
        "9223372036854775807",
        "9223372036854775807",
    ),
    (
        "9223372036854775807Ki",
        "9223372036854775807",
        "9223372036854775807",
    ),
];

/// Texts that Go refuses.
#[rustfmt::skip]
const REFUSED: &[&str] = &[
    "", "Pi", "Ei", "+Ei", ".Ei", "e", "1e", "1E+", "e-10", ".e-10", "lots", "1K", "1KI", "1ki", "1i", "1ee5",
    "1e5e", "1e1.5", "1e+-3", "1+", "1+5", "--1", "+-1", "1..5", "1.2.3", "1e99999999999999999999",
    "1e9223372036854775808", " 1", "1 ", "1\n", "1\u{a0}", "\u{ff11}", "\u{663}", "1\u{b2}", "\u{e9}", "1,5",
    "1_000", "0x10", "NaN", "inf", "1\0",
];

fn q(text: &str) -> Quantity {
    Quantity::parse(text).unwrap_or_else(|why| panic!("{text:?}: {why}"))
}

#[test]
fn what_go_takes_is_taken_and_written_as_go_writes_it() {
    for (text, canonical, milli) in TAKEN {
        let quantity = q(text);
        assert_eq!(quantity.canonical(), *canonical, "{text:?}");
        assert_eq!(
            quantity.rounded_up_to_milli().canonical(),
            *milli,
            "{text:?} in milli"
        );
    }
}

#[test]
fn what_go_refuses_is_refused() {
    for text in REFUSED {
        assert!(Quantity::parse(text).is_err(), "{text:?} was taken");
    }
}

#[test]
fn a_refusal_says_why() {
    let why = |text| Quantity::parse(text).unwrap_err();
    assert_eq!(why(""), QuantityError::Empty);
    assert_eq!(why("Ei"), QuantityError::NoDigits);
    assert_eq!(why("1K"), QuantityError::UnknownSuffix("K".into()));
    assert_eq!(
        why("1e99999999999999999999"),
        QuantityError::UnknownSuffix("e9999999999999999999".into())
    );
    assert_eq!(why("lots"), QuantityError::Unexpected('l'));
    assert_eq!(why("1 "), QuantityError::Unexpected(' '));
    assert_eq!(why("\u{663}"), QuantityError::Unexpected('\u{663}'));
    assert!(
        why("1K")
            .to_string()
            .starts_with("\"K\" is no suffix: use ")
    );
}

#[test]
fn cpu_is_rounded_up_to_the_millicore() {
    let cpu = |text| q(text).as_cpu().map(MilliCpu::get);
    let table = [
        ("0", 0),
        ("-0", 0),
        ("1", 1000),
        ("100m", 100),
        ("0.0001", 1),
        ("1n", 1),
        ("1.0000001", 1001),
    ];
    for (text, milli) in table.into_iter().chain([
        ("1Ki", 1_024_000),
        ("1e3", 1_000_000),
        ("1e-400", 1),
        ("10k", 10_000_000),
    ]) {
        assert_eq!(cpu(text), Some(milli), "{text}");
    }
    assert_eq!(cpu("18446744073709551615m"), Some(u64::MAX));
    for beyond in [
        "18446744073709551616m",
        "18446744073709551614.1000001m",
        "1Ei",
        "1e2147483647",
        "-1",
        "-1n",
    ] {
        let expected = if beyond.starts_with("18446744073709551614") {
            Some(u64::MAX)
        } else {
            None
        };
        assert_eq!(cpu(beyond), expected, "{beyond}");
    }
}

#[test]
fn the_work_does_not_grow_with_the_exponent() {
    for exponent in [i32::MAX, i32::MIN + 10, 2_000_000_000, -2_000_000_000] {
        for digits in ["1", "1234567890123456789012"] {
            let quantity = q(&format!("{digits}e{exponent}"));
            assert_eq!(quantity > q("1"), exponent > 0);
            assert!(quantity.canonical().len() < 60);
            assert_eq!(
                quantity.as_cpu(),
                (exponent < 0).then_some(MilliCpu::new(1))
            );
        }
    }
}

#[test]
fn ten_thousand_digits_are_nothing_special() {
    let nines = "9".repeat(10_000);
    assert_eq!(q(&nines).canonical(), nines);
    assert_eq!(q(&format!("{nines}Ki")).canonical(), "9223372036854775807");
    assert_eq!(q(&format!("0.{nines}Ei")).canonical(), "1Ei");
    assert_eq!(q(&format!("0.{nines}")).canonical(), "1");
    assert_eq!(q(&format!("0.{}1", "0".repeat(10_000))).canonical(), "1n");
}

#[test]
fn what_is_written_for_a_limit_reads_as_people_write_it() {
    for (milli, text) in [
        (0, "0"),
        (10, "10m"),
        (1500, "1500m"),
        (2000, "2"),
        (10_000_000, "10k"),
    ] {
        assert_eq!(Quantity::from(MilliCpu::new(milli)).to_string(), text);
    }
}

const SUFFIXES: [&str; 17] = [
    "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3",
];

/// Well-formed texts of moderate size.
fn text() -> impl Strategy<Value = String> {
    let suffix = prop::sample::select(&SUFFIXES[..]);
    ("[+-]?[0-9]{1,25}(\\.[0-9]{0,25})?", suffix)
        .prop_map(|(number, suffix)| format!("{number}{suffix}"))
}

proptest! {
    #[test]
    fn nothing_makes_the_parser_fall_over(text in "\\PC{0,40}") {
        if let Ok(quantity) = Quantity::parse(&text) {
            quantity.canonical();
            quantity.as_cpu();
        }
    }

    #[test]
    fn the_written_form_reads_as_the_same_value(text in text()) {
        let quantity = q(&text);
        let written = quantity.canonical();
        // Beyond exa the suffix is lost, in Go too.
        prop_assume!(quantity < q("1e21") && quantity > q("-1e21"));
        prop_assert_eq!(&q(&written), &quantity);
        prop_assert_eq!(q(&written).canonical(), written);
    }

    #[test]
    fn order_is_that_of_the_values(a in any::<i64>(), b in any::<i64>(), unit in 0usize..16) {
        let suffix = SUFFIXES[unit];
        let bounded = |n: i64| if suffix.ends_with('i') { n % 8 } else { n };
        let (a, b) = (bounded(a), bounded(b));
        prop_assert_eq!(q(&format!("{a}{suffix}")).cmp(&q(&format!("{b}{suffix}"))), a.cmp(&b));
    }

    #[test]
    fn millicores_survive(milli in any::<u64>()) {
        let cpu = MilliCpu::new(milli);
        prop_assert_eq!(q(&format!("{milli}m")).as_cpu(), Some(cpu));
        prop_assert_eq!(Quantity::from(cpu).as_cpu(), Some(cpu));
        prop_assert_eq!(Quantity::from(cpu), q(&format!("{milli}m")));
    }

    #[test]
    fn rounding_goes_up_and_by_less_than_a_thousandth(nano in 0u64..u64::MAX / 2) {
        let (exact, next) = (q(&format!("{nano}n")), q(&format!("{}n", nano.saturating_add(1_000_000))));
        let rounded = exact.rounded_up_to_milli();
        prop_assert!(exact <= rounded && rounded < next);
        prop_assert_eq!(rounded.as_cpu(), Some(MilliCpu::new(nano.div_ceil(1_000_000))));
        prop_assert_eq!(rounded.rounded_up_to_milli(), rounded);
    }
}
