//! The process is in the library, whose futures are then compiled once, and not again for this file.

/// As in the balancer: small blocks apart from large ones, so that idle connections keep no pages in between.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    edge::process::main()
}
