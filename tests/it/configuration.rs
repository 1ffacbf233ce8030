//! The documents about settings against the settings: both files are made by the program, so they
//! cannot drift.

use crate::tidy::root;
use parlance::config::Config;

/// Asserts that a file of the repository is what the program prints.
#[track_caller]
fn expect_made(file: &str, made: &str) {
    let kept = std::fs::read_to_string(root().join(file)).unwrap();
    assert!(kept == made, "{file} is old; write it anew: make docs");
}

#[test]
fn the_page_about_settings_is_made_from_them() {
    expect_made("docs/configuration.md", &Config::markdown());
}

#[test]
fn the_example_file_is_made_from_the_settings() {
    expect_made(".env.example", &Config::example());
}

#[test]
fn the_example_file_sets_nothing_but_defaults() {
    let lines = Config::example();
    let settings = lines.lines().filter_map(|line| line.strip_prefix('#'));
    let settings = settings.filter(|line| !line.starts_with(' ') && !line.is_empty());
    let vars = settings
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::from_vars(&vars.collect()).unwrap();
    assert_eq!(config.to_string(), Config::default().to_string());
}
