//! The functions of a worker, by task type.

use std::{collections::BTreeMap, fmt, future::Future, pin::Pin, sync::Arc};

use super::{Output, TaskContext, TaskError};

type Outcome = Pin<Box<dyn Future<Output = Result<Output, TaskError>> + Send>>;

/// A registered function.
pub(super) type Function = Arc<dyn Fn(TaskContext) -> Outcome + Send + Sync>;

/// Functions by task type.
#[derive(Clone, Default)]
pub(super) struct Registry {
    functions: BTreeMap<String, Function>,
}

impl Registry {
    pub(super) fn insert<F, Fut, O>(&mut self, task_type: String, function: F)
    where
        F: Fn(TaskContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, TaskError>> + Send + 'static,
        O: Into<Output>,
    {
        let function = Arc::new(function);
        let boxed = move |context: TaskContext| -> Outcome {
            let function = function.clone();
            // The function is called inside of the future, so that a panic in its first lines is caught like any other.
            Box::pin(async move { function(context).await.map(Into::into) })
        };
        self.functions.insert(task_type, Arc::new(boxed));
    }

    pub(super) fn get(&self, task_type: &str) -> Option<Function> {
        self.functions.get(task_type).cloned()
    }

    pub(super) fn task_types(&self) -> Vec<String> {
        self.functions.keys().cloned().collect()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.functions.keys()).finish()
    }
}
