//! The page as a whole.

use serde_json::{Value, json};

use super::{
    html::{escape, json as embed},
    material::Material,
    runs::{self, Runs},
    sections::{self, Page},
    series::Series,
    timeline,
};

/// Draws the page.
pub fn render(material: &Material) -> String {
    let series = Series::of(&material.evidence);
    let runs = runs::gather(material, &series);
    let page = Page { material, series: &series, runs: &runs };
    let mut html = String::with_capacity(1 << 20);
    html.push_str("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    // Nothing may be fetched from anywhere, whatever gets into the page.
    html.push_str("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">");
    html.push_str(&format!(
        "<title>{}: {}</title><style>{}</style></head><body>",
        escape(sections::word(material.verdict())),
        escape(material.title()),
        include_str!("style.css")
    ));
    html.push_str(timeline::PATTERNS);
    html.push_str("<main>");
    html.push_str(&page.top());
    html.push_str(&page.what_was_asked());
    html.push_str(&page.timeline());
    html.push_str(&page.invariants());
    html.push_str(&page.runs());
    html.push_str(&page.faults());
    html.push_str(&page.coverage());
    html.push_str(&page.setup());
    html.push_str("</main>");
    html.push_str(&format!(
        "<script type=\"application/json\" id=\"data\">{}</script><script>{}</script></body></html>\n",
        embed(&data(&series, &runs)),
        include_str!("script.js")
    ));
    html
}

/// What the script needs: runs and faults, in milliseconds since the beginning.
pub fn data(series: &Series, runs: &Runs) -> Value {
    let relative = |at: u64| at.saturating_sub(series.from_us) as f64 / 1_000.0;
    let fault = |band: &super::series::Band| {
        json!({
            "kind": band.kind, "from": relative(band.from_us), "to": band.to_us.map(relative), "state": band.state,
            "class": timeline::class(&band.kind), "text": timeline::describe(band, series.from_us),
        })
    };
    json!({"runs": runs, "faults": series.bands.iter().map(fault).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests;
