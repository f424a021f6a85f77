//! The process is in the library, whose futures are then compiled once, and not again for this file.

fn main() -> std::process::ExitCode {
    shop_audit::process::main()
}
