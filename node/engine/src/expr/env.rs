//! What expressions may call, and the functions that compiled expressions call instead of CEL's operators (see the module's rules).

use std::sync::{Arc, LazyLock};

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, DYN_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{Env, ExecutionError};

pub(super) const ADD: &str = "@add";
pub(super) const SUBTRACT: &str = "@subtract";
pub(super) const MULTIPLY: &str = "@multiply";
pub(super) const DIVIDE: &str = "@divide";
pub(super) const MODULO: &str = "@modulo";
/// Makes the keys of a map a list, in order.
pub(super) const ELEMENTS: &str = "@elements";
/// `has`: a value, and the path of keys that must be there.
pub(super) const HAS: &str = "@has";

/// The functions of CEL's standard library, by name. Operators are not here: the parser makes them.
pub(super) const FUNCTIONS: &[&str] = &[
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "hasValue",
    "int",
    "matches",
    "or",
    "orValue",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
    "value",
];

/// The macros, and how they are called.
pub(super) const MACROS: &[(&str, &str)] = &[
    ("all", "list.all(x, condition)"),
    ("exists", "list.exists(x, condition)"),
    ("exists_one", "list.exists_one(x, condition)"),
    ("filter", "list.filter(x, condition)"),
    ("has", "has(value.field)"),
    ("map", "list.map(x, expression)"),
];

/// Names of types, as `type(x) == int` uses them.
pub(super) const TYPES: &[&str] = &["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

pub(super) static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    let two = || vec![DYN_TYPE, DYN_TYPE];
    let declared = [
        env.add_overload(ADD, ADD, two(), |args| arithmetic(ADD, args)),
        env.add_overload(SUBTRACT, SUBTRACT, two(), |args| arithmetic(SUBTRACT, args)),
        env.add_overload(MULTIPLY, MULTIPLY, two(), |args| arithmetic(MULTIPLY, args)),
        env.add_overload(DIVIDE, DIVIDE, two(), |args| arithmetic(DIVIDE, args)),
        env.add_overload(MODULO, MODULO, two(), |args| arithmetic(MODULO, args)),
        env.add_overload(ELEMENTS, ELEMENTS, vec![DYN_TYPE], elements),
        env.add_overload(HAS, HAS, two(), has),
    ];
    debug_assert!(declared.iter().all(Result::is_ok), "the names are ours alone");
    Arc::new(env)
});

fn arithmetic<'b, 'v>(operator: &'static str, mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (Some(right), Some(left)) = (args.pop(), args.pop()) else {
        return Err(ExecutionError::MissingArgumentOrTarget);
    };
    if operator == DIVIDE && int(&left).is_some() && int(&right).is_some() {
        return Err(ExecutionError::function_error("/", "int / int would drop the remainder; write double(a) / b, or int(double(a) / b)"));
    }
    let (left, right) = promote(left, right);
    let (left, right): (&dyn Val, &dyn Val) = (left.as_ref(), right.as_ref());
    let result = match operator {
        ADD => left.as_adder().map(|left| left.add(right).map(CowVal::into_owned)),
        SUBTRACT => left.as_subtractor().map(|left| left.sub(right).map(CowVal::into_owned)),
        MULTIPLY => left.as_multiplier().map(|left| left.mul(right).map(CowVal::into_owned)),
        DIVIDE => left.as_divider().map(|left| left.div(right).map(CowVal::into_owned)),
        _ => left.as_modder().map(|left| left.modulo(right).map(CowVal::into_owned)),
    };
    let symbol = match operator {
        ADD => "+",
        SUBTRACT => "-",
        MULTIPLY => "*",
        DIVIDE => "/",
        _ => "%",
    };
    let unfit = || ExecutionError::no_such_overload(symbol, vec![left.get_type().name().to_owned(), right.get_type().name().to_owned()]);
    match result {
        None | Some(Err(ExecutionError::UnsupportedBinaryOperator(..) | ExecutionError::UnexpectedType { .. })) => Err(unfit()),
        Some(result) => result.map(CowVal::Owned),
    }
}

fn promote<'b, 'v>(left: CowVal<'b, 'v>, right: CowVal<'b, 'v>) -> (CowVal<'b, 'v>, CowVal<'b, 'v>) {
    let double = |value: i64| CowVal::owned(CelDouble::from(value as f64));
    match (int(&left), int(&right)) {
        (Some(value), None) if is_double(&right) => (double(value), right),
        (None, Some(value)) if is_double(&left) => (left, double(value)),
        _ => (left, right),
    }
}

fn int(value: &CowVal<'_, '_>) -> Option<i64> {
    value.as_ref().downcast_ref::<CelInt>().map(|int| *int.inner())
}

fn is_double(value: &CowVal<'_, '_>) -> bool {
    value.as_ref().downcast_ref::<CelDouble>().is_some()
}

fn elements<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = args.pop().ok_or(ExecutionError::MissingArgumentOrTarget)?;
    let Some(map) = value.as_ref().downcast_ref::<CelMap>() else { return Ok(value) };
    let mut keys: Vec<CelMapKey<'v>> = map.inner().keys().cloned().collect();
    keys.sort();
    let keys = keys.into_iter().map(|key| -> Box<dyn Val + 'v> {
        match key {
            CelMapKey::String(text) => Box::new(text),
            CelMapKey::Int(int) => Box::new(int),
            CelMapKey::UInt(uint) => Box::new(uint),
            CelMapKey::Bool(value) => Box::new(value),
        }
    });
    Ok(CowVal::owned(CelList::from(keys.collect::<Vec<_>>())))
}

fn has<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [value, keys] = args.as_slice() else { return Err(ExecutionError::MissingArgumentOrTarget) };
    let keys = keys.as_ref().downcast_ref::<CelList>().ok_or(ExecutionError::MissingArgumentOrTarget)?;
    let mut value: &dyn Val = value.as_ref();
    for key in keys.inner() {
        let found = if value.downcast_ref::<CelNull>().is_some() {
            None
        } else {
            let map = value.downcast_ref::<CelMap>();
            let map = map.ok_or_else(|| ExecutionError::no_such_overload("has", vec![value.get_type().name().to_owned()]))?;
            let key = key.downcast_ref::<CelString>().map(|key| CelMapKey::from(key.inner()));
            key.and_then(|key| map.inner().get(&key))
        };
        match found {
            Some(found) => value = found.as_ref(),
            None => return Ok(CowVal::owned(CelBool::from(false))),
        }
    }
    Ok(CowVal::owned(CelBool::from(value.downcast_ref::<CelNull>().is_none())))
}
