//! How the small program is linked: what only takes place in flash is left out.
//!
//! Other profiles than `router` are linked as usual.

use std::path::Path;

/// Tables that say how to unwind a stack: nobody does once a panic aborts, and without symbols nobody could read where
/// it came from either. A tenth of the program.
const NO_UNWINDING: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame .eh_frame_hdr .gcc_except_table .gcc_except_table.*) } } INSERT AFTER .text;";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let told = |name: &str| std::env::var(name).unwrap_or_default();
    // Tried with GNU ld and LLVM's, and glibc. Who packs for another system tries it there and adds it.
    let out = told("OUT_DIR");
    if !is_router(Path::new(&out)) || told("CARGO_CFG_TARGET_ENV") != "gnu" {
        return;
    }
    let script = Path::new(&out).join("no-unwinding.ld");
    std::fs::write(&script, NO_UNWINDING).expect("cargo's folder for it can be written");
    link(&format!("-Wl,-T,{}", script.display()));
    link("-Wl,--no-eh-frame-hdr");
    // Places that are moved at the start, as a map of bits instead of 24 bytes each. glibc 2.36 reads it, musl 1.2.4.
    link("-Wl,-z,pack-relative-relocs");
    // What was compiled twice to the same code is kept once. Rust promises no function an address of its own.
    // Only LLVM's linker can; Rust brings it for this system.
    if told("TARGET") == "x86_64-unknown-linux-gnu" {
        link("-Wl,--icf=all");
    }
}

/// Cargo names no profile but those it knows, and tells of no profile how it panics; its folders bear their names:
/// `router/build/kith-../out`.
fn is_router(out: &Path) -> bool {
    out.ancestors().nth(3).is_some_and(|profile| profile.ends_with("router"))
}

fn link(argument: &str) {
    println!("cargo::rustc-link-arg-bins={argument}");
}
