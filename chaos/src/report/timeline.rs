//! The picture over time: faults by target, calls per second, how long they took, attempts that workers began.
//!
//! Drawn here and not in the browser: it is there without scripts, on paper, and in an archive. Each kind of thing has its own pattern or form beside its
//! colour.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    html::{escape, number, span},
    series::{Band, End, Series},
};

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 118.0;
const RIGHT: f64 = 14.0;
const ROW: f64 = 20.0;
const RATE: f64 = 120.0;
const LATENCY: f64 = 160.0;
const BEGUN: f64 = 60.0;
const SPACE: f64 = 34.0;
/// More rows than these become one row per sort of target.
const ROWS_MAX: usize = 9;
/// A gap that is shorter is not drawn.
const GAP_MIN_US: u64 = 200_000;

/// The class of a fault: its colour and pattern.
pub fn class(kind: &str) -> &'static str {
    let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
    match kind {
        _ if has(&["worker"]) => "worker",
        _ if has(&["disk", "power", "flip", "wipe", "torn", "fsync", "eio"]) => "disk",
        _ if has(&["clock"]) => "clock",
        _ if has(&["overload", "burst"]) => "load",
        _ if has(&[
            "partition",
            "isolate",
            "latency",
            "jitter",
            "stall",
            "bandwidth",
            "refuse",
            "reset",
            "half-close",
            "link",
            "cut",
            "unplug",
        ]) =>
        {
            "network"
        }
        _ => "process",
    }
}

/// Names of the classes, for the legend.
pub const CLASSES: &[(&str, &str)] = &[
    ("process", "process of a node"),
    ("network", "network"),
    ("worker", "worker"),
    ("disk", "disk"),
    ("clock", "clock"),
    ("load", "load"),
];

/// The patterns that pictures refer to; once in a page.
pub const PATTERNS: &str = include_str!("patterns.svg");

struct Canvas<'a> {
    series: &'a Series,
    svg: String,
}

/// Draws it. Empty if nothing happened.
pub fn draw(series: &Series) -> String {
    if series.buckets.is_empty() {
        return String::new();
    }
    let rows = rows(&series.bands);
    let faults = if rows.is_empty() { 0.0 } else { ROW * rows.len() as f64 + SPACE };
    let rate_top = 22.0 + faults;
    let latency_top = rate_top + RATE + SPACE;
    let begun_top = latency_top + LATENCY + SPACE;
    let bottom = begun_top + BEGUN;
    let height = bottom + 40.0;
    let mut canvas = Canvas { series, svg: String::with_capacity(200_000) };
    canvas.put(&format!(
        "<svg class=\"timeline\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"tl-title tl-desc\">\
         <title id=\"tl-title\">Timeline of the game day</title>\
         <desc id=\"tl-desc\">Faults by target, calls per second, latency of calls, and attempts begun, over {}. The same is in the tables below.</desc>",
        span(series.to_us - series.from_us)
    ));
    canvas.shades(rate_top, bottom);
    if !rows.is_empty() {
        canvas.faults(&rows, 22.0);
    }
    canvas.rate(rate_top);
    canvas.latency(latency_top);
    canvas.begun(begun_top);
    canvas.axis(bottom, rate_top);
    canvas.put("</svg>");
    canvas.svg
}

/// Rows of targets with their faults. Many links are one row.
fn rows(bands: &[Band]) -> BTreeMap<String, Vec<&Band>> {
    let mut rows: BTreeMap<String, Vec<&Band>> = BTreeMap::new();
    for band in bands {
        for target in &band.targets {
            rows.entry(target.clone()).or_default().push(band);
        }
    }
    if rows.len() > ROWS_MAX {
        let mut fewer: BTreeMap<String, Vec<&Band>> = BTreeMap::new();
        for (target, bands) in rows {
            let sort = target.split('-').next().unwrap_or_default();
            let row = if sort == "link" { "links".to_owned() } else { target };
            for band in bands {
                let known = fewer.entry(row.clone()).or_default();
                if !known.iter().any(|one| one.id == band.id) {
                    known.push(band);
                }
            }
        }
        rows = fewer;
    }
    rows
}

impl Canvas<'_> {
    fn put(&mut self, text: &str) {
        self.svg.push_str(text);
    }

    fn x(&self, at_us: u64) -> f64 {
        let whole = (self.series.to_us - self.series.from_us).max(1) as f64;
        LEFT + (at_us.saturating_sub(self.series.from_us) as f64 / whole).min(1.0) * (WIDTH - LEFT - RIGHT)
    }

    /// A lane's name, and its frame.
    fn lane(&mut self, name: &str, top: f64, height: f64) {
        let _ = write!(
            self.svg,
            "<text class=\"lane\" x=\"{LEFT}\" y=\"{:.1}\">{}</text><rect class=\"frame\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
            top - 6.0,
            escape(name),
            WIDTH - LEFT - RIGHT,
        );
    }

    /// Bands behind everything else, while faults were in force.
    fn shades(&mut self, top: f64, bottom: f64) {
        for band in self.series.bands.iter().filter(|band| band.state != "skipped") {
            let (from, to) = (self.x(band.from_us), self.x(band.to_us.unwrap_or(band.from_us)));
            let _ = write!(
                self.svg,
                "<rect class=\"shade {}\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                class(&band.kind),
                (to - from).max(1.5),
                bottom - top,
            );
        }
    }

    fn faults(&mut self, rows: &BTreeMap<String, Vec<&Band>>, top: f64) {
        let height = ROW * rows.len() as f64;
        self.lane("Faults, by target", top, height);
        for (number, (target, bands)) in rows.iter().enumerate() {
            let y = top + ROW * number as f64;
            let _ = write!(self.svg, "<text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>", LEFT - 6.0, y + 14.0, escape(target));
            let mut free_from = LEFT;
            for band in bands {
                let (from, to) = (self.x(band.from_us), self.x(band.to_us.unwrap_or(band.from_us)));
                let width = (to - from).max(5.0);
                let _ = write!(
                    self.svg,
                    "<g><title>{}</title><rect class=\"fault {} {}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" rx=\"2\"/>",
                    escape(&describe(band, self.series.from_us)),
                    class(&band.kind),
                    if band.state == "in force" { "" } else { "doubtful" },
                    y + 2.0,
                    ROW - 4.0,
                );
                // A name beside its bar, where it hides no other name.
                let label_width = band.kind.len() as f64 * 6.6 + 6.0;
                let inside = label_width <= width;
                let (x, anchor) = match (inside, from + width + label_width < WIDTH - RIGHT) {
                    (true, _) => (from + 4.0, ""),
                    (false, true) => (from + width + 3.0, ""),
                    (false, false) => (from - 3.0, " end"),
                };
                if inside || x >= free_from {
                    if inside {
                        // On a pattern no text can be read.
                        let _ = write!(
                            self.svg,
                            "<rect class=\"chip\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\"/>",
                            x - 2.0,
                            y + 4.0,
                            label_width - 2.0,
                            ROW - 8.0,
                        );
                    }
                    let _ =
                        write!(self.svg, "<text class=\"name{anchor}\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>", y + 14.0, escape(&band.kind));
                    free_from = if inside { from + width } else { x + label_width };
                }
                self.put("</g>");
            }
        }
    }

    fn rate(&mut self, top: f64) {
        let seconds = self.series.bucket_us as f64 / 1_000_000.0;
        let most = self.series.buckets.iter().map(|bucket| bucket.ok + bucket.fail + bucket.info).max().unwrap_or(0) as f64 / seconds;
        let most = ceiling(most);
        self.lane("Calls that ended, per second", top, RATE);
        self.scale(top, RATE, most);
        let series = self.series;
        for bucket in &series.buckets {
            let (from, to) = (self.x(bucket.from_us), self.x((bucket.from_us + series.bucket_us).min(series.to_us)));
            let width = (to - from - 0.6).max(0.8);
            let mut y = top + RATE;
            let all = format!("{}: {} done, {} refused, {} unknown", self.since(bucket.from_us), bucket.ok, bucket.fail, bucket.info);
            let mut bars = String::new();
            for (count, class) in [(bucket.ok, "ok"), (bucket.fail, "fail"), (bucket.info, "info")] {
                let height = count as f64 / seconds / most * RATE;
                y -= height;
                if count > 0 {
                    let _ = write!(
                        bars,
                        "<rect class=\"bar {class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
                    );
                }
            }
            if !bars.is_empty() {
                let _ = write!(self.svg, "<g><title>{}</title>{bars}</g>", escape(&all));
            }
        }
        let mut named = Vec::new();
        for gap in series.gaps.iter().filter(|gap| gap.to_us - gap.from_us >= GAP_MIN_US) {
            let (from, to, y) = (self.x(gap.from_us), self.x(gap.to_us), top + 9.0);
            let _ = write!(self.svg, "<path class=\"gap\" d=\"M{from:.1} {:.1}v8m0-4H{to:.1}m0-4v8\"/>", y - 4.0);
            // The longest ones come first; a name that would hide another one is left to the table.
            let text = format!("gap {}", span(gap.to_us - gap.from_us));
            let length = text.chars().count() as f64 * 6.6 + 8.0;
            let (x, anchor, area) =
                if to > WIDTH - 120.0 { (from - 3.0, " end", (from - length, to)) } else { (to + 3.0, "", (from, to + length)) };
            if named.iter().all(|(left, right): &(f64, f64)| area.1 < *left || area.0 > *right) {
                let _ = write!(self.svg, "<text class=\"name{anchor}\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>", y + 4.0, escape(&text));
                named.push(area);
            }
        }
    }

    fn latency(&mut self, top: f64) {
        self.lane("How long calls took (logarithmic): points, median (line), 99th percentile (dashed)", top, LATENCY);
        let (low, high) = (100f64.log10(), 100_000_000f64.log10());
        let slowest = self.series.points.iter().map(|point| point.took_us).max().unwrap_or(0).max(1_000) as f64;
        let high = slowest.log10().ceil().clamp(low + 1.0, high);
        let y = |us: u64| top + LATENCY - ((us.max(100) as f64).log10().clamp(low, high) - low) / (high - low) * LATENCY;
        let mut decade = 100u64;
        while (decade as f64).log10() <= high + 1e-9 {
            let at = y(decade);
            let _ = write!(
                self.svg,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{:.1}\"/><text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                short(decade),
            );
            decade *= 10;
        }
        let series = self.series;
        // Many small forms: one path for each kind of end.
        for (end, class) in [(End::Ok, "ok"), (End::Fail, "fail"), (End::Info, "info")] {
            let mut path = String::new();
            for point in series.points.iter().filter(|point| point.end == end) {
                let (x, y) = (self.x(point.at_us), y(point.took_us));
                let _ = match end {
                    End::Ok => write!(path, "M{:.1} {y:.1}h2", x - 1.0),
                    End::Fail => write!(path, "M{:.1} {:.1}l5 5m0-5l-5 5", x - 2.5, y - 2.5),
                    End::Info => write!(path, "M{:.1} {:.1}l3.5 6h-7z", x, y - 4.0),
                };
            }
            if !path.is_empty() {
                let _ = write!(self.svg, "<path class=\"point {class}\" d=\"{path}\"/>");
            }
        }
        for (class, value) in [("median", 0), ("p99", 1)] {
            let mut path = String::new();
            let mut pen = 'M';
            for bucket in &series.buckets {
                let us = if value == 0 { bucket.p50_us } else { bucket.p99_us };
                if us == 0 {
                    pen = 'M';
                    continue;
                }
                let _ = write!(path, "{pen}{:.1} {:.1}", self.x((bucket.from_us + series.bucket_us / 2).min(series.to_us)), y(us));
                pen = 'L';
            }
            let _ = write!(self.svg, "<path class=\"curve {class}\" d=\"{path}\"/>");
        }
    }

    fn begun(&mut self, top: f64) {
        let seconds = self.series.bucket_us as f64 / 1_000_000.0;
        let most = ceiling(self.series.buckets.iter().map(|bucket| bucket.begun).max().unwrap_or(0) as f64 / seconds);
        self.lane("Attempts that workers began, per second", top, BEGUN);
        self.scale(top, BEGUN, most);
        let mut path = format!("M{LEFT} {:.1}", top + BEGUN);
        let series = self.series;
        for bucket in &series.buckets {
            let y = top + BEGUN - bucket.begun as f64 / seconds / most * BEGUN;
            let _ =
                write!(path, "L{:.1} {y:.1}H{:.1}", self.x(bucket.from_us), self.x((bucket.from_us + series.bucket_us).min(series.to_us)));
        }
        let _ = write!(self.svg, "<path class=\"area\" d=\"{path}V{:.1}z\"/>", top + BEGUN);
    }

    /// Zero, half and full on the left.
    fn scale(&mut self, top: f64, height: f64, most: f64) {
        for part in [0.0, 0.5, 1.0] {
            let y = top + height - height * part;
            let _ = write!(
                self.svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                tick(most * part),
            );
        }
    }

    fn axis(&mut self, bottom: f64, top: f64) {
        let whole = (self.series.to_us - self.series.from_us) as f64 / 1_000_000.0;
        let step = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
        let step = step.into_iter().find(|step| whole / step <= 14.0).unwrap_or(7200.0);
        let mut at = 0.0;
        while at <= whole {
            let x = self.x(self.series.from_us + (at * 1_000_000.0) as u64);
            let _ = write!(
                self.svg,
                "<path class=\"grid\" d=\"M{x:.1} {top:.1}V{:.1}\"/><text class=\"tick middle\" x=\"{x:.1}\" y=\"{:.1}\">{} s</text>",
                bottom + 4.0,
                bottom + 18.0,
                tick(at),
            );
            at += step;
        }
    }

    fn since(&self, at_us: u64) -> String {
        format!("at {:.1} s", at_us.saturating_sub(self.series.from_us) as f64 / 1_000_000.0)
    }
}

/// A fault in a line.
pub fn describe(band: &Band, zero_us: u64) -> String {
    let at = |us: u64| format!("{:.2} s", us.saturating_sub(zero_us) as f64 / 1_000_000.0);
    let to = band.to_us.map_or_else(String::new, |to| format!(" to {}", at(to)));
    let led = if band.led_shards.is_empty() { String::new() } else { format!(", led shards {:?}", band.led_shards) };
    let note = if band.note.is_empty() { String::new() } else { format!(": {}", band.note) };
    format!("{} of {}, {}{to}, {}{led}{note}", band.kind, band.targets.join(", "), at(band.from_us), band.state)
}

/// The next round number.
fn ceiling(value: f64) -> f64 {
    let mut step = 1.0;
    loop {
        for factor in [1.0, 2.0, 4.0, 5.0, 10.0] {
            if step * factor >= value {
                return step * factor;
            }
        }
        step *= 10.0;
    }
}

fn tick(value: f64) -> String {
    if value.fract().abs() < 1e-6 { number(value.round() as u64) } else { format!("{value:.1}") }
}

fn short(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{} s", us / 1_000_000),
    }
}
