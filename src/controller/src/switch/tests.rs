use serde_json::json;

use super::*;
use crate::fake::{Clients, FakeApi};

fn read(pairs: &[(&str, &str)]) -> (Bound, bool) {
    let data = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let (bound, wrong) = Bound::read(&data.collect());
    (bound, wrong.is_some())
}

const FROZEN: Bound = Bound {
    most: Mode::Auto,
    is_frozen: true,
};

#[test]
fn what_it_says_is_what_holds() {
    assert_eq!(read(&[]), (Bound::NONE, false));
    assert_eq!(read(&[("frozen", "true")]), (FROZEN, false));
    assert_eq!(
        read(&[("frozen", "false\n"), ("mode", "auto")]),
        (Bound::NONE, false)
    );
    let observe = Bound {
        most: Mode::Observe,
        is_frozen: false,
    };
    assert_eq!(read(&[("mode", " observe\n")]), (observe, false));
}

#[test]
fn what_cannot_be_understood_freezes() {
    for pair in [
        ("mode", "of"),
        ("mode", ""),
        ("frozen", "yes"),
        ("Mode", "observe"),
        ("freeze", "true"),
    ] {
        assert_eq!(read(&[pair]), (FROZEN, true), "{pair:?}");
    }
    // The mode that can be understood still counts.
    let (bound, wrong) = read(&[("mode", "observe"), ("freeze", "true")]);
    assert!(wrong && bound.is_frozen && bound.most == Mode::Observe);
}

#[tokio::test]
async fn what_it_said_last_holds_while_it_cannot_be_read() {
    let api = FakeApi::shared();
    let mut switch = Switch::new(Api::namespaced(api.client(), "m"));
    let down = |is_down| api.lock().unwrap().is_down = is_down;
    let set = |data| api.lock().unwrap().switch = data;
    down(true);
    assert_eq!(switch.look().await, FROZEN);
    down(false);
    assert_eq!(switch.look().await, Bound::NONE);
    set(Some(json!({"mode": "recommend"})));
    let recommend = Bound {
        most: Mode::Recommend,
        is_frozen: false,
    };
    assert_eq!(switch.look().await, recommend);
    down(true);
    set(None);
    assert_eq!(switch.look().await, recommend);
    down(false);
    assert_eq!(switch.look().await, Bound::NONE);
}
