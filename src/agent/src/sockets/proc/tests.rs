use proptest::prelude::*;

use super::*;

const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

/// Ports 8080 (five wait), 9465 (three wait), then an established and a TIME_WAIT connection.
const TCP: &str = "\
   0: 00000000:1F90 00000000:0000 0A 00000000:00000005 00:00000000 00000000 65532        0 41 1 00000000e9e477c3 100 0 0 10 0
   1: 0100007F:24F9 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 42 1 00000000e9e477c4 100 0 0 10 0
   2: 0100007F:1F90 0100007F:D2F0 01 00000000:0000004D 00:00000000 00000000 65532        0 0 1 00000000e9e477c5 20 4 0 10 -1
   3: 0100007F:1F90 0100007F:D2F1 06 00000000:00000000 03:0000176F 00000000     0        0 0 3 00000000e9e477c6
";
const TCP6: &str = "\
   0: 00000000000000000000000000000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000400 00:00000000 00000000 65532 0 43 1 00000000e9e477c7 100 0 0 10 0
";

fn waiting_in(
    name: &'static str,
    table: impl Read,
    counts: impl Fn(u16) -> bool,
) -> Result<Option<u64>, SocketError> {
    let mut sum = None;
    for_each_row(name, table, |row| add_waiting(row, &counts, &mut sum))?;
    Ok(sum)
}

fn unread_in(table: &str) -> Result<Option<u64>, SocketError> {
    let mut unread = Unread::default();
    let each = |row| add_unread(row, not_ours, &mut unread);
    for_each_row("table", table.as_bytes(), each)?;
    Ok(unread.count(std::time::Instant::now()))
}

fn read(table: &str, counts: impl Fn(u16) -> bool) -> Result<Option<u64>, SocketError> {
    waiting_in("table", table.as_bytes(), counts)
}

fn not_ours(port: u16) -> bool {
    port != 9465
}

#[test]
fn the_queues_of_listening_sockets_are_added_up() {
    let table = format!("{HEAD}{TCP}");
    assert_eq!(read(&table, |_| true).unwrap(), Some(8));
    assert_eq!(read(&table, not_ours).unwrap(), Some(5));
    assert_eq!(
        read(&format!("{HEAD}{TCP6}"), not_ours).unwrap(),
        Some(1024)
    );
    // Where nothing listens there is no queue, which is not an empty one.
    assert_eq!(read(HEAD, not_ours).unwrap(), None);
    assert_eq!(read(&table, |_| false).unwrap(), None);
}

#[test]
fn data_that_an_established_connection_holds_is_no_queue() {
    let (_, established) = TCP.split_once("   2:").unwrap();
    assert_eq!(
        read(&format!("{HEAD}   2:{established}"), |_| true).unwrap(),
        None
    );
}

#[test]
fn an_accepted_connection_with_unread_bytes_is_a_request_that_waits() {
    let row = TCP.lines().nth(2).unwrap();
    let accepted = row.replace("65532        0 0 1", "65532        0 44 1");
    assert_ne!(row, accepted);
    let table = |row: &str| format!("{HEAD}{TCP}{row}\n");
    assert_eq!(unread_in(&table(&accepted)).unwrap(), Some(1));
    // Not accepted yet, read to its end, on a port of somebody else's, on the agent's own.
    assert_eq!(unread_in(&table(row)).unwrap(), Some(0));
    for (there, here) in [
        ("0000004D", "00000000"),
        (":1F90 ", ":1F92 "),
        (":1F90 ", ":24F9 "),
    ] {
        let other = accepted.replacen(there, here, 1);
        assert_ne!(other, accepted);
        assert_eq!(unread_in(&table(&other)).unwrap(), Some(0), "{other}");
    }
}

#[test]
fn any_number_of_connections_is_passed_over_unread() {
    struct Endless<'a>(&'a [u8], usize);
    impl Read for Endless<'_> {
        fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            if self.0.is_empty() {
                let row = TCP.lines().nth(2).unwrap();
                let rows = format!("{row}\n").repeat(6);
                chunk[..rows.len()].copy_from_slice(rows.as_bytes());
                return Ok(rows.len());
            }
            self.0.read(chunk)
        }
    }
    let table = format!("{HEAD}{}\n", TCP.lines().next().unwrap());
    let mut endless = Endless(table.as_bytes(), 0);
    assert_eq!(
        waiting_in("table", &mut endless, not_ours).unwrap(),
        Some(5)
    );
    assert_eq!(endless.1, 2);
}

#[test]
fn what_the_kernel_would_not_write_is_refused() {
    let row = TCP.lines().next().unwrap();
    let broken = [
        String::new(),
        "0".to_owned(),
        TCP.to_owned(),
        format!("{HEAD}\n"),
        format!("{HEAD}{row}"),
        format!("{HEAD}{}\n", row.replace(" 0A ", " 0x ")),
        format!("{HEAD}{}\n", row.replace(" 0A ", " 00A ")),
        format!("{HEAD}{}\n", row.replace("00000005", "+0000005")),
        format!("{HEAD}{}\n", row.replace("00000005", "5")),
        format!("{HEAD}{}\n", row.replace(":1F90", ":11F90")),
        format!("{HEAD}{}\n", row.replace("00000000:1F90", "0:1F90")),
        format!("{HEAD}{}\n", row.replace("0:", "a:")),
        format!("{HEAD}{}\n", row.get(..40).unwrap()),
        format!("{HEAD}{}", "x".repeat(4096)),
    ];
    for table in broken {
        assert!(
            matches!(read(&table, not_ours), Err(SocketError::Malformed("table"))),
            "{table}"
        );
    }
}

#[test]
fn an_absurd_table_is_given_up() {
    let row = format!("{}\n", TCP.lines().next().unwrap());
    let table = format!("{HEAD}{}", row.repeat(40_000));
    assert!(matches!(
        read(&table, not_ours),
        Err(SocketError::TooLarge("table", TABLE_MAX))
    ));
}

#[test]
fn a_table_that_breaks_off_is_an_error() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
    }
    assert!(matches!(
        waiting_in("table", Broken, not_ours),
        Err(SocketError::Read { .. })
    ));
}

#[test]
fn this_machine_s_own_tables_are_understood() {
    waiting(|_| true).unwrap();
    unread(|_| true, &mut Unread::default()).unwrap();
}

proptest! {
    #[test]
    fn however_a_table_is_cut_into_reads_the_sum_is_the_same(
        queues in prop::collection::vec((1u16.., 0u32..), 0..40),
        step in 1usize..200,
    ) {
        struct Cut<'a>(&'a [u8], usize);
        impl Read for Cut<'_> {
            fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
                let take = self.1.min(chunk.len());
                self.0.read(&mut chunk[..take])
            }
        }
        let rows: Vec<_> = queues.iter().enumerate().map(|(slot, (port, queue))| format!(
            "{slot:4}: 00000000:{port:04X} 00000000:0000 0A 00000000:{queue:08X} 00:00000000 00000000 0 0 1 1 0 100 0 0 10 0\n"
        )).collect();
        let table = format!("{HEAD}{}", rows.concat());
        let counted = queues.iter().filter(|(port, _)| *port != 9465).map(|(_, q)| u64::from(*q));
        let expected = counted.reduce(|sum, queue| sum + queue);
        prop_assert_eq!(waiting_in("table", Cut(table.as_bytes(), step), not_ours).unwrap(), expected);
    }

    #[test]
    fn no_garbage_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096), headed: bool) {
        let head = if headed { HEAD.as_bytes() } else { b"" };
        let _ = waiting_in("table", &[head, &bytes].concat()[..], not_ours);
    }
}
