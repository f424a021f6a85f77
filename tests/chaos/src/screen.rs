//! The terminal: lines that stay, and below them a few that change.

use std::io::{IsTerminal, Write, stderr};

/// Wider lines would wrap and could not be taken back.
const COLUMNS_MAX: usize = 118;

/// Standard error. Where that is no terminal, only lines that stay are written.
#[derive(Debug)]
pub struct Screen {
    is_silent: bool,
    is_terminal: bool,
    drawn: usize,
}

impl Default for Screen {
    fn default() -> Self {
        Self {
            is_silent: false,
            is_terminal: stderr().is_terminal(),
            drawn: 0,
        }
    }
}

impl Screen {
    /// Where nobody looks, or the terminal is somebody else's.
    pub fn silent() -> Self {
        Self {
            is_silent: true,
            ..Self::default()
        }
    }

    /// Writes a line that stays.
    pub fn say(&mut self, line: &str) {
        self.write(&format!("{}{line}\n", self.back()));
        self.drawn = 0;
    }

    /// Writes lines in place of those that were drawn before.
    pub fn draw(&mut self, lines: &[String]) {
        if !self.is_terminal || self.is_silent {
            return;
        }
        let mut text = self.back();
        for line in lines {
            let line: String = line.chars().take(COLUMNS_MAX).collect();
            text.push_str(&line);
            text.push('\n');
        }
        self.write(&text);
        self.drawn = lines.len();
    }

    /// Goes back to before what was drawn, and clears it.
    fn back(&self) -> String {
        match self.drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }

    /// A terminal that is gone is no reason to leave the stack broken.
    fn write(&self, text: &str) {
        if self.is_silent {
            return;
        }
        let _ = stderr().lock().write_all(text.as_bytes());
    }
}
