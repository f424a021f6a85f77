//! The process is in the library, whose futures are then compiled once, and not again for this file.

fn main() -> anyhow::Result<std::process::ExitCode> {
    photo_worker::process::main()
}
