//! Reading Prometheus' text form: the few lines of it that MBCAS needs.
//!
//! It reads what comes from components of the cluster: a kubelet's
//! `/metrics/resource`, our own `/metrics`. A line that is not understood is
//! passed over, and a value that is not a finite number is no value. (The agent
//! reads a stranger's answer and has a stricter reader with bounded memory.)

/// One sample of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The text between the braces, empty without any.
    labels: &'a str,
    /// The value, finite.
    pub value: f64,
    /// When it was measured, in milliseconds since 1970; absent where the writer left it out.
    pub timestamp_ms: Option<i64>,
}

impl<'a> Sample<'a> {
    /// The value of the label `name`. Values with an escape in them are given
    /// as they stand; no name that Kubernetes allows has one.
    pub fn label(&self, name: &str) -> Option<&'a str> {
        label(self.labels, name)
    }
}

/// The value of the label `name` among `labels`, the text between a sample's braces.
///
/// ```
/// use mbcas_core::exposition::label;
/// assert_eq!(label("path=\"le=\", le = \"0.5\"", "le"), Some("0.5"));
/// ```
pub fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = labels;
    loop {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_ascii_start().strip_prefix('"')?;
        let end = closing_quote(after)?;
        if key.trim_start_matches([',', ' ', '\t']).trim_end() == name {
            return Some(&after[..end]);
        }
        rest = &after[end + 1..];
    }
}

/// The samples of `metric` in `text`, in their order.
///
/// ```
/// use mbcas_core::exposition::samples;
/// let text = "# TYPE queue gauge\nqueue{pool=\"a\"} 3\nqueue{pool=\"b\"} 4 1700000000000\nqueue_max 9\n";
/// let depth: f64 = samples(text, "queue").map(|s| s.value).sum();
/// assert_eq!(depth, 7.0);
/// assert_eq!(samples(text, "queue").nth(1).unwrap().label("pool"), Some("b"));
/// ```
pub fn samples<'a>(text: &'a str, metric: &'a str) -> impl Iterator<Item = Sample<'a>> {
    text.lines().filter_map(move |line| sample(line, metric))
}

fn sample<'a>(line: &'a str, metric: &str) -> Option<Sample<'a>> {
    let rest = line.strip_prefix(metric)?;
    let (labels, rest) = match rest.trim_ascii_start().strip_prefix('{') {
        Some(inside) => {
            let end = closing_brace(inside)?;
            (&inside[..end], &inside[end + 1..])
        }
        None => ("", rest.strip_prefix([' ', '\t']).map(|_| rest)?),
    };
    let mut words = rest.split_ascii_whitespace();
    let value = words
        .next()?
        .parse::<f64>()
        .ok()
        .filter(|v| v.is_finite())?;
    let timestamp_ms = words.next().map(str::parse).transpose().ok()?;
    Some(Sample {
        labels,
        value,
        timestamp_ms,
    })
}

/// The place of the quote that ends a label value.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

/// The place of the brace that ends the labels; one inside a value does not.
fn closing_brace(text: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let brace = rest.find('}')?;
        match rest.find('"').filter(|quote| *quote < brace) {
            None => return Some(at + brace),
            Some(quote) => at += quote + 1 + closing_quote(&rest[quote + 1..])? + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KUBELET: &str = "\
# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container=\"app\",namespace=\"shop\",pod=\"web-1\"} 1.084893 1763917260123
container_cpu_usage_seconds_total{container=\"odd}\\\"name\",namespace=\"shop\",pod=\"web-2\"} 2.5 1763917260124
node_cpu_usage_seconds_total 91.2 1763917260000
";

    #[test]
    fn a_kubelets_counters_are_read() {
        let found: Vec<_> = samples(KUBELET, "container_cpu_usage_seconds_total").collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].label("pod"), Some("web-1"));
        assert_eq!(found[0].label("namespace"), Some("shop"));
        assert_eq!(found[0].label("nothing"), None);
        assert_eq!(found[0].timestamp_ms, Some(1_763_917_260_123));
        assert_eq!(found[1].label("pod"), Some("web-2"));
        assert_eq!(
            samples(KUBELET, "node_cpu_usage_seconds_total")
                .next()
                .unwrap()
                .label("pod"),
            None
        );
    }

    #[test]
    fn there_may_be_spaces_around_labels() {
        let text = "q { a = \"1\" ,b=\"=\\\"\" ,\tc= \"3\", } 5 1700000000000";
        let sample = samples(text, "q").next().unwrap();
        let labels = ["a", "b", "c"].map(|name| sample.label(name));
        assert_eq!(labels, [Some("1"), Some("=\\\""), Some("3")]);
        assert_eq!(sample.value.to_bits(), 5.0_f64.to_bits());
    }

    #[test]
    fn what_is_not_a_finite_number_is_no_sample() {
        for bad in [
            "q NaN",
            "q +Inf",
            "q",
            "q{",
            "q{a=\"b} 1",
            "q{a=\"b\"}",
            "q x",
            "queue 1",
            "q 1 then",
        ] {
            assert_eq!(samples(bad, "q").count(), 0, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in ".{0,300}", name in ".{0,10}") {
            for sample in samples(&text, &name) {
                prop_assert!(sample.value.is_finite());
                let _ = sample.label(&name);
            }
        }

        #[test]
        fn what_is_written_is_read(value in -1e9f64..1e9, pod in "[a-z0-9.-]{1,40}", stamp in 0i64..4_000_000_000_000) {
            let line = format!("m{{container=\"c\",pod=\"{pod}\"}} {value} {stamp}");
            let read = samples(&line, "m").next().unwrap();
            prop_assert_eq!(read.value.to_bits(), value.to_bits());
            prop_assert_eq!(read.label("pod"), Some(pod.as_str()));
            prop_assert_eq!(read.timestamp_ms, Some(stamp));
        }
    }
}
