//! `pg_proc`: the functions that read and write values of types. Clients that load types ask for those, by name or by number.

use super::{
    Definition, catalog,
    grid::{Cell, Row},
    rows,
    types::{ENDS, Functions, NAMES, OF_LISTS},
};

const COLUMNS: &str = "oid:oid proname:text pronamespace:oid=11 proowner:oid=10 prolang:oid=12 procost:float4=1 \
    prorows:float4=0 provariadic:oid=0 prosupport:text=- prokind:text=f prosecdef:bool=f proleakproof:bool=f \
    proisstrict:bool=t proretset:bool=f provolatile:text=i proparallel:text=s pronargs:int2=1 pronargdefaults:int2=0 \
    prorettype:oid proargtypes:oids proallargtypes:oids proargmodes:texts proargnames:texts proargdefaults:text \
    protrftypes:oids prosrc:text probin:text prosqlbody:text proconfig:texts proacl:texts proisagg:bool=f proiswindow:bool=f \
    tableoid:oid=1255 xmin:oid=1";

/// Numbers of the pseudo types that such functions take or give.
const CSTRING: u32 = 2275;
const INTERNAL: u32 = 2281;
const ANY_LIST: u32 = 2277;
const BYTES: u32 = 17;

pub(super) const PROCEDURE: Definition = catalog!("pg_proc", COLUMNS, |_| {
    let all = NAMES.iter().flat_map(|named| of_type(named.oid, named.functions)).chain(of_type(ANY_LIST, OF_LISTS));
    rows(COLUMNS, all.collect())
});

fn of_type(oid: u32, (stem, numbers): Functions) -> impl Iterator<Item = Row> {
    let kinds = [(CSTRING, oid), (oid, CSTRING), (INTERNAL, oid), (oid, BYTES)];
    ENDS.into_iter().zip(numbers).zip(kinds).map(move |((end, number), (takes, gives))| {
        let name = format!("{stem}{end}");
        vec![
            ("oid", number.into()),
            ("proname", name.as_str().into()),
            ("prorettype", gives.into()),
            ("proargtypes", Cell::Ints(vec![i64::from(takes)])),
            ("prosrc", name.into()),
        ]
    })
}

fn all() -> impl Iterator<Item = (String, u32)> {
    let functions = NAMES.iter().map(|named| named.functions).chain([OF_LISTS]);
    functions.flat_map(|(stem, numbers)| ENDS.into_iter().map(move |end| format!("{stem}{end}")).zip(numbers))
}

/// The number of a function, as `regproc` reads it; `-` is none.
pub(crate) fn number_of_procedure(name: &str) -> Option<u32> {
    let name = name.strip_prefix("pg_catalog.").unwrap_or(name);
    if name == "-" { Some(0) } else { all().find(|(known, _)| known == name).map(|(_, number)| number) }
}

/// A function as `regproc` shows it.
pub(crate) fn procedure_of_number(number: u32) -> String {
    match number {
        0 => "-".to_owned(),
        number => all().find(|(_, known)| *known == number).map_or_else(|| number.to_string(), |(name, _)| name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("date_recv", Some(2468))]
    #[case("pg_catalog.array_recv", Some(2400))]
    #[case("-", Some(0))]
    #[case("no_such", None)]
    fn a_function_is_found_by_its_name(#[case] name: &str, #[case] number: Option<u32>) {
        assert_eq!(number_of_procedure(name), number);
    }

    #[rstest]
    #[case(2406, "int4recv")]
    #[case(0, "-")]
    #[case(99_999, "99999")]
    fn a_number_is_shown_as_the_function(#[case] number: u32, #[case] name: &str) {
        assert_eq!(procedure_of_number(number), name);
    }
}
