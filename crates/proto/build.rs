use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // protox instead of protoc: a fresh machine has no protoc and must not need one.
    let proto = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", proto.display());
    let files = protox::compile([proto.join("frazil.proto")], [&proto])?;
    tonic_prost_build::configure().bytes(".").skip_debug([".frazil.v1.Secret"]).compile_fds(files)?;
    Ok(())
}
