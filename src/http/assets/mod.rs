//! The page: its files as the program holds them, and as a proxy has them on its disk.

pub(crate) mod files;
mod publish;
