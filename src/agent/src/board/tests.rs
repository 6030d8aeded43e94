use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Wake, Waker};

use mbcas_core::demand::queue_pressure;
use prometheus::TextEncoder;
use proptest::prelude::*;

use super::*;

const TICK: Duration = Duration::from_millis(100);

fn board() -> Board {
    let line = [
        "agent",
        "--namespace",
        "shop",
        "--pod",
        "web-1",
        "--container",
        "app",
    ];
    Board::new(Config::from_args(line)).unwrap()
}

fn pressures(accept: Option<f64>, app: Option<f64>) -> Pressures {
    Pressures::default()
        .with(Source::AcceptQueue, accept)
        .with(Source::AppQueue, app)
}

fn text(board: &Board) -> String {
    TextEncoder::new()
        .encode_to_string(&board.metrics().gather())
        .unwrap()
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|l| l == line)
}

#[test]
fn the_greatest_pressure_counts() {
    let second = Duration::from_secs(1);
    for (accept, app, expected) in [
        (Some(0.2), Some(0.8), 0.4),
        (Some(0.8), Some(0.2), 0.4),
        (None, Some(0.8), 0.4),
        (Some(0.6), None, 0.3),
    ] {
        let reading = Smoother::default().read(pressures(accept, app), None, second);
        let intensity = reading.intensity.unwrap();
        assert!((intensity - expected).abs() < 1e-9, "{reading:?}");
    }
}

#[test]
fn nothing_known_is_a_reading_without_intensity() {
    let mut smoother = Smoother::default();
    let first = smoother.read(pressures(Some(1.0), None), None, TICK);
    assert!(first.sequence == 1 && first.intensity > Some(0.0));
    let unknown = smoother.read(pressures(None, None), Some(0.25), TICK);
    assert_eq!((unknown.intensity, unknown.sequence), (None, 2));
    assert_eq!(unknown.need, Some(0.25));
    // It goes on from what it was before.
    let again = smoother.read(pressures(Some(1.0), None), None, TICK);
    assert!(again.sequence == 3 && again.intensity > first.intensity);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_knows_nothing_says_so_and_does_not_rise() {
    let board = board();
    assert_eq!(board.report().unwrap_err(), "no sample was taken yet");
    board.put(Smoother::default().read(pressures(None, None), None, TICK));
    let report = board.report().unwrap();
    assert_eq!((report.demand_intensity, report.sequence), (None, 1));
    assert!(!text(&board).contains(METRIC));
    let risen = board.rises_to(Demand::from_basis_points(0));
    let waited = tokio::time::timeout(Duration::from_secs(1), risen).await;
    assert!(waited.is_err(), "it rose to 0");
}

/// How often a task was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn who_waits_for_a_jump_is_not_woken_for_less() {
    let board = board();
    let put = |intensity| {
        board.put(Reading {
            intensity,
            sequence: 1,
            pressures: Pressures::default(),
            need: None,
        });
    };
    put(Some(0.1));
    let [patient, woken] = [Arc::new(Woken::default()), Arc::new(Woken::default())];
    let times = |who: &Arc<Woken>| who.0.load(Ordering::Relaxed);
    let poll = |who: &Arc<Woken>, future: Pin<&mut dyn Future<Output = ()>>| {
        let waker = Waker::from(Arc::clone(who));
        future.poll(&mut Context::from_waker(&waker)).is_ready()
    };
    let mut at_9000 = Box::pin(board.rises_to(Demand::from_basis_points(9_000)));
    let mut at_5000 = Box::pin(board.rises_to(Demand::from_basis_points(5_000)));
    assert!(!poll(&patient, at_9000.as_mut()) && !poll(&woken, at_5000.as_mut()));
    for intensity in [Some(0.4), None, Some(0.4999), Some(0.0)] {
        put(intensity);
    }
    assert_eq!((times(&patient), times(&woken)), (0, 0));
    put(Some(0.5));
    assert_eq!((times(&patient), times(&woken)), (1, 1));
    assert!(poll(&woken, at_5000.as_mut()) && !poll(&patient, at_9000.as_mut()));
    // It still waits, and for no less than before.
    put(Some(0.8));
    assert_eq!(times(&patient), 1);
    put(Some(0.9));
    assert_eq!(times(&patient), 2);
    put(Some(0.0));
    let mut late = Box::pin(board.rises_to(Demand::from_basis_points(9_000)));
    assert!(!poll(&patient, at_9000.as_mut()) && !poll(&woken, late.as_mut()));
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_grew_old_leaves_the_metrics() {
    let board = board();
    assert!(!text(&board).contains(METRIC));
    let pressure = queue_pressure(4);
    board.put(Smoother::default().read(
        pressures(Some(pressure), None),
        Some(0.25),
        Duration::from_secs(1),
    ));
    let fresh = text(&board);
    let sample = r#"mbcas_demand_intensity{container="app",namespace="shop",pod="web-1"} 0.25"#;
    assert!(has(&fresh, sample), "{fresh}");
    assert!(
        has(&fresh, r#"mbcas_agent_pressure{source="accept_queue"} 0.5"#),
        "{fresh}"
    );
    assert!(
        !fresh.contains(r#"mbcas_agent_pressure{source="app_queue"}"#),
        "{fresh}"
    );
    assert!(has(&fresh, "mbcas_agent_need_cores 0.25"), "{fresh}");
    assert_eq!(board.report().unwrap().need_millicores, Some(250));

    tokio::time::advance(Duration::from_millis(DemandReport::MAX_AGE_MS)).await;
    assert!(text(&board).contains(METRIC));
    tokio::time::advance(Duration::from_millis(1)).await;
    let old = text(&board);
    for gone in [METRIC, "mbcas_agent_pressure{", "mbcas_agent_need_cores"] {
        assert!(!old.contains(gone), "{gone} is in {old}");
    }
    assert_eq!(board.report().unwrap().age_ms, DemandReport::MAX_AGE_MS + 1);
}

#[test]
fn the_node_s_pressure_is_shown_while_it_is_known() {
    let board = board();
    let name = "mbcas_agent_node_pressure";
    assert!(!text(&board).contains(name));
    board.put_node(Some(0.5));
    let known = text(&board);
    assert!(has(&known, "mbcas_agent_node_pressure 0.5"), "{known}");
    board.put_node(None);
    assert!(!text(&board).contains(name));
}

#[test]
fn a_need_is_rounded_up_and_never_overflows() {
    let needs = [0.0, 0.0001, 0.25, 1e300].map(millicores);
    assert_eq!(needs, [0, 1, 250, u64::MAX]);
}

#[test]
fn outcomes_are_counted_by_source() {
    let board = board();
    let mut watch = Watch::new(Source::AppQueue, &board);
    assert_eq!(watch.note(Ok::<_, String>(7)), Some(7));
    assert_eq!(watch.note(Err::<i32, _>("late".to_owned())), None);
    assert!(watch.fails());
    assert_eq!(watch.note(Ok::<_, String>(8)), Some(8));
    assert!(!watch.fails());
    let text = text(&board);
    assert!(
        has(&text, r#"mbcas_agent_samples_total{source="app_queue"} 3"#),
        "{text}"
    );
    assert!(
        has(
            &text,
            r#"mbcas_agent_sample_errors_total{source="app_queue"} 1"#
        ),
        "{text}"
    );
    assert!(
        has(
            &text,
            r#"mbcas_agent_sample_errors_total{source="accept_queue"} 0"#
        ),
        "{text}"
    );
    assert!(text.contains("mbcas_agent_build_info{version=\""), "{text}");
}

/// What a test says of a source.
#[derive(thiserror::Error, Debug)]
enum Trouble {
    #[error("late")]
    Late,
    #[error("status {0}")]
    Status(u16),
}

fn said(watch: &Watch<Trouble>) -> Option<&str> {
    watch.said.as_ref().map(|(_, words)| &**words)
}

/// How many lines a source that does `outcome` once a second writes in so many seconds.
async fn lines(seconds: u32, outcome: impl Fn(u32) -> Result<(), Trouble>) -> u32 {
    let mut watch = Watch::new(Source::AppQueue, &board());
    let mut lines = 0;
    for second in 0..seconds {
        watch.note(outcome(second));
        lines += u32::from(watch.told[LINES - 1] == Some(Instant::now()));
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    lines
}

#[tokio::test(start_paused = true)]
async fn a_source_that_comes_and_goes_has_few_lines_in_the_log() {
    let always = lines(3_600, |_| Err(Trouble::Late)).await;
    assert_eq!(always, 1);
    let each_second_time = lines(3_600, |second| {
        (second % 2 == 0).then_some(()).ok_or(Trouble::Late)
    });
    let each_second_time = each_second_time.await;
    assert!((3..=64).contains(&each_second_time), "{each_second_time}");
}

#[tokio::test(start_paused = true)]
async fn another_failure_of_the_same_kind_is_told_and_what_is_told_at_last_is_so() {
    let mut watch = Watch::new(Source::AppQueue, &board());
    let minute = Duration::from_mins(1);
    watch.note::<()>(Err(Trouble::Status(302)));
    assert_eq!(said(&watch), Some("status 302"));
    tokio::time::advance(minute).await;
    watch.note::<()>(Err(Trouble::Status(500)));
    assert_eq!(said(&watch), Some("status 500"));
    // It comes and goes until no more is told, and stays away.
    for _ in 0..20 {
        watch.note(Ok(()));
        watch.note::<()>(Err(Trouble::Late));
    }
    watch.note(Ok(()));
    tokio::time::advance(minute).await;
    assert_eq!(said(&watch), Some("late"));
    tokio::time::advance(4 * minute).await;
    watch.note(Ok(()));
    assert_eq!(said(&watch), None);
}

proptest! {
    #[test]
    fn whatever_happens_an_intensity_is_from_0_to_1(
        samples in prop::collection::vec((any::<Option<u64>>(), any::<Option<u64>>(), any::<Duration>()), 0..50)
    ) {
        let mut smoother = Smoother::default();
        for (accept, app, elapsed) in samples {
            let both = pressures(accept.map(queue_pressure), app.map(queue_pressure));
            let reading = smoother.read(both, None, elapsed);
            prop_assert_eq!(reading.intensity.is_some(), accept.or(app).is_some());
            let known = reading.intensity.unwrap_or_default();
            prop_assert!((0.0..=1.0).contains(&known), "{reading:?}");
        }
    }

    #[test]
    fn a_steady_queue_is_approached_from_one_side(queue in 1u64..1000) {
        let mut smoother = Smoother::default();
        let target = queue_pressure(queue);
        let mut before = 0.0;
        for _ in 0..300 {
            let now = smoother.read(pressures(Some(target), None), None, TICK).intensity.unwrap();
            prop_assert!(before <= now && now <= target + 1e-12);
            before = now;
        }
        prop_assert!(target - before < 1e-6);
    }
}
