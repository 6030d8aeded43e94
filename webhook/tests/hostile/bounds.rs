//! The ends that the server sets to what one connection may do, each seen on the wire.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::client::Target;
use super::scene;

/// When a connection has to be closed on which something was begun and does not go on: after five
/// seconds, which are looked at once a second, on a machine that has other work as well.
const CLOSED: std::ops::Range<Duration> = Duration::from_millis(4_500)..Duration::from_secs(9);

/// How HTTP/2 begins: the preface, and settings that say nothing.
const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// A frame of HTTP/2 (RFC 9113, section 4.1).
struct Frame {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
}

const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const ENHANCE_YOUR_CALM: u32 = 11;

async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await?;
    let [.., kind, flags, _, _, _, _] = head;
    Ok(Frame {
        kind,
        flags,
        payload,
    })
}

/// The server's own settings, by number.
async fn settings(stream: &mut (impl AsyncRead + Unpin)) -> Vec<(u16, u32)> {
    loop {
        let frame = frame(stream).await.unwrap();
        if (frame.kind, frame.flags) == (SETTINGS, 0) {
            let number = |bytes: &[u8]| u16::from_be_bytes(bytes[..2].try_into().unwrap());
            let value = |bytes: &[u8]| u32::from_be_bytes(bytes[2..].try_into().unwrap());
            let entries = frame.payload.chunks_exact(6);
            return entries.map(|bytes| (number(bytes), value(bytes))).collect();
        }
    }
}

#[test]
fn a_connection_may_ask_a_hundred_things_at_once_and_not_take_them_all_back() {
    scene::alone(async |target: Target| {
        let mut stream = target.tls("h2").await.unwrap();
        stream.write_all(BEGIN).await.unwrap();
        let settings = settings(&mut stream).await;
        assert!(
            settings.contains(&(MAX_CONCURRENT_STREAMS, 100)),
            "{settings:?}"
        );
        // GET https /, and taken back at once, on two hundred streams.
        let mut flood = Vec::new();
        for stream in (1_u32..400).step_by(2) {
            flood.extend([0, 0, 3, 1, 5]);
            flood.extend(stream.to_be_bytes());
            flood.extend([0x82, 0x87, 0x84]);
            flood.extend([0, 0, 4, 3, 0]);
            flood.extend(stream.to_be_bytes());
            flood.extend(8_u32.to_be_bytes());
        }
        stream.write_all(&flood).await.unwrap();
        let gone = async {
            loop {
                let frame = frame(&mut stream).await.expect("no word of farewell");
                if frame.kind == GOAWAY {
                    return u32::from_be_bytes(frame.payload[4..8].try_into().unwrap());
                }
            }
        };
        let why = tokio::time::timeout(Duration::from_secs(5), gone).await;
        assert_eq!(why.expect("the connection goes on"), ENHANCE_YOUR_CALM);
    });
}

#[test]
fn what_is_begun_and_does_not_go_on_is_closed() {
    scene::alone(async |target: Target| {
        let head = b"POST /inject HTTP/1.1\r\nHost: x\r\nContent-";
        let whole = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n";
        let tls = || target.tls("http/1.1");
        let silent = closed(target.tcp(), b"");
        // The beginning of a ClientHello of 512 bytes.
        let hello = closed(
            target.tcp(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        );
        let quiet = closed(tls(), b"");
        let first = closed(tls(), head);
        let second = [&whole[..], &head[..]].concat();
        let second = closed(tls(), &second);
        let took = tokio::join!(silent, hello, quiet, first, second);
        let (silent, hello, quiet, first, second) = took;
        for (what, took) in [
            ("a connection that says nothing", silent),
            ("half a handshake", hello),
            ("a handshake and nothing after it", quiet),
            ("half a head", first),
            ("half a second head", second),
        ] {
            assert!(CLOSED.contains(&took), "{what} was closed after {took:?}");
        }
    });
}

/// How long it takes until the server has closed a connection on which `said` was all that came.
async fn closed<S: AsyncRead + AsyncWrite + Unpin>(
    connect: impl Future<Output = io::Result<S>>,
    said: &[u8],
) -> Duration {
    let begin = Instant::now();
    let mut stream = connect.await.unwrap();
    stream.write_all(said).await.unwrap();
    let mut answer = Vec::new();
    // A close without farewell is one, too.
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(CLOSED.end * 2, read).await;
    begin.elapsed()
}
