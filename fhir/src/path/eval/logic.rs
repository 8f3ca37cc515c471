use super::{
    EvalError,
    items::Items,
    read::{Read, Value},
};
use crate::path::syntax::Operator;

/// The truth of each focus: of one boolean its value, of one other value that it is there (FHIRPath, "Singleton Evaluation of
/// Collections").
///
/// # Errors
/// [`EvalError::Many`].
pub(super) fn truths(items: &Items, count: usize, what: &'static str) -> Result<Vec<Option<bool>>, EvalError> {
    let read = Read::new(items, count)?;
    let truth = |focus| {
        let range = read.range(focus);
        match range.len() {
            0 => Ok(None),
            1 => Ok(Some(!matches!(read.at(range.start), Some(Value::Boolean(false))))),
            _ => Err(EvalError::Many(what)),
        }
    };
    (0..count).map(truth).collect()
}

/// `and`, `or`, `xor`, `implies` with three values.
pub(super) fn logic(operator: Operator, left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (operator, left, right) {
        (Operator::And, Some(false), _) | (Operator::And, _, Some(false)) => Some(false),
        (Operator::And, Some(true), Some(true)) => Some(true),
        (Operator::Or, Some(true), _) | (Operator::Or, _, Some(true)) => Some(true),
        (Operator::Or, Some(false), Some(false)) => Some(false),
        (Operator::Xor, Some(one), Some(other)) => Some(one != other),
        (Operator::Implies, Some(false), _) | (Operator::Implies, _, Some(true)) => Some(true),
        (Operator::Implies, Some(true), Some(false)) => Some(false),
        _ => None,
    }
}
