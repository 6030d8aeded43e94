//! How a static agent is linked: at a fixed address, and with what runs at its head.
//!
//! A static executable that may be loaded anywhere corrects some 5,000 of its own pointers at its
//! start, and each page of those becomes memory of its own: 100 kB in every pod.
//!
//! The kernel maps sixteen pages at each fault. Where functions that run lie among those that never do, as
//! compiler and C library leave them, nearly all of the binary becomes resident. `order.txt` names those that
//! run, as `deploy/bench/agent-order.sh` has seen them; a name that is not there any more means nothing.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=order.txt");
    let is = |name: &str, value: &str| {
        std::env::var(name).is_ok_and(|all| all.split(',').any(|one| one == value))
    };
    if !is("CARGO_CFG_TARGET_FEATURE", "crt-static") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    // Of contradicting ones the linker driver takes the last.
    println!("cargo::rustc-link-arg-bins=-no-pie");
    println!("cargo::rustc-link-arg-bins=-static");
    // Where Rust links by lld, which alone knows such a list.
    if is("CARGO_CFG_TARGET_ARCH", "x86_64") {
        let list = concat!(env!("CARGO_MANIFEST_DIR"), "/order.txt");
        println!("cargo::rustc-link-arg-bins=-Wl,--symbol-ordering-file={list}");
        println!("cargo::rustc-link-arg-bins=-Wl,--no-warn-symbol-ordering");
    }
}
