//! `quorus plan --graph`: the plan as a picture, for Mermaid, for Graphviz, or as a tree of text.
//!
//! Scopes are boxes, the critical path is marked, compensations are dashed.

use std::{collections::BTreeMap, collections::BTreeSet, fmt::Write};

use clap::ValueEnum;
use quorus_client::v1::{PlanWorkflowResponse, PlannedStep};

use super::text::cut;

/// The ways to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Graph {
    /// For Markdown
    Mermaid,
    /// For Graphviz
    Dot,
    /// For terminals
    Ascii,
}

/// Conditions are longer than boxes are wide.
const CONDITION_CHARS: usize = 40;

/// The steps by the scope that they are in.
struct Scopes<'p> {
    plan: &'p PlanWorkflowResponse,
    /// By the container's id; empty for the run.
    inside: BTreeMap<&'p str, Vec<&'p PlannedStep>>,
    critical: BTreeSet<&'p str>,
}

pub(crate) fn draw(graph: Graph, name: &str, plan: &PlanWorkflowResponse) -> String {
    let mut inside: BTreeMap<&str, Vec<&PlannedStep>> = BTreeMap::new();
    for step in &plan.steps {
        inside.entry(step.parent.as_str()).or_default().push(step);
    }
    let scopes = Scopes { plan, inside, critical: plan.critical_path.iter().map(String::as_str).collect() };
    match graph {
        Graph::Mermaid => scopes.mermaid(name),
        Graph::Dot => scopes.dot(name),
        Graph::Ascii => scopes.ascii(name),
    }
}

impl<'p> Scopes<'p> {
    fn steps(&self, scope: &str) -> &[&'p PlannedStep] {
        self.inside.get(scope).map(Vec::as_slice).unwrap_or_default()
    }

    fn is_container(&self, step: &PlannedStep) -> bool {
        self.inside.contains_key(step.step.as_str())
    }

    fn is_critical(&self, step: &PlannedStep) -> bool {
        self.critical.contains(step.step.as_str())
    }

    /// The sections of a scope: what it is for, and whether it has a box of its own.
    fn sections(&self, scope: &str) -> Vec<(&'static str, Vec<&'p PlannedStep>)> {
        let of = |role: &str| self.steps(scope).iter().copied().filter(|step| step.role == role).collect::<Vec<_>>();
        let body = self.steps(scope).iter().copied().filter(|step| !matches!(step.role.as_str(), "finally" | "on_attention")).collect();
        if !scope.is_empty() {
            return vec![("", self.steps(scope).to_vec())];
        }
        let sections = [("", body), ("finally", of("finally")), ("on_attention", of("on_attention"))];
        sections.into_iter().filter(|(_, steps)| !steps.is_empty()).collect()
    }

    /// Needs, and whether both ends are on the critical path.
    fn edges(&self) -> Vec<(&'p str, &'p str, bool)> {
        let path: BTreeSet<_> = self.plan.critical_path.windows(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
        let of = |step: &'p PlannedStep| step.needs.iter().map(move |need| (need.as_str(), step.step.as_str()));
        self.plan.steps.iter().flat_map(of).map(|(need, step)| (need, step, path.contains(&(need, step)))).collect()
    }

    /// What undoes or watches something.
    fn derived(&self) -> impl Iterator<Item = &'p PlannedStep> {
        self.plan.steps.iter().filter(|step| !step.of.is_empty())
    }

    fn mermaid(&self, name: &str) -> String {
        let mut text = format!("---\ntitle: {name}\n---\nflowchart TD\n");
        self.mermaid_scope(&mut text, "", 1);
        let mut thick = Vec::new();
        for (link, (need, step, critical)) in self.edges().into_iter().enumerate() {
            let _ = writeln!(text, "  {} --> {}", mermaid_id(need), mermaid_id(step));
            if critical {
                thick.push(link.to_string());
            }
        }
        for step in self.derived() {
            let label = if step.role == "guard" { "guards" } else { "undone by" };
            let (from, to) = if step.role == "guard" { (&step.step, &step.of) } else { (&step.of, &step.step) };
            let _ = writeln!(text, "  {} -. {label} .-> {}", mermaid_id(from), mermaid_id(to));
        }
        text.push_str("  classDef critical stroke-width:3px\n  classDef derived stroke-dasharray:5 5\n");
        let class = |text: &mut String, name: &str, steps: Vec<String>| {
            if !steps.is_empty() {
                let _ = writeln!(text, "  class {} {name}", steps.join(","));
            }
        };
        let critical = self.plan.steps.iter().filter(|step| self.is_critical(step)).map(|step| mermaid_id(&step.step));
        class(&mut text, "critical", critical.collect());
        class(&mut text, "derived", self.derived().map(|step| mermaid_id(&step.step)).collect());
        if !thick.is_empty() {
            let _ = writeln!(text, "  linkStyle {} stroke-width:3px", thick.join(","));
        }
        text
    }

    fn mermaid_scope(&self, text: &mut String, scope: &str, depth: usize) {
        let pad = "  ".repeat(depth);
        for (section, steps) in self.sections(scope) {
            if !section.is_empty() {
                let _ = writeln!(text, "{pad}subgraph {section}_[\"{section}\"]");
            }
            for step in steps {
                let label = self.lines(step).iter().map(|line| escaped(line)).collect::<Vec<_>>().join("<br/>");
                let id = mermaid_id(&step.step);
                if self.is_container(step) {
                    let _ = writeln!(text, "{pad}subgraph {id}[\"{label}\"]");
                    self.mermaid_scope(text, &step.step, depth + 1);
                    let _ = writeln!(text, "{pad}end");
                } else {
                    let (open, close) = match step.kind.as_str() {
                        "approval" | "signal" => ("([", "])"),
                        "gate" | "fail" => ("{{", "}}"),
                        _ => ("[", "]"),
                    };
                    let _ = writeln!(text, "{pad}{id}{open}\"{label}\"{close}");
                }
            }
            if !section.is_empty() {
                let _ = writeln!(text, "{pad}end");
            }
        }
    }

    fn dot(&self, name: &str) -> String {
        let mut text = format!("digraph {} {{\n  compound=true;\n  node [shape=box];\n", quoted(name));
        self.dot_scope(&mut text, "", 1);
        for (need, step, critical) in self.edges() {
            let bold = if critical { "penwidth=3" } else { "" };
            self.dot_edge(&mut text, need, step, bold);
        }
        for step in self.derived() {
            if step.role == "guard" {
                self.dot_edge(&mut text, &step.step, &step.of, "style=dotted, label=\"guards\"");
            } else {
                self.dot_edge(&mut text, &step.of, &step.step, "style=dashed, constraint=false, label=\"undone by\"");
            }
        }
        text.push_str("}\n");
        text
    }

    fn dot_scope(&self, text: &mut String, scope: &str, depth: usize) {
        let pad = "  ".repeat(depth);
        for (section, steps) in self.sections(scope) {
            if !section.is_empty() {
                let _ = writeln!(text, "{pad}subgraph {} {{\n{pad}  label={};", quoted(&format!("cluster_{section}_")), quoted(section));
            }
            for step in steps {
                let label = quoted(&self.lines(step).join("\n"));
                if self.is_container(step) {
                    let wide = if self.is_critical(step) { " penwidth=3;" } else { "" };
                    let _ = writeln!(text, "{pad}subgraph {} {{\n{pad}  label={label};{wide}", quoted(&format!("cluster_{}", step.step)));
                    self.dot_scope(text, &step.step, depth + 1);
                    let _ = writeln!(text, "{pad}}}");
                } else {
                    let mut style = String::new();
                    if self.is_critical(step) {
                        style.push_str(", penwidth=3");
                    }
                    if !step.of.is_empty() {
                        style.push_str(", style=dashed");
                    }
                    let _ = writeln!(text, "{pad}{} [label={label}{style}];", quoted(&step.step));
                }
            }
            if !section.is_empty() {
                let _ = writeln!(text, "{pad}}}");
            }
        }
    }

    /// Graphviz draws edges between nodes; those of boxes begin and end at the border.
    fn dot_edge(&self, text: &mut String, from: &str, to: &str, style: &str) {
        let mut attributes = Vec::new();
        if self.inside.contains_key(from) {
            attributes.push(format!("ltail={}", quoted(&format!("cluster_{from}"))));
        }
        if self.inside.contains_key(to) {
            attributes.push(format!("lhead={}", quoted(&format!("cluster_{to}"))));
        }
        if !style.is_empty() {
            attributes.push(style.to_owned());
        }
        let attributes = if attributes.is_empty() { String::new() } else { format!(" [{}]", attributes.join(", ")) };
        let _ = writeln!(text, "  {} -> {}{attributes};", quoted(self.leaf(from)), quoted(self.leaf(to)));
    }

    /// A node inside of a box.
    fn leaf<'s>(&'s self, step: &'s str) -> &'s str {
        let mut step = step;
        while let Some(first) = self.steps(step).first() {
            step = first.step.as_str();
        }
        step
    }

    fn ascii(&self, name: &str) -> String {
        let mut text = format!("{name}\n");
        let mut rows = Vec::new();
        self.ascii_scope(&mut rows, "", "");
        let width = rows.iter().map(|(tree, _)| tree.chars().count()).max().unwrap_or_default();
        for (tree, what) in rows {
            let gap = " ".repeat(width - tree.chars().count());
            let _ = writeln!(text, "{}", format!("{tree}{gap}  {what}").trim_end());
        }
        let _ = writeln!(text, "\n* critical path: {}", self.plan.critical_path.join(" -> "));
        text
    }

    fn ascii_scope(&self, rows: &mut Vec<(String, String)>, scope: &str, indent: &str) {
        let sections = self.sections(scope);
        let count = sections.iter().filter(|(section, _)| !section.is_empty()).count();
        for (position, (section, steps)) in sections.iter().enumerate() {
            let last_section = position + 1 == sections.len();
            let mut indent = indent.to_owned();
            if !section.is_empty() {
                let branch = if last_section { "`-" } else { "|-" };
                rows.push((format!("{indent}{branch} {section}:"), String::new()));
                indent.push_str(if last_section { "   " } else { "|  " });
            }
            // What undoes a step stands beside it.
            let shown: Vec<_> = steps.iter().filter(|step| step.role != "compensation").collect();
            for (index, step) in shown.iter().enumerate() {
                let last = index + 1 == shown.len() && (!section.is_empty() || count == 0);
                let branch = if last { "`-" } else { "|-" };
                let mark = if self.is_critical(step) { "*" } else { "" };
                rows.push((format!("{indent}{branch} {}{mark}", step.step), self.beside(step)));
                let deeper = format!("{indent}{}", if last { "   " } else { "|  " });
                self.ascii_scope(rows, &step.step, &deeper);
            }
        }
    }

    fn beside(&self, step: &PlannedStep) -> String {
        let mut what = kind(step);
        if !step.condition.is_empty() {
            let _ = write!(what, ", if {}", cut(&step.condition, CONDITION_CHARS));
        }
        if !step.needs.is_empty() {
            let _ = write!(what, "  <- {}", step.needs.join(", "));
        }
        let undo = self.derived().find(|derived| derived.role == "compensation" && derived.of == step.step);
        if let Some(undo) = undo {
            let _ = write!(what, "  (undone by {})", kind(undo));
        }
        what
    }

    fn lines(&self, step: &PlannedStep) -> Vec<String> {
        let name = if step.role == "compensation" { format!("undo {}", step.of) } else { step.step.clone() };
        let mut lines = vec![name, kind(step)];
        if !step.condition.is_empty() {
            lines.push(format!("if {}", cut(&step.condition, CONDITION_CHARS)));
        }
        lines
    }
}

fn kind(step: &PlannedStep) -> String {
    if step.kind == "task" { format!("{} on {}", step.task_type, step.queue) } else { step.kind.clone() }
}

/// Mermaid takes few characters in ids, and has words of its own.
fn mermaid_id(step: &str) -> String {
    let id: String = step.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    format!("s_{id}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
