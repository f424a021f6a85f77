//! Compiles anew when a migration is added: the compiler itself watches only the files that it has read.
fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
