use super::*;

#[test]
fn every_kind_of_autoscaler_is_named_as_the_cluster_names_it() {
    let met = |kind| Met {
        kind,
        namespace: "shop".into(),
        name: "web".into(),
        uid: "u".into(),
    };
    for (kind, api, called) in [
        (
            MetKind::Horizontal,
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
        ),
        (
            MetKind::Vertical,
            "autoscaling.k8s.io/v1",
            "VerticalPodAutoscaler",
        ),
    ] {
        let reference = reference(&met(kind));
        assert_eq!(reference.api_version.as_deref(), Some(api));
        assert_eq!(reference.kind.as_deref(), Some(called));
        // An Event's note may be 1 kB long.
        assert!(event(&met(kind)).note.unwrap().len() < 1_000);
    }
}

#[test]
fn a_note_is_never_longer_than_an_event_may_have_it() {
    for (text, length) in [
        ("as it is", 8),
        (&*"a".repeat(5_000), 1_024),
        (&*"€".repeat(900), 1_023),
    ] {
        let mut note = text.to_owned();
        cut(&mut note);
        assert!(
            note.len() == length && text.starts_with(&note),
            "{}",
            note.len()
        );
    }
}
