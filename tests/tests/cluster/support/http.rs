//! A page over plain HTTP, from an address of this machine or of a pod on it.

use std::time::{Duration, SystemTime};

use k8s_openapi::jiff::fmt::rfc2822;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Time for one page.
const DEADLINE: Duration = Duration::from_secs(10);

/// The body of `GET path`, if the answer is 200.
pub(crate) async fn page(address: &str, path: &str) -> Result<String, String> {
    let answer = tokio::time::timeout(DEADLINE, ask(address, path)).await;
    let answer = answer.map_err(|_| format!("{address}{path}: no answer within {DEADLINE:?}"))?;
    let text = answer.map_err(|why| format!("{address}{path}: {why}"))?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| format!("{address}{path}: no HTTP"))?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status == "200" {
        Ok(body.to_owned())
    } else {
        Err(format!("{address}{path}: {status} {body}"))
    }
}

/// What the clock of whoever answers at `address` shows.
pub(crate) async fn date(address: &str) -> Result<SystemTime, String> {
    let answer = ask(address, "/livez")
        .await
        .map_err(|why| why.to_string())?;
    let date = answer.lines().find_map(|line| line.strip_prefix("date: "));
    let date = date.ok_or_else(|| format!("{address}: no date in {answer}"))?;
    let date = rfc2822::parse(date).map_err(|why| why.to_string())?;
    Ok(date.timestamp().into())
}

/// HTTP/1.0, so that the body ends with the connection and comes in one piece.
async fn ask(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The sum of all samples of `metric` in Prometheus text, if there is one.
pub(crate) fn sum_of(text: &str, metric: &str) -> Option<f64> {
    let values: Vec<f64> = mbcas_core::exposition::samples(text, metric)
        .map(|sample| sample.value)
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}
