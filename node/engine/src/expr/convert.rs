//! Between JSON and CEL values. Strings are borrowed from the document, so that copies of values stay cheap.

use std::collections::BTreeMap;

use cel::common::types::{
    CelBool, CelDouble, CelDuration, CelInt, CelList, CelMap, CelMapKey, CelNull, CelOptional, CelString, CelTimestamp, CelType, CelUInt,
};
use cel::common::value::Val;
use serde_json::{Map, Number, Value};

use super::duration::{format_delta, format_timestamp};
use crate::Timestamp;

/// Makes a CEL value of a JSON value.
#[expect(clippy::disallowed_types, reason = "CEL's maps are made from HashMaps; nothing here depends on their order")]
pub(super) fn to_cel<'v>(json: &'v Value) -> Box<dyn Val + 'v> {
    match json {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(int) => Box::new(CelInt::from(int)),
            None => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(elements) => Box::new(CelList::from(elements.iter().map(to_cel).collect::<Vec<_>>())),
        Value::Object(members) => {
            let map: std::collections::HashMap<CelMapKey<'v>, Box<dyn Val + 'v>> =
                members.iter().map(|(k, v)| (CelMapKey::from(k.as_str()), to_cel(v))).collect();
            Box::new(CelMap::from(map))
        }
    }
}

/// Makes a JSON value of a CEL value, or says why it can't. `budget` is what the value may still take, in bytes.
pub(super) fn to_json(value: &dyn Val, budget: &mut usize) -> Result<Value, Unrepresentable> {
    *budget = budget.checked_sub(4).ok_or(Unrepresentable::TooLarge)?;
    if let Some(text) = value.downcast_ref::<CelString>() {
        *budget = budget.checked_sub(text.inner().len()).ok_or(Unrepresentable::TooLarge)?;
        return Ok(Value::String(text.inner().to_owned()));
    }
    if let Some(list) = value.downcast_ref::<CelList>() {
        return list.inner().iter().map(|element| to_json(element.as_ref(), budget)).collect::<Result<_, _>>().map(Value::Array);
    }
    if let Some(map) = value.downcast_ref::<CelMap>() {
        return map_to_json(map, budget);
    }
    if let Some(optional) = value.downcast_ref::<CelOptional>() {
        return optional.inner().map_or(Ok(Value::Null), |inner| to_json(inner, budget));
    }
    scalar_to_json(value).ok_or_else(|| Unrepresentable::Kind(value.get_type().name().to_owned()))
}

fn map_to_json(map: &CelMap<'_>, budget: &mut usize) -> Result<Value, Unrepresentable> {
    let ordered: BTreeMap<_, _> = map.inner().iter().collect();
    let mut members = Map::new();
    for (key, value) in ordered {
        let key = match key {
            CelMapKey::String(text) => text.inner().to_owned(),
            CelMapKey::Int(int) => int.inner().to_string(),
            CelMapKey::UInt(uint) => uint.inner().to_string(),
            CelMapKey::Bool(value) => value.inner().to_string(),
        };
        *budget = budget.checked_sub(key.len() + 4).ok_or(Unrepresentable::TooLarge)?;
        members.insert(key, to_json(value.as_ref(), budget)?);
    }
    Ok(Value::Object(members))
}

fn scalar_to_json(value: &dyn Val) -> Option<Value> {
    if let Some(int) = value.downcast_ref::<CelInt>() {
        Some(Value::from(*int.inner()))
    } else if let Some(uint) = value.downcast_ref::<CelUInt>() {
        Some(Value::from(*uint.inner()))
    } else if let Some(double) = value.downcast_ref::<CelDouble>() {
        Number::from_f64(*double.inner()).map(Value::Number)
    } else if let Some(boolean) = value.downcast_ref::<CelBool>() {
        Some(Value::Bool(*boolean.inner()))
    } else if value.downcast_ref::<CelNull>().is_some() {
        Some(Value::Null)
    } else if let Some(time) = value.downcast_ref::<CelTimestamp>() {
        Some(Value::String(format_timestamp(Timestamp(time.inner().timestamp_millis()))))
    } else if let Some(duration) = value.downcast_ref::<CelDuration>() {
        Some(Value::String(format_delta(duration.inner())))
    } else {
        value.downcast_ref::<CelType>().map(|kind| Value::String(kind.name().to_owned()))
    }
}

/// Why a CEL value is not a JSON value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unrepresentable {
    /// It is larger than a payload may be.
    TooLarge,
    /// JSON has nothing like it: bytes, or a number that is not finite.
    Kind(String),
}
