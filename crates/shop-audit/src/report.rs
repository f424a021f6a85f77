use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// What the audit found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Orders by state, at the beginning.
    pub orders: BTreeMap<String, i64>,
    pub checks: Vec<Check>,
}

/// One rule, and what broke it.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    pub name: &'static str,
    /// Rows looked at.
    pub checked: u64,
    /// Rows that break the rule.
    pub offending: u64,
    /// The first of them, in words.
    pub rows: Vec<String>,
}

impl Check {
    /// Offending rows kept for printing.
    const ROWS_MAX: usize = 20;

    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            checked: 0,
            offending: 0,
            rows: Vec::new(),
        }
    }

    pub(crate) fn offends(&mut self, row: String) {
        self.offending += 1;
        if self.rows.len() < Self::ROWS_MAX {
            self.rows.push(row);
        }
    }
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.checks.iter().all(|check| check.offending == 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self
            .orders
            .iter()
            .map(|(state, count)| format!("{count} {state}"))
            .collect();
        writeln!(
            f,
            "orders: {}",
            if counts.is_empty() {
                "none".to_owned()
            } else {
                counts.join(", ")
            }
        )?;
        writeln!(f, "{:<28} {:>10} {:>10}", "check", "rows", "offending")?;
        for check in &self.checks {
            writeln!(f, "{:<28} {:>10} {:>10}", check.name, check.checked, check.offending)?;
        }
        for check in self.checks.iter().filter(|check| check.offending > 0) {
            writeln!(f, "\n{}:", check.name)?;
            for row in &check.rows {
                writeln!(f, "  {row}")?;
            }
            let more = check.offending - check.rows.len() as u64;
            if more > 0 {
                writeln!(f, "  and {more} more")?;
            }
        }
        Ok(())
    }
}
