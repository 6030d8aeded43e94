use std::time::Duration;

use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// A gathering stream, and its peer, between whom so many bytes are on the way at most.
fn pair(room: usize) -> (Gather<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(room);
    (Gather::new(near), far)
}

/// What has arrived.
fn arrived(peer: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = vec![0; 2 * MOST];
    let length = peer
        .read(&mut bytes)
        .now_or_never()
        .map_or(0, Result::unwrap);
    bytes.truncate(length);
    bytes
}

/// Looks for input, of which there is none.
fn look(stream: &mut Gather<DuplexStream>) {
    assert!(stream.read_u8().now_or_never().is_none());
}

fn write(stream: &mut Gather<DuplexStream>, bytes: &[u8]) {
    stream.write_all(bytes).now_or_never().unwrap().unwrap();
    stream.flush().now_or_never().unwrap().unwrap();
}

#[test]
fn what_is_written_goes_out_in_one_as_soon_as_input_is_looked_for() {
    let (mut stream, mut peer) = pair(1_000);
    write(&mut stream, b"one ");
    write(&mut stream, b"two");
    assert_eq!(arrived(&mut peer), b"");
    look(&mut stream);
    assert_eq!(arrived(&mut peer), b"one two");
    look(&mut stream);
    assert_eq!(arrived(&mut peer), b"");
}

#[tokio::test(start_paused = true)]
async fn whoever_flushes_is_woken_to_look_for_input() {
    let (mut stream, mut peer) = pair(1_000);
    let serve = async move {
        write(&mut stream, b"answer");
        // As a connection does: it writes what is ready, and waits for more to do.
        let mut flushed = false;
        std::future::poll_fn(move |cx| {
            if !flushed {
                flushed = true;
                assert!(Pin::new(&mut stream).poll_flush(cx).is_ready());
                return Poll::Pending;
            }
            let mut byte = [0];
            Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut byte))
        })
        .await
    };
    let mut answer = [0; 6];
    tokio::select! {
        ended = serve => panic!("{ended:?}"),
        () = tokio::time::sleep(Duration::from_secs(1)) => panic!("not woken"),
        read = peer.read_exact(&mut answer) => assert_eq!(read.unwrap(), 6),
    }
    assert_eq!(&answer, b"answer");
}

#[test]
fn where_the_peer_takes_nothing_it_is_kept_up_to_a_bound_and_nothing_is_lost() {
    let (mut stream, mut peer) = pair(1_000);
    let bytes: Vec<u8> = (0..MOST).map(|at| at.to_le_bytes()[0]).collect();
    write(&mut stream, &bytes);
    assert!(stream.write_all(b"!").now_or_never().is_none(), "the bound");
    assert!(stream.flush().now_or_never().is_none(), "not a lie now");
    let mut seen = Vec::new();
    while seen.len() < MOST {
        seen.extend(arrived(&mut peer));
        look(&mut stream);
    }
    assert_eq!(seen, bytes);
    write(&mut stream, b"!");
    look(&mut stream);
    assert_eq!(arrived(&mut peer), b"!");
    assert!(stream.gathered.capacity() <= KEPT);
}

#[test]
fn what_was_written_before_the_input_ended_goes_out() {
    let (mut stream, mut peer) = pair(1_000);
    write(&mut stream, b"answer");
    peer.shutdown().now_or_never().unwrap().unwrap();
    assert!(stream.read_u8().now_or_never().unwrap().is_err());
    assert_eq!(arrived(&mut peer), b"answer");
}

#[test]
fn the_end_comes_after_everything_else() {
    let (mut stream, mut peer) = pair(1_000);
    write(&mut stream, b"last words");
    stream.shutdown().now_or_never().unwrap().unwrap();
    let mut heard = Vec::new();
    peer.read_to_end(&mut heard)
        .now_or_never()
        .unwrap()
        .unwrap();
    assert_eq!(heard, b"last words");
}
