//! Tells cargo that the program holds the migrations: without this, a migration that is only added would not be built
//! in until something else changes.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
