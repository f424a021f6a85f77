//! The run as one picture: a page that needs nothing but itself.

use std::{fmt::Write as _, time::Instant};

use crate::{
    pulse::{Kind, Pulse, Second},
    report::{Row, Summary, seconds},
};

const LABEL_WIDTH: usize = 90;
const STRIP_HEIGHT: usize = 46;
const STRIP_GAP: usize = 12;
const HEAD_HEIGHT: usize = 20;
/// A short run is stretched, a long one is scrolled.
const WIDTH_MIN: usize = 900;
const SECOND_WIDTH_MAX: usize = 6;
const TICK_SECONDS: [usize; 5] = [10, 30, 60, 300, 600];
const TICK_WIDTH_MIN: usize = 60;

const STYLE: &str = "
body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }
.scroll { overflow-x: auto } svg text { font: 11px system-ui, sans-serif; fill: #555 }
.ok { fill: #4a8f5d } .failed { fill: #c0392b } .none { fill: #f3d9a4 }
.hurt { fill: #c0392b; opacity: .16 } .mending { fill: #d9a441; opacity: .16 }
table { border-collapse: collapse; margin-top: 1.5rem } td, th { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #ddd }
.bad { color: #c0392b; font-weight: 600 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #1b1b1b } svg text { fill: #aaa } td, th { border-color: #444 } .none { fill: #6b5a2e } }
";

/// The whole page.
pub fn page(rows: &[Row], summary: &Summary, pulse: &Pulse) -> String {
    let by_kind = pulse.seconds();
    let length = by_kind.values().map(Vec::len).max().unwrap_or(0).max(1);
    let scale = Scale::of(length);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Zillion under chaos</title><style>{STYLE}</style>\n\
         <h1>Zillion under chaos</h1>\n<p>{} faults in {}:{:02} min at {} requests a second. Green succeeded, red failed, sand: a second \
         without a success. Behind it: red while somebody was hurt, sand until all was whole. Lost: {}.</p>\n",
        rows.len(),
        length / 60,
        length % 60,
        summary.rate,
        summary.lost.len() + rows.iter().map(|row| row.lost.len()).sum::<usize>(),
    );
    let height = HEAD_HEIGHT + Kind::ALL.len() * (STRIP_HEIGHT + STRIP_GAP);
    let width = LABEL_WIDTH + scale.x(length);
    let _ = writeln!(
        page,
        "<div class=\"scroll\"><svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"Requests by kind, second by second\">"
    );
    for row in rows.iter().filter(|row| row.skipped.is_none()) {
        band(&mut page, row, pulse.started, &scale, height);
    }
    for at in (0..length).step_by(scale.tick) {
        let x = LABEL_WIDTH + scale.x(at);
        let _ = writeln!(page, "<text x=\"{x}\" y=\"12\">{}:{:02}</text>", at / 60, at % 60);
    }
    for (number, kind) in Kind::ALL.into_iter().enumerate() {
        let top = HEAD_HEIGHT + number * (STRIP_HEIGHT + STRIP_GAP);
        strip(
            &mut page,
            kind,
            by_kind.get(&kind).map_or(&[], Vec::as_slice),
            top,
            &scale,
        );
    }
    page.push_str(
        "</svg></div>\n<table><tr><th>fault<th>hurt<th>failed<th>longest pause of a checkout<th>whole again<th></tr>\n",
    );
    for row in rows {
        if let Some(why) = &row.skipped {
            let _ = writeln!(
                page,
                "<tr><td>{}<td>{}<td colspan=\"4\">skipped: {}</tr>",
                escaped(&row.fault.to_string()),
                escaped(&row.hurt()),
                escaped(why)
            );
            continue;
        }
        let _ = writeln!(
            page,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td class=\"bad\">{}</tr>",
            escaped(&row.fault.to_string()),
            escaped(&row.hurt()),
            row.window.failed_total(),
            seconds(row.window.pause_of(Kind::Checkout)),
            row.whole_after.map_or("never".to_owned(), seconds),
            escaped(&row.offences().join("; ")),
        );
    }
    page.push_str("</table></html>\n");
    page
}

/// Seconds to pixels.
struct Scale {
    second_width: f64,
    /// Seconds between two marks.
    tick: usize,
}

impl Scale {
    fn of(length: usize) -> Self {
        let second_width = (WIDTH_MIN as f64 / length as f64).clamp(1.0, SECOND_WIDTH_MAX as f64);
        let is_wide = |tick: &usize| *tick as f64 * second_width >= TICK_WIDTH_MIN as f64;
        Self {
            second_width,
            tick: TICK_SECONDS.into_iter().find(is_wide).unwrap_or(TICK_SECONDS[4]),
        }
    }

    fn x(&self, second: usize) -> usize {
        (second as f64 * self.second_width) as usize
    }
}

/// The time of a fault, behind all strips.
fn band(page: &mut String, row: &Row, started: Instant, scale: &Scale, height: usize) {
    let at = |moment: Instant| LABEL_WIDTH as f64 + (moment - started).as_secs_f64() * scale.second_width;
    let (began, undone, ended) = (at(row.began), at(row.undone), at(row.ended));
    let title = escaped(&format!("{} ({})", row.fault, row.victims.join(", ")));
    for (class, from, to) in [("hurt", began, undone), ("mending", undone, ended)] {
        let _ = writeln!(
            page,
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"16\" width=\"{:.1}\" height=\"{}\"><title>{title}</title></rect>",
            to - from,
            height - 16
        );
    }
}

/// One kind of request: a bar a second, the failed on top.
fn strip(page: &mut String, kind: Kind, by_second: &[Second], top: usize, scale: &Scale) {
    let most = by_second
        .iter()
        .map(|s| s.succeeded + s.failed)
        .max()
        .unwrap_or(0)
        .max(1);
    let bottom = top + STRIP_HEIGHT;
    let _ = writeln!(page, "<text x=\"0\" y=\"{bottom}\">{}</text>", kind.name());
    let mut paths = [String::new(), String::new(), String::new()];
    for (at, second) in by_second.iter().enumerate() {
        let (x, next) = (LABEL_WIDTH + scale.x(at), LABEL_WIDTH + scale.x(at + 1));
        let tall = |count: u32| (count as usize * STRIP_HEIGHT).div_ceil(most as usize);
        let (ok, failed) = (tall(second.succeeded), tall(second.failed));
        let mut bar = |path: usize, from: usize, height: usize| {
            if height > 0 {
                let _ = write!(
                    paths[path],
                    "M{x} {from}V{}H{next}V{from}z",
                    from.saturating_sub(height)
                );
            }
        };
        bar(0, bottom, ok);
        bar(1, bottom - ok, failed);
        if ok + failed == 0 {
            bar(2, bottom, 2);
        }
    }
    for (class, path) in ["ok", "failed", "none"].into_iter().zip(paths) {
        let _ = writeln!(page, "<path class=\"{class}\" d=\"{path}\"/>");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_has_marks_apart_from_each_other_and_a_short_one_is_stretched() {
        for length in [1, 30, 200, 3000, 90_000] {
            let scale = Scale::of(length);
            assert!(scale.x(scale.tick) >= TICK_WIDTH_MIN, "{length}");
            assert!(scale.x(length) >= length.min(WIDTH_MIN), "{length}");
        }
    }

    #[test]
    fn failures_stand_on_successes_and_an_empty_second_is_marked() {
        let seconds = [
            Second {
                succeeded: 1,
                failed: 1,
            },
            Second::default(),
        ];
        let mut page = String::new();
        strip(
            &mut page,
            Kind::Cart,
            &seconds,
            0,
            &Scale {
                second_width: 2.0,
                tick: 60,
            },
        );
        assert!(page.contains("class=\"ok\" d=\"M90 46V23H92V46z\""), "{page}");
        assert!(page.contains("class=\"failed\" d=\"M90 23V0H92V23z\""), "{page}");
        assert!(page.contains("class=\"none\" d=\"M92 46V44H94V46z\""), "{page}");
    }

    #[test]
    fn nothing_that_was_answered_gets_into_the_page_as_it_is() {
        assert_eq!(escaped("<b>\"&"), "&lt;b&gt;&quot;&amp;");
    }
}
