//! What writes are worth.

use super::*;

/// At most one of ten writes of "resize all", which sets every limit to its grant in each cycle, and no more than
/// 1 % of welfare lost, neither against that nor against the same limits written whenever they differ.
fn few_writes_do(name: &str) {
    let hour = counted(name, 5, 60);
    let kinds = [Kind::ResizeAll, Kind::Unguarded, Kind::Market];
    let [all, unguarded, ours] = kinds.map(|kind| run(&hour, kind, 1));
    let writes = |outcome: &Outcome| outcome.pods.iter().map(|pod| pod.writes).sum::<u64>();
    assert!(
        writes(&ours) * 10 <= writes(&all),
        "{} for {}",
        writes(&ours),
        writes(&all)
    );
    for other in [&all, &unguarded] {
        let (ours, other) = (ours.welfare(), other.welfare());
        assert!(ours >= other * 0.99, "{ours} for {other}");
    }
}

/// An hour with a day's tide beside a hog, whose requests its weight does not follow.
#[test]
fn few_writes_do_what_many_would_where_there_is_room() {
    few_writes_do("trace-0.6-equal");
}

/// The same where the tide goes above what the node has.
#[test]
fn few_writes_do_what_many_would_in_a_crowd() {
    few_writes_do("trace-0.8-right");
}
