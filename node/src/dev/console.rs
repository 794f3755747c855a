//! What `quorusd dev` writes: prefixed log lines and the banner.

use std::{fmt::Write as _, io::Write as _};

use anstyle::{AnsiColor, Style};

use super::layout::Layout;

/// One colour per node, so that the eye can follow one of them.
const COLORS: [AnsiColor; 6] =
    [AnsiColor::Cyan, AnsiColor::Green, AnsiColor::Yellow, AnsiColor::Magenta, AnsiColor::Blue, AnsiColor::BrightRed];

const BOLD: Style = Style::new().bold();

/// Writes a line of a node's log.
pub(super) fn log_line(id: u16, line: &str) {
    let style = COLORS[usize::from(id - 1) % COLORS.len()].on_default();
    // A closed terminal is no reason to stop the nodes.
    let _ = writeln!(anstream::stderr().lock(), "{style}n{id} |{style:#} {line}");
}

/// Writes a line of its own.
pub(super) fn say(line: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{BOLD}dev: {line}{BOLD:#}");
}

/// Writes what people need to go on.
pub(super) fn banner(layout: &Layout, pids: &[u32]) {
    let _ = write!(anstream::stdout().lock(), "{}", banner_text(layout, pids));
}

fn banner_text(layout: &Layout, pids: &[u32]) -> String {
    let mut out = String::new();
    let nodes = layout.places.len();
    let _ = writeln!(out, "\n{BOLD}Quorus is ready: {nodes} node{}.{BOLD:#}\n", if nodes == 1 { "" } else { "s" });
    let _ = writeln!(out, "  {:5} {:16} {:16} {:8} DATA", "NODE", "GRPC", "HTTP", "PID");
    for (place, pid) in layout.places.iter().zip(pids) {
        // Padding applies to texts only.
        let (grpc, http) = (place.grpc.to_string(), place.http.to_string());
        let _ = writeln!(out, "  {:<5} {grpc:16} {http:16} {pid:<8} {}", place.id, place.data.display());
    }
    let _ = writeln!(out, "\n  export QUORUS_ENDPOINTS={}\n", layout.endpoints());
    let _ = writeln!(out, "Next, in another terminal:");
    let _ = writeln!(out, "  quorus cluster status");
    let _ = writeln!(out, "  quorus worker exec --queue default --concurrency 4");
    let _ = writeln!(out, "  quorus start -f examples/hello.yaml --input '{{\"name\": \"world\"}}' --watch");
    if let (true, Some(pid)) = (nodes > 2, pids.first()) {
        let _ = writeln!(out, "  kill -9 {pid}   # node 1: the others go on");
    }
    let fate = if layout.temporary.is_some() { "deleted at the end; --data DIR keeps it" } else { "kept, and used again next time" };
    let _ = writeln!(out, "\nData and logs: {} ({fate}). Ctrl-C stops all nodes.\n", layout.root.display());
    out
}
