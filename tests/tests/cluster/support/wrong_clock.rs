//! A process whose wall clock is wrong, on a machine whose clock is right.
//!
//! The cluster's every part goes by the node's clock, so a test cannot set that one. A process asks
//! for the time through code that the kernel maps into it (`vdso(7)`); in one process that code is
//! replaced by the system call itself with a number of seconds added to what `CLOCK_REALTIME` shows.
//! The kernel gives the process a page of its own for it: no other process sees the change.

use std::fs::File;
use std::os::unix::fs::FileExt;

use object::{Object, ObjectSymbol};

/// The function that tells the time, as `vdso(7)` names it for this machine.
const FUNCTION: &str = "__vdso_clock_gettime";

/// Makes the clock of the process `pid` show `shift` seconds more than the machine's, or fewer; 0: the same.
pub(crate) fn shift_clock(pid: i32, shift: i64) {
    let memory = format!("/proc/{pid}/mem");
    let memory = File::options().read(true).write(true).open(memory).unwrap();
    let (start, end) = vdso(pid);
    let mut image = vec![0; usize::try_from(end - start).unwrap()];
    memory.read_exact_at(&mut image, start).unwrap();
    let parsed = object::File::parse(&*image).unwrap();
    let mut symbols = parsed.dynamic_symbols();
    let function = symbols.find(|symbol| symbol.name() == Ok(FUNCTION));
    let function = function.expect(FUNCTION);
    let code = code(shift).expect("no code is written yet for this machine's instructions");
    assert!(code.len() as u64 <= function.size(), "it has no room");
    memory
        .write_all_at(&code, start + function.address())
        .unwrap();
}

/// `clock_gettime(clock, time)`, with `shift` added where the clock is `CLOCK_REALTIME` (0), for x86_64.
fn code(shift: i64) -> Option<Vec<u8>> {
    let mut code = vec![
        0xb8, 228, 0, 0, 0, // mov eax, SYS_clock_gettime
        0x0f, 0x05, // syscall
        0x85, 0xc0, 0x75, 0x11, // test eax, eax; jnz to the end
        0x85, 0xff, 0x75, 0x0d, // test edi, edi; jnz to the end
        0x48, 0xb9, // mov rcx, shift
    ];
    code.extend(shift.to_le_bytes());
    code.extend([
        0x48, 0x01, 0x0e, // add [rsi], rcx
        0xc3, // ret
    ]);
    cfg!(target_arch = "x86_64").then_some(code)
}

/// Where the kernel's code lies in the process.
fn vdso(pid: i32) -> (u64, u64) {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let line = maps.lines().find(|line| line.ends_with("[vdso]")).unwrap();
    let range = line.split(' ').next().unwrap();
    let (start, end) = range.split_once('-').unwrap();
    let address = |text| u64::from_str_radix(text, 16).unwrap();
    (address(start), address(end))
}
