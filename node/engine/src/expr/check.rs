//! Checks the names in a parsed expression, and rewrites it: paths from roots become slots, operators and `has` become our functions.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapEntryExpr, SelectExpr, operators,
};

use super::env;
use super::path::{Path, Root, Segment};
use super::reading::Reading;
use super::schema::{self, Followed};
use crate::plan::did_you_mean;

/// Deeper expressions are refused: evaluation uses the stack.
const DEPTH_MAX: usize = 80;

/// Finds steps by id.
pub(crate) trait Steps {
    /// The step's index in the plan.
    fn index(&self, id: &str) -> Option<usize>;
    /// All ids, for hints.
    fn ids(&self) -> Vec<&str>;
    /// JSON Schema of a step's output, if it has one.
    fn schema(&self, step: &StepReference) -> Option<&serde_json::Value>;
    /// JSON Schema of the run's input, if it has one.
    fn input_schema(&self) -> Option<&serde_json::Value>;
}

/// Something wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// Byte offset in the source.
    pub(crate) offset: Option<usize>,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// True if the expression can be evaluated all the same.
    pub(crate) warning: bool,
}

/// A step that an expression reads; the plan checks that it ends before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepReference {
    pub(crate) index: usize,
    pub(crate) offset: Option<usize>,
}

/// What an evaluation binds before it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// What the rewritten expression calls it; what messages call it, too.
    pub(super) name: String,
    pub(super) path: Path,
    /// Bound to whether the path leads to something, instead of to what is there.
    pub(super) presence: bool,
}

/// A path as the source spells it.
struct Spelled {
    /// The node of the root: where the path begins in the source.
    id: u64,
    root: String,
    segments: Vec<Segment>,
}

/// Checks and rewrites one expression.
pub(super) struct Checker<'a> {
    pub(super) steps: &'a dyn Steps,
    pub(super) reading: &'a Reading<'a>,
    pub(super) offset_of: &'a dyn Fn(u64) -> Option<usize>,
    /// The paths that the rewritten expression reads, each once.
    pub(super) slots: Vec<Slot>,
    pub(super) flaws: Vec<Flaw>,
    pub(super) references: Vec<StepReference>,
    /// Where `self.output` is read; null unless the step succeeded.
    pub(super) output_reads: Vec<Option<usize>>,
    /// Something in the expression asks whether `self.output` is there.
    pub(super) output_guarded: bool,
    /// Variables of the comprehensions around the current node.
    pub(super) variables: Vec<String>,
}

impl Checker<'_> {
    pub(super) fn rewrite(&mut self, node: IdedExpr, depth: usize) -> IdedExpr {
        let id = node.id;
        if depth > DEPTH_MAX {
            if self.flaws.iter().all(|flaw| flaw.code != "expression-too-deep") {
                self.flaw(id, "expression-too-deep", format!("the expression nests more than {DEPTH_MAX} levels deep"), None);
            }
            return IdedExpr { id, expr: Expr::Literal(LiteralValue::Null) };
        }
        if let Some(spelled) = self.spelled_path(&node) {
            return IdedExpr { id, expr: self.slot(spelled, false) };
        }
        let expr = match node.expr {
            Expr::Literal(literal) => Expr::Literal(literal),
            Expr::Ident(name) => self.identifier(id, name),
            Expr::Select(select) if select.test => self.presence(id, select, depth),
            Expr::Select(SelectExpr { operand, field, test }) => {
                Expr::Select(SelectExpr { operand: Box::new(self.rewrite(*operand, depth + 1)), field, test })
            }
            Expr::Call(call) => self.call(id, call, depth),
            Expr::List(ListExpr { elements, optional_indices }) => {
                let elements = elements.into_iter().map(|element| self.rewrite(element, depth + 1)).collect();
                Expr::List(ListExpr { elements, optional_indices })
            }
            Expr::Map(mut map) => {
                for entry in &mut map.entries {
                    match &mut entry.expr {
                        EntryExpr::MapEntry(MapEntryExpr { key, value, .. }) => {
                            *key = self.rewrite(std::mem::take(key), depth + 1);
                            *value = self.rewrite(std::mem::take(value), depth + 1);
                        }
                        EntryExpr::StructField(_) => self.flaw(entry.id, "bad-expression", "a map needs `key: value`", None),
                    }
                }
                Expr::Map(map)
            }
            Expr::Comprehension(comprehension) => self.comprehension(*comprehension, depth),
            Expr::Struct(message) => {
                self.flaw(id, "bad-expression", format!("there is no message type `{}`", message.type_name), None);
                Expr::Literal(LiteralValue::Null)
            }
            Expr::Unspecified => {
                self.flaw(id, "bad-expression", "the expression is incomplete", None);
                Expr::Literal(LiteralValue::Null)
            }
        };
        IdedExpr { id, expr }
    }

    /// The root and the constant members that the node spells, if it begins with a root that no variable hides.
    fn spelled_path(&self, node: &IdedExpr) -> Option<Spelled> {
        let mut segments = Vec::new();
        let mut node = node;
        loop {
            match &node.expr {
                Expr::Ident(name) => {
                    let is_root = (self.reading.offers(name) || name == "secrets") && !self.variables.contains(name);
                    segments.reverse();
                    return is_root.then(|| Spelled { id: node.id, root: name.clone(), segments });
                }
                Expr::Select(select) if !select.test => {
                    segments.push(Segment::Key(select.field.clone()));
                    node = &select.operand;
                }
                Expr::Call(call) if call.func_name == operators::INDEX && call.target.is_none() && call.args.len() == 2 => {
                    segments.push(match &call.args[1].expr {
                        Expr::Literal(LiteralValue::String(key)) => Segment::Key(key.inner().to_owned()),
                        Expr::Literal(LiteralValue::Int(index)) => Segment::Index(usize::try_from(*index.inner()).ok()?),
                        _ => return None,
                    });
                    node = &call.args[0];
                }
                _ => return None,
            }
        }
    }

    /// Makes an identifier of a path. An evaluation binds it to the value at the path, or leaves it unbound.
    fn slot(&mut self, spelled: Spelled, presence: bool) -> Expr {
        let id = spelled.id;
        let Some(path) = self.path(spelled) else { return Expr::Literal(LiteralValue::Null) };
        self.check_schema(id, &path, presence);
        if path.root == Root::This {
            match path.segments.first() {
                Some(Segment::Key(field)) if field == "output" && presence => self.output_guarded = true,
                Some(Segment::Key(field)) if field == "output" => self.output_reads.push((self.offset_of)(id)),
                Some(Segment::Key(field)) if field == "state" => self.output_guarded = true,
                _ => {}
            }
        }
        let slot = Slot { name: if presence { format!("has({path})") } else { path.to_string() }, path, presence };
        let name = slot.name.clone();
        if !self.slots.contains(&slot) {
            self.slots.push(slot);
        }
        Expr::Ident(name)
    }

    fn path(&mut self, Spelled { id, root, mut segments }: Spelled) -> Option<Path> {
        let first = match segments.first() {
            Some(Segment::Key(key)) => Some(key.clone()),
            Some(Segment::Index(_)) | None => None,
        };
        if let Some(simple) = self.reading.simple(&root) {
            let members: Option<Vec<&str>> = match simple {
                Root::This => Some(self.reading.this.to_vec()),
                Root::Signal => Some(vec!["id", "name", "payload"]),
                Root::Named(position) => self.reading.named[position].1.map(<[&str]>::to_vec),
                _ => None,
            };
            if let (Some(members), Some(first)) = (&members, &first)
                && !members.contains(&first.as_str())
            {
                let hint = did_you_mean(first, members.iter().copied()).unwrap_or_else(|| format!("it has {}", members.join(", ")));
                self.flaw(id, "unknown-field", format!("`{root}` has no `{first}`"), Some(hint));
                return None;
            }
            return Some(Path { root: simple, segments, root_text: root });
        }
        match root.as_str() {
            "steps" => self.step_path(id, segments),
            "run" => {
                if let Some(field) = &first
                    && self.reading.run_fields().all(|known| known != field)
                {
                    let fields: Vec<&str> = self.reading.run_fields().collect();
                    let hint = match field.as_str() {
                        "status" | "error" => "only steps in `finally` and `on_attention` see how the run ends".to_owned(),
                        _ => did_you_mean(field, fields.iter().copied()).unwrap_or_else(|| format!("it has {}", fields.join(", "))),
                    };
                    self.flaw(id, "unknown-field", format!("`run` has no `{field}` here"), Some(hint));
                    return None;
                }
                let end = match first.as_deref() {
                    Some("status") => Some((Root::RunStatus, "run.status")),
                    Some("error") => Some((Root::RunError, "run.error")),
                    _ => None,
                };
                if let Some((root, text)) = end {
                    segments.remove(0);
                    return Some(Path { root, segments, root_text: text.to_owned() });
                }
                Some(Path { root: Root::Run, segments, root_text: "run".to_owned() })
            }
            "secrets" => {
                let (message, hint) = match self.reading.secrets {
                    true => {
                        ("a secret can't be computed with", "write `${secrets.<name>}` with nothing else between the braces".to_owned())
                    }
                    false => ("secrets are not available here", Reading::elsewhere("secrets").unwrap_or_default().to_owned()),
                };
                self.flaw(id, "secret-not-allowed", message, Some(hint));
                None
            }
            _ => {
                if !segments.is_empty() {
                    self.flaw(
                        id,
                        "unknown-field",
                        "`now` is a timestamp and has no members",
                        Some("call a method, as in `now.getHours()`".to_owned()),
                    );
                    segments.clear();
                }
                Some(Path { root: Root::Now, segments, root_text: "now".to_owned() })
            }
        }
    }

    fn schema_of(&self, root: Root) -> Option<&'_ serde_json::Value> {
        match root {
            Root::Input => self.steps.input_schema(),
            Root::Output(index) => self.steps.schema(&StepReference { index, offset: None }),
            _ => None,
        }
    }

    /// What the schema of a document rules out is an error; what it does not mention is worth a look.
    fn check_schema(&mut self, id: u64, path: &Path, presence: bool) {
        let Some(schema) = self.schema_of(path.root) else { return };
        let Followed::Missing { known, closed } = schema::follow(schema, &path.segments) else { return };
        if presence && !closed {
            return;
        }
        let before = Path { segments: path.segments[..known].to_vec(), ..path.clone() };
        let hint = match (&path.segments[known], schema::follow(schema, &path.segments[..known])) {
            (Segment::Key(key), Followed::Schema(at)) => {
                let members = at.get("properties").and_then(serde_json::Value::as_object);
                members.and_then(|members| did_you_mean(key, members.keys().map(String::as_str)))
            }
            _ => None,
        };
        let what = path.segments[known].to_string();
        let message = match closed {
            true => format!("by its schema `{before}` has no `{}`", what.trim_start_matches('.')),
            false => format!("the schema of `{before}` does not mention `{}`", what.trim_start_matches('.')),
        };
        let offset = (self.offset_of)(id);
        self.flaws.push(Flaw { offset, code: "not-in-schema", message, hint, warning: !closed });
    }

    fn step_path(&mut self, id: u64, mut segments: Vec<Segment>) -> Option<Path> {
        let Some(Segment::Key(step)) = segments.first().cloned() else {
            let hint = "write `steps.<id>.output`, `.status` or `.error`".to_owned();
            self.flaw(id, "bad-reference", "`steps` needs the id of a step", Some(hint));
            return None;
        };
        let Some(index) = self.steps.index(&step) else {
            let hint = did_you_mean(&step, self.steps.ids());
            self.flaw(id, "unknown-step", format!("there is no step `{step}`"), hint);
            return None;
        };
        let offset = (self.offset_of)(id);
        self.references.push(StepReference { index, offset });
        let field = match segments.get(1) {
            Some(Segment::Key(field)) => field.clone(),
            Some(Segment::Index(_)) | None => String::new(),
        };
        let root = match field.as_str() {
            "output" => Root::Output(index),
            "status" => Root::Status(index),
            "error" => Root::Error(index),
            _ => {
                let message = if field.is_empty() {
                    format!("`steps.{step}` needs to say what of the step")
                } else {
                    format!("a step has no `{field}`")
                };
                let hint = did_you_mean(&field, ["output", "status", "error"])
                    .unwrap_or_else(|| format!("write `steps.{step}.output`, `.status` or `.error`"));
                self.flaw(id, "unknown-field", message, Some(hint));
                return None;
            }
        };
        segments.drain(..2);
        Some(Path { root, segments, root_text: format!("steps.{step}.{field}") })
    }

    fn identifier(&mut self, id: u64, name: String) -> Expr {
        let known = name.starts_with('@') || self.variables.contains(&name) || env::TYPES.contains(&name.as_str());
        if !known {
            if let Some(place) = Reading::elsewhere(&name) {
                self.flaw(id, "unknown-root", format!("`{name}` is not available here"), Some(place.to_owned()));
            } else {
                let roots = self.reading.roots();
                let hint = did_you_mean(&name, roots.iter().copied().chain(self.variables.iter().map(String::as_str)))
                    .unwrap_or_else(|| format!("expressions begin with {}", roots.join(", ")));
                self.flaw(id, "unknown-root", format!("nothing is called `{name}`"), Some(hint));
            }
        }
        Expr::Ident(name)
    }

    /// `has(x.a.b)` is false when anything on the way, or the end, is missing or null.
    fn presence(&mut self, id: u64, select: SelectExpr, depth: usize) -> Expr {
        let asked = IdedExpr { id, expr: Expr::Select(SelectExpr { test: false, ..select }) };
        if let Some(spelled) = self.spelled_path(&asked) {
            return self.slot(spelled, true);
        }
        let mut keys = Vec::new();
        let mut operand = asked;
        loop {
            match operand.expr {
                Expr::Select(inner) if !inner.test => {
                    keys.push(inner.field);
                    operand = *inner.operand;
                }
                other => {
                    operand.expr = other;
                    break;
                }
            }
        }
        let operand = self.rewrite(operand, depth + 1);
        let text = |key: String| IdedExpr { id, expr: Expr::Literal(LiteralValue::String(key.into())) };
        let keys = IdedExpr { id, expr: Expr::List(ListExpr::new(keys.into_iter().rev().map(text).collect())) };
        Expr::Call(CallExpr { func_name: env::HAS.to_owned(), target: None, args: vec![operand, keys] })
    }

    fn call(&mut self, id: u64, call: CallExpr, depth: usize) -> Expr {
        let CallExpr { func_name, target, args } = call;
        let is_operator = !func_name.starts_with(|c: char| c.is_ascii_alphabetic());
        if let Some(target) = &target
            && let Expr::Ident(name) = &target.expr
            && name == "optional"
            && ["none", "of", "ofNonZeroValue"].contains(&func_name.as_str())
        {
            let target = Some(target.clone());
            let args = args.into_iter().map(|arg| self.rewrite(arg, depth + 1)).collect();
            return Expr::Call(CallExpr { func_name, target, args });
        }
        if !is_operator && !env::FUNCTIONS.contains(&func_name.as_str()) {
            let usage = env::MACROS.iter().find(|(name, _)| *name == func_name).map(|(_, usage)| format!("write `{usage}`"));
            let names = env::FUNCTIONS.iter().copied().chain(env::MACROS.iter().map(|(name, _)| *name));
            let message = if usage.is_some() {
                format!("`{func_name}` is not called like this")
            } else {
                format!("there is no function `{func_name}`")
            };
            let hint = usage.or_else(|| did_you_mean(&func_name, names));
            // The parser's position of a call is its bracket.
            let offset = (self.offset_of)(id).map(|offset| offset.saturating_sub(func_name.len()));
            self.flaws.push(Flaw { offset, code: "unknown-function", message, hint, warning: false });
        }
        if func_name == operators::DIVIDE && args.len() == 2 && self.is_int(&args[0]) && self.is_int(&args[1]) {
            let hint = "write double(a) / b, or int(double(a) / b)".to_owned();
            self.flaw(id, "int-division", "int / int would drop the remainder", Some(hint));
        }
        self.output_guarded |= [operators::EQUALS, operators::NOT_EQUALS].contains(&func_name.as_str()) && self.compares_output(&args);
        let target = target.map(|target| Box::new(self.rewrite(*target, depth + 1)));
        // CEL appends to the result of a `map` or `filter` in place, if it finds its own operator there.
        let appends = matches!(args.first().map(|arg| &arg.expr), Some(Expr::Ident(name)) if name.starts_with('@'));
        let args = args.into_iter().map(|arg| self.rewrite(arg, depth + 1)).collect();
        let func_name = match func_name.as_str() {
            operators::ADD if !appends => env::ADD.to_owned(),
            operators::SUBSTRACT => env::SUBTRACT.to_owned(),
            operators::MULTIPLY => env::MULTIPLY.to_owned(),
            operators::DIVIDE => env::DIVIDE.to_owned(),
            operators::MODULO => env::MODULO.to_owned(),
            _ => func_name,
        };
        Expr::Call(CallExpr { func_name, target, args })
    }

    /// True if `self.output` or a part of it is compared with null.
    fn compares_output(&self, args: &[IdedExpr]) -> bool {
        let is_output = |arg: &IdedExpr| {
            self.spelled_path(arg).is_some_and(|spelled| {
                spelled.root == "self" && matches!(spelled.segments.first(), Some(Segment::Key(field)) if field == "output")
            })
        };
        args.iter().any(|arg| matches!(arg.expr, Expr::Literal(LiteralValue::Null))) && args.iter().any(is_output)
    }

    /// True if the schema of the document says that there is an integer.
    fn is_int_by_schema(&self, node: &IdedExpr) -> bool {
        let Some(spelled) = self.spelled_path(node) else { return false };
        let (schema, segments) = match (spelled.root.as_str(), spelled.segments.as_slice()) {
            ("input", segments) => (self.steps.input_schema(), segments),
            ("steps", [Segment::Key(step), Segment::Key(field), segments @ ..]) if field == "output" => {
                (self.steps.index(step).and_then(|index| self.schema_of(Root::Output(index))), segments)
            }
            ("index", []) => return true,
            _ => return false,
        };
        schema.is_some_and(|schema| matches!(schema::follow(schema, segments), Followed::Schema(found) if schema::is_integer(found)))
    }

    /// True if the node is surely an int. Most types are known only when it runs; the division checks them then.
    fn is_int(&self, node: &IdedExpr) -> bool {
        match &node.expr {
            Expr::Literal(LiteralValue::Int(_)) => true,
            Expr::Call(call) => match call.func_name.as_str() {
                "size" | "int" => true,
                operators::NEGATE | operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::MODULO => {
                    call.target.is_none() && call.args.iter().all(|arg| self.is_int(arg))
                }
                _ => self.is_int_by_schema(node),
            },
            Expr::Ident(_) | Expr::Select(_) => self.is_int_by_schema(node),
            _ => false,
        }
    }

    fn comprehension(&mut self, node: ComprehensionExpr, depth: usize) -> Expr {
        let range = self.rewrite(node.iter_range, depth + 1);
        let iter_range =
            IdedExpr { id: range.id, expr: Expr::Call(CallExpr { func_name: env::ELEMENTS.to_owned(), target: None, args: vec![range] }) };
        let accu_init = self.rewrite(node.accu_init, depth + 1);
        let hidden = self.variables.len();
        self.variables.push(node.iter_var.clone());
        self.variables.extend(node.iter_var2.clone());
        let loop_cond = self.rewrite(node.loop_cond, depth + 1);
        let loop_step = self.rewrite(node.loop_step, depth + 1);
        let result = self.rewrite(node.result, depth + 1);
        self.variables.truncate(hidden);
        Expr::Comprehension(Box::new(ComprehensionExpr { iter_range, accu_init, loop_cond, loop_step, result, ..node }))
    }

    fn flaw(&mut self, id: u64, code: &'static str, message: impl Into<String>, hint: Option<String>) {
        let offset = (self.offset_of)(id);
        self.flaws.push(Flaw { offset, code, message: message.into(), hint, warning: false });
    }
}
