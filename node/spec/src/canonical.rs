//! One form for all that mean the same, so that applying a definition again makes no new version.

use bytes::Bytes;
use prost::Message;
use quorus_proto::v1::{Template, Workflow, step};
use sha2::{Digest, Sha256};

/// The canonical bytes of a definition and their SHA-256.
///
/// The bytes are an encoded message: fields in order of their numbers, maps in order of their keys, templates as compact JSON with keys in
/// order. Two texts that differ in layout, comments, order of keys or spelling of durations give the same bytes.
///
/// ```
/// use quorus_spec::{canonical, read};
/// let text = |with| format!("api_version: quorus/v1\nkind: Workflow\nmetadata: {{name: x}}\nspec: {{steps: [{{id: a, set: {with}}}]}}\n");
/// let digest = |text: String| canonical(&read(&text, "x").workflow.unwrap()).1;
/// assert_eq!(digest(text("{a: 1, b: 2}")), digest(text("{b: 2, a: 0x1}")));
/// assert_ne!(digest(text("{a: 1, b: 2}")), digest(text("{a: 1, b: 3}")));
/// ```
pub fn canonical(workflow: &Workflow) -> (Bytes, [u8; 32]) {
    let mut workflow = workflow.clone();
    if let Some(spec) = &mut workflow.spec {
        spec.output.as_mut().map(sort);
        for step in &mut spec.steps {
            step.with.as_mut().map(sort);
            if let Some(step::Kind::Set(template)) = &mut step.kind {
                sort(template);
            }
        }
    }
    let bytes = Bytes::from(workflow.encode_to_vec());
    let digest = Sha256::digest(&bytes).into();
    (bytes, digest)
}

/// A digest as people see it.
pub fn digest_hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A template that is no JSON stays as it is: nothing that passed [`fn@crate::check`] has one.
fn sort(template: &mut Template) {
    if let Ok(mut value) = serde_json::from_str::<serde_json::Value>(&template.json) {
        value.sort_all_objects();
        template.json = value.to_string();
    }
}
