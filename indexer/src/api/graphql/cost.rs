//! What a request may cost at most, reckoned before anything is read.

use std::{collections::HashMap, sync::Arc};

use async_graphql::{
    Name, Positioned, Request, ServerError, Value as Constant, Variables,
    parser::types::{Field, FragmentDefinition, Selection, SelectionSet},
};
use serde_json::Value as Json;

use super::{Operation, types};
use crate::api::input::PAGE_ROWS_MAX;

/// Most that a request may cost: about the values that its answer can hold, and so a few megabytes of JSON.
const COST_MAX: u64 = 60_000;
/// What a query of the database counts as.
const QUERY_COST: u64 = 1_000;
/// What a list of the schema counts as when a request asks about the schema itself.
const SCHEMA_LIST: u64 = 10;
/// Deepest selection, fragments counted too: what the usual tools ask about the schema has 17 levels.
const LEVELS_MAX: usize = 20;
/// Opening brackets of any kind: the parser follows them on its stack. All are counted, for which of them are closed again, and not in a
/// text or a comment, only the parser knows.
const BRACKETS_MAX: usize = 200;

/// Lists by which the schema is asked about: `types { fields { type { fields … }}}` would grow without end.
const SCHEMA_LISTS: [&str; 8] =
    ["types", "fields", "args", "inputFields", "enumValues", "possibleTypes", "interfaces", "directives"];

/// Rows of a page that does not say how many, by the field that gives it.
pub(super) struct Prices(HashMap<&'static str, u64>);

impl Prices {
    pub(super) fn of(operations: &[Arc<Operation>], description: &Json) -> Self {
        let rows = |operation: &Arc<Operation>| {
            let limit = types::parameters(description, operation.path).find(|parameter| parameter["name"] == "limit")?;
            Some((operation.id, limit["schema"]["default"].as_u64().unwrap_or(PAGE_ROWS_MAX.into())))
        };
        Self(operations.iter().filter_map(rows).collect())
    }

    /// The request, if it can be afforded.
    pub(super) fn check(&self, mut request: Request) -> Result<Request, ServerError> {
        if request.query.bytes().filter(|byte| b"{[(".contains(byte)).count() > BRACKETS_MAX {
            return Err(refused(format!("a request may have {BRACKETS_MAX} opening brackets")));
        }
        let variables = std::mem::take(&mut request.variables);
        let document = request.parsed_query()?;
        let mut bill = Bill { prices: self, fragments: &document.fragments, variables: &variables, left: COST_MAX };
        let checked = document.operations.iter().try_for_each(|(_, operation)| {
            bill.pay_for(&operation.node.selection_set.node, Above { times: 1, levels: 0, root: true })
        });
        checked.map_err(refused)?;
        Ok(request.variables(variables))
    }
}

fn refused(why: impl Into<String>) -> ServerError {
    let mut error = ServerError::new(why, None);
    error.extensions.get_or_insert_default().set("code", "query_too_large");
    error
}

/// Where a selection is: how often its fields may be in the answer, and how deep.
#[derive(Clone, Copy)]
struct Above {
    times: u64,
    levels: usize,
    root: bool,
}

struct Bill<'a> {
    prices: &'a Prices,
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    variables: &'a Variables,
    left: u64,
}

impl Bill<'_> {
    fn pay(&mut self, cost: u64) -> Result<(), String> {
        let left = self.left.checked_sub(cost);
        self.left = left.ok_or_else(|| format!("this could answer more than {COST_MAX} values: ask for fewer rows or fields"))?;
        Ok(())
    }

    /// Each step costs something, so that fragments made of fragments end too.
    fn pay_for(&mut self, set: &SelectionSet, above: Above) -> Result<(), String> {
        if above.levels >= LEVELS_MAX {
            return Err(format!("selections may be {LEVELS_MAX} levels deep"));
        }
        let below = Above { levels: above.levels + 1, ..above };
        for item in &set.items {
            self.pay(above.times)?;
            match &item.node {
                Selection::Field(field) => {
                    let field = &field.node;
                    let times = above.times.saturating_mul(self.rows(field, above.root));
                    if above.root {
                        self.pay(QUERY_COST)?;
                    }
                    self.pay_for(&field.selection_set.node, Above { times, root: false, ..below })?;
                }
                Selection::InlineFragment(fragment) => self.pay_for(&fragment.node.selection_set.node, below)?,
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.fragments.get(&spread.node.fragment_name.node) {
                        self.pay_for(&fragment.node.selection_set.node, below)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// How many rows a field may answer.
    fn rows(&self, field: &Field, root: bool) -> u64 {
        let name = field.name.node.as_str();
        if !root {
            return if SCHEMA_LISTS.contains(&name) { SCHEMA_LIST } else { 1 };
        }
        let Some(default) = self.prices.0.get(name) else { return 1 };
        let Some(limit) = field.get_argument("limit") else { return *default };
        let most = u64::from(PAGE_ROWS_MAX);
        match limit.node.clone().into_const_with(|name| self.variables.get(&name).cloned().ok_or(())) {
            Ok(Constant::Number(rows)) => rows.as_u64().unwrap_or(most).min(most),
            // Left to a default of the variable, or no number, which is refused later.
            _ => most,
        }
    }
}
