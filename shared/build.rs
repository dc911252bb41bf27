//! Generates the control messages from `wire/control.proto`, without needing protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=wire/control.proto");
    let descriptors = protox::compile(["wire/control.proto"], ["wire"])?;
    prost_build::Config::new().bytes(["."]).btree_map(["."]).compile_fds(descriptors)?;
    Ok(())
}
