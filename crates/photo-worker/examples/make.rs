//! Makes the variants of a picture into a folder, to look at: `cargo run --example make -- PICTURE FOLDER`.

use std::path::PathBuf;
use std::time::Instant;
use std::{env, fs};

use anyhow::Context as _;
use shop_queue::messages::PhotoEdits;

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let original = arguments.next().context("which picture?")?;
    let folder = arguments.next().context("into which folder?")?;
    let bytes = fs::read(&original)?;
    let started = Instant::now();
    let made = photo_worker::pipeline::make(&bytes, &PhotoEdits::default())?;
    println!("{} by {} in {:?}", made.width, made.height, started.elapsed());
    println!("placeholder: {} bytes", made.placeholder.len());
    fs::create_dir_all(&folder)?;
    for variant in &made.variants {
        println!("{:>12}: {} bytes", variant.name, variant.bytes.len());
        fs::write(folder.join(&variant.name), &variant.bytes)?;
    }
    Ok(())
}
