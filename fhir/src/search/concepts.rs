//! `:in`, `:not-in`, `:below` and `:above` of token parameters (section 3.1.1.4.4).

use datafusion::logical_expr::Expr;

use super::{
    SearchError,
    codes::CodesOf,
    plain,
    scope::Scope,
    test::Test,
    token::{System, Token},
    value::{split, unescape},
};
use crate::{
    definitions::{Primitive, SearchParameter, TypeId},
    path::Path,
};

/// Whether the modifier of a token parameter is about concepts rather than about one code as it is written.
pub(super) fn is_conceptual(modifier: &str) -> bool {
    matches!(modifier, "in" | "not-in" | "below" | "above")
}

/// Whether values of a type are codes of a code system.
fn is_coded(type_id: TypeId) -> bool {
    type_id.primitive() == Some(Primitive::Code) || matches!(type_id.name(), "Coding" | "CodeableConcept")
}

impl Scope<'_> {
    /// `code:in=[value set]`, `code:below=[system]|[code]` and their like. Several values mean any of them; `:not-in` then
    /// means none of them, and holds as `:not` does where there is no code at all.
    pub(super) fn concepts(
        &self,
        name: &str,
        parameter: &SearchParameter,
        modifier: &str,
        value: &str,
    ) -> Result<Expr, SearchError> {
        let invalid = |reason: String| SearchError::Invalid { name: name.to_owned(), reason };
        let selection = self.paths(name, parameter)?;
        let coded: Vec<Path> =
            selection.paths().iter().filter(|path| is_coded(path.element.type_id)).cloned().collect();
        if coded.is_empty() {
            let reason = format!("`:{modifier}` is about codes of code systems, and `{}` has none", parameter.code);
            return Err(invalid(reason));
        }
        let mut sets = Vec::new();
        for one in split(value, ',') {
            let wanted = self.wanted(modifier, one).map_err(invalid)?;
            sets.extend(self.context.codes(name, wanted)?);
        }
        let condition = plain::any(&coded, &[], &Test::Concepts(sets), &self.schema);
        Ok(if modifier == "not-in" { condition.is_not_true() } else { condition })
    }

    fn wanted(&self, modifier: &str, value: &str) -> Result<CodesOf, String> {
        if value.is_empty() {
            return Err("a value is empty: leave the parameter or the comma out".to_owned());
        }
        if matches!(modifier, "in" | "not-in") {
            let text = unescape(value);
            let base = self.context.request.base.unwrap_or_default();
            // this server's own URL is where the value set is, which goes before what it is called
            let own = text.strip_prefix(base).and_then(|rest| rest.strip_prefix('/')).filter(|_| !base.is_empty());
            return Ok(CodesOf::ValueSet(own.map(str::to_owned).unwrap_or(text)));
        }
        match Token::parse(value)? {
            Token { system: System::Is(system), code: Some(code) } if !system.is_empty() => Ok(match modifier {
                "below" => CodesOf::Below { system, code },
                _ => CodesOf::Above { system, code },
            }),
            _ => Err(format!("with `:{modifier}` a code is written `system|code`")),
        }
    }
}
