//! How a static agent is linked: at a fixed address.
//!
//! A static executable that may be loaded anywhere corrects some 5,000 of its own pointers at its
//! start, and each page of those becomes memory of its own: 100 kB in every pod.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| {
        std::env::var(name).is_ok_and(|all| all.split(',').any(|one| one == value))
    };
    if is("CARGO_CFG_TARGET_FEATURE", "crt-static") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        // Of contradicting ones the linker driver takes the last.
        println!("cargo::rustc-link-arg-bins=-no-pie");
        println!("cargo::rustc-link-arg-bins=-static");
    }
}
