//! Prometheus' answers, from a stranger's server; a real one is asked in the cluster suite (`trust`).

use std::future::pending;
use std::net::Ipv4Addr;

use mbcas_core::PodId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::*;

fn id(pod: &str) -> ContainerId {
    let pod = PodId {
        namespace: "shop".into(),
        name: pod.into(),
        uid: pod.into(),
    };
    ContainerId::new(pod, "app")
}

/// The labels of a pod that is scraped.
const WEB: &str = r#""namespace":"shop","pod":"web","exported_container":"app""#;

fn vector(result: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#)
}

fn one(labels: &str, value: &str) -> String {
    format!(r#"{{"metric":{{{labels}}},"value":[1700000000.1,"{value}"]}}"#)
}

fn read(text: &str) -> Result<Series, MonitoringError> {
    Series::read(StatusCode::OK, text.as_bytes())
}

#[test]
fn whom_it_is_about_is_what_prometheus_says() {
    let scraped = r#""namespace":"shop","pod":"web","container":"mbcas-demand-agent","exported_namespace":"bank","exported_pod":"core","exported_container":"app""#;
    let plain = r#""namespace":"shop","pod":"api","container":"app""#;
    let text = vector(&[one(scraped, "0.75"), one(plain, "0.25")].join(","));
    let series = read(&text).unwrap();
    let points = |pod| series.demand(&id(pod)).map(Demand::basis_points);
    assert_eq!((points("web"), points("api")), (Some(7_500), Some(2_500)));
    assert_eq!(points("core"), None);
}

/// What `elements` beside a readable one say of the pod `web`.
fn said(elements: &[String]) -> Option<u64> {
    let api = one(
        r#""namespace":"shop","pod":"api","container":"app""#,
        "0.25",
    );
    let all = [elements, &[api]].concat().join(",");
    let series = read(&vector(&all)).unwrap_or_else(|why| panic!("{why}: {all}"));
    let points = |pod| series.demand(&id(pod)).map(Demand::basis_points);
    assert_eq!(points("api"), Some(2_500), "{all}");
    points("web")
}

#[test]
fn what_is_no_intensity_is_not_there_and_of_two_the_greater_counts() {
    let said = |values: &[&str]| {
        let all: Vec<_> = values.iter().map(|value| one(WEB, value)).collect();
        said(&all)
    };
    for bad in ["NaN", "+Inf", "-Inf", "-1", "1.5", "", "much"] {
        assert_eq!(said(&[bad]), None, "{bad}");
    }
    assert_eq!(said(&["0.2", "0.9", "NaN", "0.5"]), Some(9_000));
}

#[test]
fn an_element_that_is_not_readable_takes_nobody_elses_word_away() {
    let histogram =
        r#""histogram":[1700000000.1,{"count":"3","sum":"1.5","buckets":[[0,"0.5","1","3"]]}]"#;
    for odd in [
        histogram,
        r#""value":[1700000000.1,0.5]"#,
        r#""value":["now","0.5"]"#,
        r#""value":[1700000000.1]"#,
        r#""value":[1700000000.1,"0.5","0.5"]"#,
        r#""value":"0.5""#,
        r#""value":null"#,
    ] {
        let odd = format!(r#"{{"metric":{{{WEB}}},{odd}}}"#);
        assert_eq!(said(std::slice::from_ref(&odd)), None, "{odd}");
        assert_eq!(said(&[odd, one(WEB, "0.5")]), Some(5_000));
    }
    for odd in [
        r#"{"value":[1700000000.1,"0.5"]}"#,
        r#"{"metric":["web"],"value":[1700000000.1,"0.5"]}"#,
        r#"{"metric":{"pod":5},"value":[1700000000.1,"0.5"]}"#,
        r#"{"metric":{"pod":"\ud800"},"value":[1700000000.1,"0.5"]}"#,
        "[]",
        "null",
    ] {
        assert_eq!(said(&[odd.to_owned(), one(WEB, "0.5")]), Some(5_000));
    }
}

#[test]
fn what_is_no_answer_says_what_to_mend() {
    let error = |status: u16, text: &str| {
        let status = StatusCode::from_u16(status).unwrap();
        Series::read(status, text.as_bytes())
            .unwrap_err()
            .to_string()
    };
    let refused = r#"{"status":"error","errorType":"bad_data","error":"1:5: parse error"}"#;
    assert!(error(400, refused).contains("refused the query: 1:5: parse error"));
    assert!(error(404, "<html>").contains("status 404"));
    for other in [
        r#"{"resultType":"scalar","result":[1.5,"1"]}"#,
        r#"{"resultType":"string","result":[1.5,"1"]}"#,
        r#"{"resultType":"matrix","result":[{"metric":{},"values":[[1.5,"1"]]}]}"#,
        r#"{"resultType":"matrix","result":[]}"#,
        r#"{"result":[]}"#,
        r#"{"resultType":"vector"}"#,
        "null",
    ] {
        let said = error(200, &format!(r#"{{"status":"success","data":{other}}}"#));
        assert!(said.contains("must return an instant vector"), "{said}");
    }
    for other in ["", "{}", "[]", "<html>"] {
        assert!(error(200, other).contains("not readable"), "{other}");
    }
    let whole = vector(&one(WEB, "1"));
    assert!(error(200, &whole[..whole.len() - 3]).contains("not readable"));
}

/// Somebody who is asked as Prometheus.
async fn stranger() -> (Monitoring, TcpListener) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = Address {
        url: format!("http://{}/base", listener.local_addr().unwrap())
            .parse()
            .unwrap(),
        authorities: None,
        token: None,
        query: QUERY.to_owned(),
    };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    (Monitoring::new(&address).unwrap(), listener)
}

/// The next connection, and what is asked on it.
async fn asked(listener: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = [0; 4096];
    let length = stream.read(&mut request).await.unwrap();
    let request = String::from_utf8_lossy(&request[..length]);
    (stream, request.into_owned())
}

/// What is made of an answer after which the connection is closed, and what was asked.
async fn told(answer: &[u8]) -> (Result<Series, MonitoringError>, String) {
    let (monitoring, listener) = stranger().await;
    let tells = async {
        let (mut stream, asked) = asked(&listener).await;
        stream.write_all(answer).await.unwrap();
        asked
    };
    tokio::join!(monitoring.series(), tells)
}

fn http(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        .into_bytes()
}

#[tokio::test]
async fn the_whole_cluster_is_one_question() {
    let (series, asked) = told(&http("200 OK", &vector(&one(WEB, "1")))).await;
    assert_eq!(series.unwrap().demand(&id("web")), Some(Demand::FULL));
    let line = asked.lines().next().unwrap();
    assert!(
        line.starts_with("GET /base/api/v1/query?query=last_over_time%28"),
        "{line}"
    );
    assert!(line.contains("%5B45s%5D"), "{line}");
}

#[tokio::test]
async fn a_prometheus_that_is_not_there_is_no_outage() {
    let (monitoring, listener) = stranger().await;
    drop(listener);
    let error = monitoring.series().await.unwrap_err();
    assert!(matches!(error, MonitoringError::Failed(_)), "{error}");
    assert!(error.to_string().contains("--prometheus-url"), "{error}");
}

#[tokio::test]
async fn what_is_cut_off_is_no_answer() {
    let error = async |answer: &str| told(answer.as_bytes()).await.0.unwrap_err();
    let begun = r#"{"status":"success","data":{"#;
    for head in ["Content-Length: 900", "Transfer-Encoding: chunked"] {
        let chunk = if head.ends_with("chunked") {
            "384\r\n"
        } else {
            ""
        };
        let error = error(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{chunk}{begun}")).await;
        assert!(matches!(error, MonitoringError::Body), "{head}: {error}");
    }
    // Where nothing says how long it is, it ends with the connection.
    let until_closed = error(&format!("HTTP/1.1 200 OK\r\n\r\n{begun}")).await;
    let is_malformed = matches!(until_closed, MonitoringError::Malformed(_));
    assert!(is_malformed, "{until_closed}");
    for head in ["", "HTTP/1.1 200 O", "220 smtp.shop ESMTP\r\n"] {
        let error = error(head).await;
        assert!(
            matches!(error, MonitoringError::Failed(_)),
            "{head:?}: {error}"
        );
    }
}

#[tokio::test]
async fn a_page_for_people_is_no_answer() {
    let page = http("503 Service Unavailable", "<html><h1>No server</h1></html>");
    let error = told(&page).await.0.unwrap_err();
    let status = StatusCode::SERVICE_UNAVAILABLE;
    assert!(
        matches!(error, MonitoringError::Status(is) if is == status),
        "{error}"
    );
}

#[tokio::test]
async fn nobody_is_asked_but_the_address_that_was_named() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = std::net::TcpListener::bind(("127.0.0.2", 0)).unwrap();
        elsewhere.set_nonblocking(true).unwrap();
        let address = elsewhere.local_addr().unwrap();
        let head = format!("HTTP/1.1 {status} Elsewhere\r\nLocation: http://{address}/");
        let answer = format!("{head}\r\nContent-Length: 0\r\n\r\n");
        let error = told(answer.as_bytes()).await.0.unwrap_err();
        assert!(
            matches!(error, MonitoringError::Status(is) if is == status),
            "{error}"
        );
        let nobody = elsewhere.accept().unwrap_err();
        assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
    }
}

/// Whatever comes of it, and however slowly, a cycle has the rest of its time.
#[tokio::test]
async fn an_answer_that_is_not_there_after_3_s_is_not_waited_for() {
    for begun in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
    ] {
        let (monitoring, listener) = stranger().await;
        let (sent, has_begun) = oneshot::channel();
        let hangs = tokio::spawn(async move {
            let (mut stream, _) = asked(&listener).await;
            stream.write_all(begun.as_bytes()).await.unwrap();
            sent.send(()).unwrap();
            pending::<()>().await;
        });
        let began = Instant::now();
        let series = tokio::spawn(async move { monitoring.series().await });
        has_begun.await.unwrap();
        tokio::time::pause();
        let series = timeout(DEADLINE * 2, series).await;
        let error = series.expect("no end").unwrap().unwrap_err();
        let took = began.elapsed();
        tokio::time::resume();
        hangs.abort();
        assert!(
            matches!(error, MonitoringError::Timeout),
            "{begun:?}: {error}"
        );
        let bounds = Duration::from_millis(2_990)..Duration::from_millis(4_900);
        assert!(bounds.contains(&took), "{begun:?}: {took:?}");
    }
}

#[tokio::test]
async fn what_is_larger_than_it_may_be_is_refused_while_it_comes() {
    const MUCH: usize = 64 * 1024 * 1024;
    let (monitoring, listener) = stranger().await;
    let floods = async {
        let (mut stream, _) = asked(&listener).await;
        let mut sent = 0;
        let head = b"HTTP/1.1 200 OK\r\n\r\n".as_slice();
        let mut next = stream.write_all(head).await;
        while next.is_ok() && sent < MUCH {
            next = stream.write_all(&[b' '; 16 * 1024]).await;
            sent += 16 * 1024;
        }
        sent
    };
    let (error, sent) = tokio::join!(monitoring.ask(1024), floods);
    let error = error.unwrap_err();
    assert!(matches!(error, MonitoringError::Body), "{error}");
    // As much as the kernel keeps of a connection that nobody reads.
    assert!(sent < MUCH / 2, "{sent} bytes were taken");
}

#[tokio::test]
async fn what_says_that_it_is_larger_is_not_begun() {
    let (monitoring, listener) = stranger().await;
    let announces = async {
        let (mut stream, _) = asked(&listener).await;
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1025\r\n\r\n";
        stream.write_all(head).await.unwrap();
        // Nothing more comes, and nobody waits for it.
        stream.read(&mut [0]).await
    };
    let asks = timeout(DEADLINE, monitoring.ask(1024));
    let (error, _) = tokio::join!(asks, announces);
    let error = error.expect("it is waited for").unwrap_err();
    assert!(matches!(error, MonitoringError::Body), "{error}");
}
