//! What a command is given to read.

use std::io::{self, Read};
use std::path::Path;

/// The text of `file`; of standard input for `-`.
///
/// # Errors
/// The system's own.
pub fn read(file: &Path) -> io::Result<String> {
    if file != Path::new("-") {
        return std::fs::read_to_string(file);
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(text)
}
