use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Place, Rights, Sight, Smart, TableName, TokenId, Zone, normalize_name};

/// Who asks. Every door makes one from a token before anything else happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub token: TokenId,
    /// The token's name; safe to log.
    pub name: String,
    pub role: Role,
    /// Roles beside the built-in one, such as `researchers`: those of the token and those that were granted.
    pub groups: Vec<String>,
    /// What the token itself gives leave to read.
    pub scope: Scope,
    /// What was granted to the name, the role and the groups, and what is hidden from them.
    pub rights: Arc<Rights>,
    /// SMART scopes; where there are any, nothing beyond them is there, whatever else was granted.
    pub smart: Option<Arc<Smart>>,
}

/// What a principal may do besides reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, tokens included.
    Admin,
    /// Sources, runs, mappings, quarantine and maintenance.
    Engineer,
    /// Queries, and tables and views in a schema of `work`.
    Analyst,
    /// Queries only.
    Reader,
}

impl Role {
    /// Every role, the mightiest first.
    pub const ALL: [Role; 4] = [Role::Admin, Role::Engineer, Role::Analyst, Role::Reader];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Engineer => "engineer",
            Role::Analyst => "analyst",
            Role::Reader => "reader",
        }
    }
}

/// What a token may read, before anything is granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    All,
    /// Only the tables of these schemas.
    Schemas(Vec<SchemaGrant>),
}

/// Leave to read one schema of one zone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SchemaGrant {
    pub zone: Zone,
    pub schema: String,
}

impl Principal {
    /// One to whom nothing was granted beside the token's own scope.
    #[must_use]
    pub fn new(token: TokenId, name: impl Into<String>, role: Role, scope: Scope) -> Self {
        Self { token, name: name.into(), role, groups: Vec::new(), scope, rights: Arc::default(), smart: None }
    }

    /// Which columns of a table are there for the principal; rows and values may be hidden further
    /// ([`Rights::filters`], [`Rights::mask`], SMART scopes of a patient).
    #[must_use]
    pub fn sight(&self, table: &TableName) -> Sight {
        if self.smart.as_ref().is_some_and(|smart| !smart.reads(table)) {
            return Sight::Nothing;
        }
        let schema = |grant: &SchemaGrant| grant.zone == table.zone && grant.schema == table.schema;
        let by_scope = match &self.scope {
            Scope::All => true,
            Scope::Schemas(grants) => grants.iter().any(schema),
        };
        if by_scope || self.owns(table.zone, &table.schema) { Sight::All } else { self.rights.sight(table) }
    }

    /// Whether the table is there for the principal, with one column at least.
    #[must_use]
    pub fn may_read(&self, table: &TableName) -> bool {
        self.sight(table) != Sight::Nothing
    }

    /// Whether the principal may know that this schema exists: a table of it can be read.
    #[must_use]
    pub fn may_read_schema(&self, zone: Zone, schema: &str) -> bool {
        if self.smart.as_ref().is_some_and(|smart| !smart.reads_schema(zone, schema)) {
            return false;
        }
        let by_scope = match &self.scope {
            Scope::All => true,
            Scope::Schemas(grants) => grants.iter().any(|grant| grant.zone == zone && grant.schema == schema),
        };
        by_scope || self.owns(zone, schema) || self.rights.knows_schema(zone, schema)
    }

    /// Whether every table of a schema is shown to the principal as it is, with all its rows, columns and values.
    #[must_use]
    pub fn sees_whole_schema(&self, zone: Zone, schema: &str) -> bool {
        let by_scope = match &self.scope {
            Scope::All => true,
            Scope::Schemas(grants) => grants.iter().any(|grant| grant.zone == zone && grant.schema == schema),
        };
        self.smart.is_none()
            && (by_scope || self.owns(zone, schema) || self.rights.reads_schema(zone, schema))
            && !self.rights.hides_in_schema(zone, schema)
    }

    /// Whether the principal is shown a table as it is, with all its rows, columns and values.
    #[must_use]
    pub fn sees_whole(&self, table: &TableName) -> bool {
        self.smart.is_none() && self.sight(table) == Sight::All && !self.rights.hides(table)
    }

    /// Whether every table is there for the principal, with filters and masks or without.
    #[must_use]
    pub fn knows_all(&self) -> bool {
        self.smart.is_none() && (self.scope == Scope::All || self.rights.reads_all())
    }

    /// The schemas that tables can be read in, where they can be named; `None`: ask [`Principal::may_read_schema`] of each
    /// that there is.
    #[must_use]
    pub fn named_schemas(&self) -> Option<Vec<(Zone, String)>> {
        let Scope::Schemas(grants) = &self.scope else { return None };
        let mut named: Vec<(Zone, String)> = grants.iter().map(|grant| (grant.zone, grant.schema.clone())).collect();
        for place in self.rights.reads.iter().map(|(place, _)| place).chain(&self.rights.opened) {
            match place {
                Place::Everything | Place::Zone(_) => return None,
                Place::Schema(zone, schema) => named.push((*zone, schema.clone())),
                Place::Table(table) => named.push((table.zone, table.schema.clone())),
            }
        }
        if self.role != Role::Reader {
            named.push((Zone::Work, self.own_schema()));
        }
        named.retain(|(zone, schema)| self.may_read_schema(*zone, schema));
        named.sort();
        named.dedup();
        Some(named)
    }

    /// Whether nothing at all is hidden from the principal.
    #[must_use]
    pub fn sees_everything(&self) -> bool {
        self.knows_all() && !self.rights.hides_anything()
    }

    /// Whether the principal may make, change and drop a table or view of that name: only in `work`, an administrator all
    /// of it, an analyst the own schema and what was granted.
    #[must_use]
    pub fn may_write(&self, table: &TableName) -> bool {
        table.zone == Zone::Work
            && self.smart.is_none()
            && match self.role {
                Role::Admin => true,
                Role::Engineer | Role::Analyst => self.owns(Zone::Work, &table.schema) || self.rights.may_write(table),
                Role::Reader => false,
            }
    }

    /// The schema of `work` that is the principal's own: see [`own_schema`].
    #[must_use]
    pub fn own_schema(&self) -> String {
        own_schema(&self.name)
    }

    /// Whether `now`, the same caller a moment later, may still see all that this one sees, and nothing else is hidden from it:
    /// what was granted meanwhile takes nothing away.
    #[must_use]
    pub fn is_kept_by(&self, now: &Self) -> bool {
        let (had, has) = (&self.rights, &now.rights);
        self.token == now.token
            && self.role == now.role
            && self.scope == now.scope
            && self.smart == now.smart
            && are_in(&had.reads, &has.reads)
            && are_in(&had.writes, &has.writes)
            && are_in(&had.opened, &has.opened)
            // Several filters of a table go together: one more or one less may hide what was seen.
            && are_in(&had.filters, &has.filters)
            && are_in(&has.filters, &had.filters)
            && are_in(&has.masks, &had.masks)
    }

    fn owns(&self, zone: Zone, schema: &str) -> bool {
        zone == Zone::Work && self.role != Role::Reader && schema == self.own_schema()
    }

    /// Whether the principal may change sources, runs, mappings and quarantine. A token that is limited by SMART scopes may
    /// do nothing beyond them, whatever its role.
    #[must_use]
    pub fn may_engineer(&self) -> bool {
        matches!(self.role, Role::Admin | Role::Engineer) && self.smart.is_none()
    }

    #[must_use]
    pub fn may_administer(&self) -> bool {
        self.role == Role::Admin && self.smart.is_none()
    }
}

fn are_in<T: PartialEq>(some: &[T], all: &[T]) -> bool {
    some.iter().all(|one| all.contains(one))
}

/// The schema of `work` that belongs to a name: the name itself where a schema may be called so, else its letters with a mark of
/// all of it. No two tokens have the same one, for a name that would be another's is refused when its token is made; see
/// [`is_like_marked`].
#[must_use]
pub fn own_schema(name: &str) -> String {
    let schema = normalize_name(name);
    if schema == name {
        return schema;
    }
    // FNV-1a, written out, for the schema must stay the same for ever
    let mark = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{schema}_{mark:016x}")
}

/// Whether a name looks like the schema that belongs to another name, and would be the same one: it ends in a mark.
#[must_use]
pub fn is_like_marked(name: &str) -> bool {
    let is_mark =
        |end: &str| end.len() == 16 && end.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    normalize_name(name) == name && name.rsplit_once('_').is_some_and(|(_, end)| is_mark(end))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Mask;

    #[test]
    fn names_that_are_alike_have_schemas_of_their_own() {
        let names = ["a_b", "a.b", "A_b", "a b", "a__b", "hospital:a_b", "_a_b"];
        let schemas: BTreeSet<String> = names.into_iter().map(own_schema).collect();
        assert_eq!(schemas.len(), names.len(), "{schemas:?}");
        assert_eq!(own_schema("a_b"), "a_b");
        assert_eq!(own_schema("dr.nadia"), "dr_nadia_0c955c3ec094954c", "it stays the same for ever");
    }

    #[test]
    fn what_is_granted_takes_nothing_away_and_what_is_hidden_does() {
        let token = TokenId::new();
        let with = |rights: Rights| {
            let mut principal = Principal::new(token, "ana", Role::Analyst, Scope::All);
            principal.rights = Arc::new(rights);
            principal
        };
        let (lab, ward) = (Place::Zone(Zone::Raw), Place::Zone(Zone::Processed));
        let table = TableName::new(Zone::Raw, "hms", "visit");
        let none = with(Rights::default());
        let reads = with(Rights { reads: vec![(lab.clone(), None)], ..Rights::default() });
        let more = with(Rights { reads: vec![(ward, None), (lab.clone(), None)], ..Rights::default() });
        let filtered = with(Rights { filters: vec![(table.clone(), "a = 1".to_owned())], ..Rights::default() });
        let masked = with(Rights { masks: vec![(table, "a".to_owned(), Mask::Null)], ..Rights::default() });
        let opened = with(Rights { opened: vec![lab], ..Rights::default() });
        for (had, has, kept) in [
            (&none, &reads, true),
            (&reads, &more, true),
            (&more, &reads, false),
            (&none, &filtered, false),
            (&filtered, &none, false),
            (&none, &masked, false),
            (&masked, &none, true),
            (&none, &opened, true),
            (&opened, &none, false),
        ] {
            assert_eq!(had.is_kept_by(has), kept, "{:?} {:?}", had.rights, has.rights);
        }
        let reader = Principal { role: Role::Reader, ..none.clone() };
        assert!(!none.is_kept_by(&reader));
    }

    #[test]
    fn a_name_like_the_schema_of_another_is_known() {
        assert!(is_like_marked(&own_schema("a.b")) && is_like_marked(&own_schema("hospital:7f3a")));
        for other in ["a_b", "a.b", "nightly_2024", "0123456789abcdef"] {
            assert!(!is_like_marked(other), "{other}");
        }
    }
}
