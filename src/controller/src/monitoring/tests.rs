//! Prometheus' answers, from a stranger's server; a real one is asked in the cluster suite (`trust`).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread::JoinHandle;

use mbcas_core::PodId;

use super::*;

fn id(pod: &str) -> ContainerId {
    let pod = PodId {
        namespace: "shop".into(),
        name: pod.into(),
        uid: pod.into(),
    };
    ContainerId::new(pod, "app")
}

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

#[test]
fn what_is_no_intensity_is_not_there_and_of_two_the_greater_counts() {
    let web = r#""namespace":"shop","pod":"web","exported_container":"app""#;
    let said = |values: &[&str]| {
        let all: Vec<_> = values.iter().map(|value| one(web, value)).collect();
        let series = read(&vector(&all.join(","))).unwrap();
        series.demand(&id("web")).map(Demand::basis_points)
    };
    for bad in ["NaN", "+Inf", "-1", "1.5", "", "much"] {
        assert_eq!(said(&[bad]), None, "{bad}");
    }
    assert_eq!(said(&["0.2", "0.9", "NaN", "0.5"]), Some(9_000));
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
    let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"1"]}}"#;
    assert!(error(200, scalar).contains("must return an instant vector"));
    assert!(error(200, "").contains("not readable"));
}

/// Answers one connection with `answer`, and gives what it was asked.
fn server(answer: Vec<u8>) -> (Monitoring, JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = Address {
        url: format!("http://{}/base", listener.local_addr().unwrap())
            .parse()
            .unwrap(),
        authorities: None,
        token: None,
        query: QUERY.to_owned(),
    };
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        stream.write_all(&answer).unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    (Monitoring::new(&address).unwrap(), thread)
}

fn http(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test]
async fn the_whole_cluster_is_one_question() {
    let web = r#""namespace":"shop","pod":"web","exported_container":"app""#;
    let (monitoring, thread) = server(http(&vector(&one(web, "1"))));
    let series = monitoring.series().await.unwrap();
    assert_eq!(series.demand(&id("web")), Some(Demand::FULL));
    let asked = thread.join().unwrap();
    let line = asked.lines().next().unwrap();
    assert!(
        line.starts_with("GET /base/api/v1/query?query=last_over_time%28"),
        "{line}"
    );
    assert!(line.contains("%5B45s%5D"), "{line}");
}

#[tokio::test]
async fn a_prometheus_that_is_not_there_or_cuts_off_is_no_outage() {
    let (monitoring, thread) =
        server(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"status\"".to_vec());
    let error = monitoring.series().await.unwrap_err();
    assert!(matches!(error, MonitoringError::Body), "{error}");
    thread.join().unwrap();
    // The listener is gone with its thread.
    let error = monitoring.series().await.unwrap_err();
    assert!(matches!(error, MonitoringError::Failed(_)), "{error}");
    assert!(error.to_string().contains("--prometheus-url"), "{error}");
}
