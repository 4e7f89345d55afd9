fn main() -> std::io::Result<()> {
    let files = ["common", "dir", "mrc", "osd"].map(|name| format!("../../proto/{name}.proto"));
    // They lie outside of this package, where Cargo does not look by itself.
    println!("cargo::rerun-if-changed=../../proto");
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    tonic_prost_build::configure()
        .bytes(".")
        .file_descriptor_set_path(out.join("xtfs.bin"))
        .compile_protos(&files, &["../../proto".into()])
}
