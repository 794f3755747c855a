pub(super) struct GateCondition;
impl GateCondition {
    pub(super) fn compile(_: &str) -> Result<Self, String> { Ok(Self) }
    pub(super) fn holds(&self, _: &std::collections::BTreeMap<String, f64>) -> Result<bool, String> { Ok(true) }
}
