use std::collections::BTreeMap;

use mbcas_api::BudgetPolicySpec;
use serde_json::{Value, json};

use super::*;
use crate::namespace::Held;

fn namespace(policy: Value) -> Namespace {
    let policy = serde_json::from_value::<BudgetPolicySpec>(policy).unwrap();
    Namespace::with_policy("shop", policy)
}

fn settings(annotations: &[(&str, &str)]) -> Settings {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Settings::parse(&annotations.iter().map(pair).collect::<BTreeMap<_, _>>()).unwrap()
}

/// What is refused, or what is filled in and said.
type Outcome = Result<(Vec<(&'static str, String)>, Vec<String>), Vec<String>>;

fn outcome(namespace: &Namespace, annotations: &[(&str, &str)], request: u64) -> Outcome {
    let asked = settings(annotations);
    let request = MilliCpu::new(request);
    let mut allotment = Allotment::within_bounds(&asked, Some(request), namespace);
    if allotment.faults.is_empty() {
        allotment = allotment.within_totals(request);
    }
    if allotment.faults.is_empty() {
        Ok((allotment.fills(), allotment.warnings))
    } else {
        Err(allotment.faults)
    }
}

fn filled(
    namespace: &Namespace,
    annotations: &[(&str, &str)],
    request: u64,
) -> Vec<(&'static str, String)> {
    outcome(namespace, annotations, request).unwrap().0
}

fn one_fault(namespace: &Namespace, annotations: &[(&str, &str)], request: u64) -> String {
    let faults = outcome(namespace, annotations, request).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults[0].clone()
}

#[test]
fn without_a_policy_nothing_is_filled_in_and_nothing_refused() {
    let silent = namespace(json!({}));
    assert_eq!(filled(&silent, &[], 100), []);
    let most = [
        ("mbcas.budget", "1000000"),
        ("mbcas.maxCPU", "10k"),
        ("mbcas.mode", "auto"),
    ];
    assert_eq!(filled(&silent, &most, 100), []);
}

#[test]
fn defaults_are_written_on_the_pod() {
    let policy = json!({"budget": {"default": 50}, "cpu": {"minPerPod": "200m", "maxPerPod": 4}, "mode": "recommend"});
    let namespace = namespace(policy);
    let expected = [
        (BUDGET, "50".to_owned()),
        (MIN_CPU, "200m".to_owned()),
        (MAX_CPU, "4".to_owned()),
        (MODE, "recommend".to_owned()),
    ];
    assert_eq!(filled(&namespace, &[], 100), expected);
    // A request above the least floor is a floor of its own, and what is written and fits stands.
    let own = [
        ("mbcas.budget", "70"),
        ("mbcas.maxCPU", "2"),
        ("mbcas.mode", "observe"),
    ];
    assert_eq!(filled(&namespace, &own, 300), []);
}

#[test]
fn a_default_fits_into_bounds_that_name_none() {
    assert_eq!(
        filled(&namespace(json!({"budget": {"max": 20}})), &[], 100),
        [(BUDGET, "20".to_owned())]
    );
    assert_eq!(
        filled(&namespace(json!({"budget": {"min": 200}})), &[], 100),
        [(BUDGET, "200".to_owned())]
    );
    assert_eq!(
        filled(&namespace(json!({"budget": {"total": 30}})), &[], 100),
        [(BUDGET, "30".to_owned())]
    );
    assert_eq!(
        filled(&namespace(json!({"budget": {"max": 200}})), &[], 100),
        []
    );
}

#[test]
fn what_is_out_of_bounds_is_refused_with_the_bound_and_a_mend() {
    let policy = json!({
        "budget": {"min": 10, "max": 600}, "cpu": {"minPerPod": "50m", "maxPerPod": "4"},
        "mode": "recommend", "optOut": "Deny",
    });
    let namespace = namespace(policy);
    assert_eq!(
        one_fault(&namespace, &[("mbcas.budget", "900")], 100),
        "annotation mbcas.budget=\"900\" is refused: BudgetPolicy shop/default allows 10 to 600; \
         write for example \"600\", or ask its administrator for more"
    );
    let cases = [
        (
            "mbcas.budget",
            "9",
            "allows 10 to 600; write for example \"10\"",
        ),
        (
            "mbcas.maxCPU",
            "4001m",
            "allows 4000m at most; write for example \"4\"",
        ),
        (
            "mbcas.maxCPU",
            "40m",
            "allows 50m at least; write for example \"50m\"",
        ),
        (
            "mbcas.minCPU",
            "40m",
            "allows 50m at least; write for example \"50m\"",
        ),
        (
            "mbcas.minCPU",
            "5",
            "allows 4000m at most; write for example \"4\"",
        ),
        (
            "mbcas.mode",
            "auto",
            "allows recommend at most; write for example \"recommend\"",
        ),
        ("mbcas.enabled", "false", "lets no pod opt out; remove it"),
    ];
    for (key, value, why) in cases {
        let fault = one_fault(&namespace, &[(key, value)], 30);
        assert!(fault.contains(key) && fault.contains(why), "{fault}");
    }
    let fault = one_fault(&namespace, &[], 5_000);
    assert!(fault.starts_with("the container requests 5000m"), "{fault}");
}

#[test]
fn clamping_lowers_writes_and_says_so() {
    let policy = json!({
        "budget": {"min": 10, "max": 600}, "cpu": {"minPerPod": "50m", "maxPerPod": "4"}, "mode": "observe",
        "onExceed": "Clamp",
    });
    let namespace = namespace(policy);
    let asked = [
        ("mbcas.budget", "900"),
        ("mbcas.minCPU", "20m"),
        ("mbcas.maxCPU", "8"),
        ("mbcas.mode", "auto"),
    ];
    let (fills, warnings) = outcome(&namespace, &asked, 100).unwrap();
    let expected = [
        (BUDGET, "600".to_owned()),
        (MIN_CPU, "50m".to_owned()),
        (MAX_CPU, "4".to_owned()),
        (MODE, "observe".to_owned()),
    ];
    assert_eq!(fills, expected);
    assert_eq!(warnings.len(), 4);
    assert!(
        warnings.contains(&"mbcas: mbcas.budget is 600 instead of 900: BudgetPolicy shop/default allows 10 to 600".to_owned()),
        "{warnings:?}"
    );
    assert!(warnings.iter().all(|warning| warning.len() <= 256));
    // Neither a request above the cap nor an opt-out can be clamped.
    assert!(outcome(&namespace, &[], 5_000).is_err());
}

/// 1000 in all and two cores of floors, of which 3 pods hold 950 and 1900m.
fn nearly_full(on_exceed: &str) -> Namespace {
    let policy = json!({"budget": {"total": 1000, "min": 10}, "cpu": {"floorTotal": 2}, "onExceed": on_exceed});
    let mut namespace = namespace(policy);
    namespace.held = Held {
        pods: 3,
        budget: 950,
        floors: MilliCpu::new(1_900),
    };
    namespace
}

#[test]
fn what_does_not_fit_beside_the_others_is_refused() {
    let namespace = nearly_full("Deny");
    assert_eq!(filled(&namespace, &[("mbcas.budget", "50")], 100), []);
    assert_eq!(
        one_fault(&namespace, &[("mbcas.budget", "51")], 100),
        "annotation mbcas.budget=\"51\" is refused: BudgetPolicy shop/default has 50 of 1000 left beside 3 pods; \
         write for example \"50\", or ask its administrator for more"
    );
    let default = one_fault(&namespace, &[], 100);
    assert!(
        default.starts_with("the default of annotation mbcas.budget, \"100\", is refused"),
        "{default}"
    );
    let floor = one_fault(
        &namespace,
        &[("mbcas.budget", "10"), ("mbcas.minCPU", "110m")],
        50,
    );
    assert!(
        floor.contains(
            "has 100m of 2000m for floors left beside 3 pods; write for example \"100m\""
        ),
        "{floor}"
    );
    // The request is a floor that no annotation lowers.
    let request = one_fault(
        &namespace,
        &[("mbcas.budget", "10"), ("mbcas.minCPU", "10m")],
        110,
    );
    assert!(request.contains("; remove pods, or ask"), "{request}");
}

#[test]
fn where_nothing_is_left_the_mend_is_not_a_smaller_number() {
    let mut namespace = nearly_full("Deny");
    namespace.held = Held {
        pods: 4,
        budget: 2_000,
        floors: MilliCpu::new(1_995),
    };
    let faults = outcome(&namespace, &[("mbcas.budget", "10")], 10).unwrap_err();
    assert_eq!(faults.len(), 2);
    assert!(
        faults
            .iter()
            .all(|fault| fault.contains("; remove pods, or ask")),
        "{faults:?}"
    );
}

#[test]
fn clamping_to_what_is_left_stops_at_the_least_there_is() {
    let namespace = nearly_full("Clamp");
    let asked = [("mbcas.budget", "300"), ("mbcas.minCPU", "500m")];
    let (fills, warnings) = outcome(&namespace, &asked, 50).unwrap();
    assert_eq!(
        fills,
        [(BUDGET, "50".to_owned()), (MIN_CPU, "100m".to_owned())]
    );
    assert_eq!(warnings.len(), 2);

    let mut full = nearly_full("Clamp");
    full.held = Held {
        pods: 4,
        budget: 2_000,
        floors: MilliCpu::new(3_000),
    };
    let (fills, warnings) = outcome(&full, &[("mbcas.budget", "10")], 10).unwrap();
    assert_eq!(fills, []);
    assert!(
        warnings[0].contains("mbcas.budget=10 overdraws what is left"),
        "{warnings:?}"
    );
}
