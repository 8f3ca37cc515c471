//! Catalogs whose rows are the same for every lake.

use mavis_types::Zone;

use super::{
    Definition, Lines, Request, catalog,
    grid::{Cell, Row},
    rows,
    types::{Functions, NAMES, OF_LISTS},
};
use crate::system::{SYSTEM, catalogs};

/// The role that owns everything.
pub(crate) const OWNER: (u32, &str) = (10, "mavis");
/// The number of the role that asks.
pub(crate) const USER_OID: u32 = 16_383;

const TYPE_COLUMNS: &str = "oid:oid typname:text typnamespace:oid=11 typowner:oid=10 typlen:int2 typbyval:bool=f \
    typtype:text=b typcategory:text typispreferred:bool=f typisdefined:bool=t typdelim:text=, typrelid:oid=0 \
    typsubscript:oid=0 typelem:oid=0 typarray:oid=0 typinput:oid typoutput:oid typreceive:oid typsend:oid \
    typmodin:oid=0 typmodout:oid=0 typanalyze:oid=0 typalign:text=i typstorage:text=p typnotnull:bool=f \
    typbasetype:oid=0 typtypmod:int4=-1 typndims:int4=0 typcollation:oid=0 typdefaultbin:text typdefault:text typacl:texts \
    tableoid:oid=1247 xmin:oid=1";

/// Columns of `pg_type` that hold numbers of functions and are shown by their names.
pub(crate) const REGPROCS: [&str; 8] =
    ["typinput", "typoutput", "typreceive", "typsend", "typmodin", "typmodout", "typanalyze", "typsubscript"];

/// Vectors are lists that are no arrays: the number of the type of their items.
fn item_of(oid: u32) -> u32 {
    match oid {
        22 => 21,
        30 => 26,
        _ => 0,
    }
}

fn with_functions(mut row: Row, (_, [input, output, receive, send]): Functions) -> Row {
    row.extend([
        ("typinput", input.into()),
        ("typoutput", output.into()),
        ("typreceive", receive.into()),
        ("typsend", send.into()),
    ]);
    row
}

pub(super) const TYPE: Definition = catalog!("pg_type", TYPE_COLUMNS, |_| {
    let plain = NAMES.iter().map(|named| {
        let row: Row = vec![
            ("oid", named.oid.into()),
            ("typname", named.name.into()),
            ("typlen", named.length.into()),
            ("typbyval", matches!(named.length, 1 | 2 | 4 | 8).into()),
            ("typtype", if named.category == "P" { "p" } else { "b" }.into()),
            ("typcategory", named.category.into()),
            ("typarray", named.list.into()),
            ("typelem", item_of(named.oid).into()),
        ];
        with_functions(row, named.functions)
    });
    let lists = NAMES.iter().filter(|named| named.list != 0).map(|named| {
        let row: Row = vec![
            ("oid", named.list.into()),
            ("typname", format!("_{}", named.name).into()),
            ("typlen", Cell::Int(-1)),
            ("typtype", if named.category == "P" { "p" } else { "b" }.into()),
            ("typcategory", "A".into()),
            ("typelem", named.oid.into()),
        ];
        with_functions(row, OF_LISTS)
    });
    rows(TYPE_COLUMNS, plain.chain(lists).collect())
});

const DATABASE_COLUMNS: &str = "oid:oid datname:text datdba:oid=10 encoding:int4=6 datlocprovider:text=c \
    datistemplate:bool=f datallowconn:bool=t datconnlimit:int4=-1 datfrozenxid:oid=0 datminmxid:oid=0 dattablespace:oid=1663 \
    datcollate:text=C datctype:text=C daticulocale:text daticurules:text datlocale:text datcollversion:text datacl:texts \
    datlastsysoid:oid=12999 tableoid:oid=1262 xmin:oid=1";

pub(super) const DATABASE: Definition = catalog!("pg_database", DATABASE_COLUMNS, |_| {
    let all = (5_u32..).zip(catalogs()).map(|(oid, name)| vec![("oid", oid.into()), ("datname", name.into())]);
    rows(DATABASE_COLUMNS, all.collect())
});

const DATABASE_STATISTICS_COLUMNS: &str = "datid:oid datname:text numbackends:int4 xact_commit:int8 xact_rollback:int8 \
    blks_read:int8 blks_hit:int8 tup_returned:int8 tup_fetched:int8 tup_inserted:int8 tup_updated:int8 tup_deleted:int8 \
    conflicts:int8=0 temp_files:int8 temp_bytes:int8 deadlocks:int8=0 checksum_failures:int8 checksum_last_failure:time \
    blk_read_time:float8 blk_write_time:float8 session_time:float8 active_time:float8 idle_in_transaction_time:float8 \
    sessions:int8 sessions_abandoned:int8 sessions_fatal:int8 sessions_killed:int8 stats_reset:time";

/// Databases by name: what goes on in them is counted by metrics, and is no matter of a catalog.
pub(super) const DATABASE_STATISTICS: Definition = catalog!("pg_stat_database", DATABASE_STATISTICS_COLUMNS, |_| {
    let all = (5_u32..).zip(catalogs()).map(|(oid, name)| vec![("datid", oid.into()), ("datname", name.into())]);
    rows(DATABASE_STATISTICS_COLUMNS, all.collect())
});

/// The roles that a principal is told of: itself and the owner.
fn roles(request: &Request) -> [(u32, String, bool); 2] {
    let principal = &request.principal;
    [(OWNER.0, OWNER.1.to_owned(), false), (USER_OID, principal.name.clone(), principal.may_administer())]
}

const ROLES_COLUMNS: &str = "oid:oid rolname:text rolsuper:bool=f rolinherit:bool=t rolcreaterole:bool=f \
    rolcreatedb:bool=f rolcanlogin:bool=t rolreplication:bool=f rolconnlimit:int4=-1 rolpassword:text rolvaliduntil:time \
    rolbypassrls:bool=f rolconfig:texts";

pub(super) const ROLES: Definition = catalog!("pg_roles", ROLES_COLUMNS, of_roles);
pub(super) const AUTHID: Definition = catalog!("pg_authid", ROLES_COLUMNS, of_roles);

fn of_roles(request: Request) -> Lines {
    let all = roles(&request).map(|(oid, name, is_admin)| -> Row {
        let logs_in = oid != OWNER.0;
        vec![
            ("oid", oid.into()),
            ("rolname", name.into()),
            ("rolcreaterole", is_admin.into()),
            ("rolcanlogin", logs_in.into()),
        ]
    });
    rows(ROLES_COLUMNS, all.into())
}

const USER_COLUMNS: &str = "usename:text usesysid:oid usecreatedb:bool=f usesuper:bool=f userepl:bool=f usebypassrls:bool=f \
    passwd:text valuntil:time useconfig:texts";

pub(super) const USER: Definition = catalog!("pg_user", USER_COLUMNS, of_users);
pub(super) const SHADOW_USER: Definition = catalog!("pg_shadow", USER_COLUMNS, of_users);

fn of_users(request: Request) -> Lines {
    let all = roles(&request).map(|(oid, name, _)| -> Row { vec![("usesysid", oid.into()), ("usename", name.into())] });
    rows(USER_COLUMNS, all.into())
}

const GROUP_COLUMNS: &str = "groname:text grosysid:oid grolist:oids";

pub(super) const GROUP: Definition = catalog!("pg_group", GROUP_COLUMNS, |_| rows(GROUP_COLUMNS, Vec::new()));

const ACCESS_METHOD_COLUMNS: &str = "oid:oid amname:text amhandler:text=- amtype:text tableoid:oid=2601";

pub(super) const ACCESS_METHOD: Definition = catalog!("pg_am", ACCESS_METHOD_COLUMNS, |_| {
    let all = [(2_u32, "delta", "t"), (403, "btree", "i")];
    let all = all.map(|(oid, name, kind)| -> Row {
        vec![("oid", oid.into()), ("amname", name.into()), ("amtype", kind.into())]
    });
    rows(ACCESS_METHOD_COLUMNS, all.into())
});

const TABLESPACE_COLUMNS: &str = "oid:oid spcname:text spcowner:oid=10 spcacl:texts spcoptions:texts tableoid:oid=1213 \
    xmin:oid=1";

pub(super) const TABLESPACE: Definition = catalog!("pg_tablespace", TABLESPACE_COLUMNS, |_| {
    rows(TABLESPACE_COLUMNS, vec![vec![("oid", 1663_u32.into()), ("spcname", "pg_default".into())]])
});

const LANGUAGE_COLUMNS: &str = "oid:oid lanname:text lanowner:oid=10 lanispl:bool=f lanpltrusted:bool=t lanplcallfoid:oid=0 \
    laninline:oid=0 lanvalidator:oid=0 lanacl:texts tableoid:oid=2612";

pub(super) const LANGUAGE: Definition = catalog!("pg_language", LANGUAGE_COLUMNS, |_| {
    let all = [(12_u32, "internal"), (14, "sql")];
    rows(LANGUAGE_COLUMNS, all.map(|(oid, name)| -> Row { vec![("oid", oid.into()), ("lanname", name.into())] }).into())
});

const OPERATOR_CLASS_COLUMNS: &str = "oid:oid opcmethod:oid=403 opcname:text opcnamespace:oid=11 opcowner:oid=10 \
    opcfamily:oid=0 opcintype:oid opcdefault:bool=t opckeytype:oid=0 tableoid:oid=2616";

pub(super) const OPERATOR_CLASS: Definition = catalog!("pg_opclass", OPERATOR_CLASS_COLUMNS, |_| {
    rows(
        OPERATOR_CLASS_COLUMNS,
        vec![vec![("oid", 1978_u32.into()), ("opcname", "any_ops".into()), ("opcintype", 25_u32.into())]],
    )
});

const SETTINGS_COLUMNS: &str = "name:text setting:text unit:text category:text=Mavis short_desc:text extra_desc:text \
    context:text=user vartype:text=string source:text=default min_val:text max_val:text enumvals:texts boot_val:text \
    reset_val:text sourcefile:text sourceline:int4 pending_restart:bool=f";

pub(super) const SETTINGS: Definition = catalog!("pg_settings", SETTINGS_COLUMNS, |_| {
    const ALL: [(&str, &str); 12] = [
        ("application_name", ""),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("default_transaction_isolation", "read committed"),
        ("extra_float_digits", "1"),
        ("integer_datetimes", "on"),
        ("max_identifier_length", "63"),
        ("max_index_keys", "32"),
        ("server_encoding", "UTF8"),
        ("server_version_num", "150008"),
        ("standard_conforming_strings", "on"),
        ("TimeZone", "UTC"),
    ];
    let all = ALL.map(|(name, value)| -> Row {
        vec![("name", name.into()), ("setting", value.into()), ("boot_val", value.into()), ("reset_val", value.into())]
    });
    rows(SETTINGS_COLUMNS, all.into())
});

const ACTIVITY_COLUMNS: &str = "datid:oid datname:text pid:int4 leader_pid:int4 usesysid:oid usename:text \
    application_name:text client_addr:text client_hostname:text client_port:int4 backend_start:time xact_start:time \
    query_start:time state_change:time wait_event_type:text wait_event:text state:text backend_xid:oid backend_xmin:oid \
    query_id:int8 query:text backend_type:text";

/// Nobody is told what others run.
pub(super) const ACTIVITY: Definition = catalog!("pg_stat_activity", ACTIVITY_COLUMNS, |request| {
    let database = request.only_catalog.clone().unwrap_or_else(|| Zone::Fhir.to_string());
    let is_known = database == SYSTEM || database.parse::<Zone>().is_ok();
    let own: Row = vec![
        ("datname", database.into()),
        ("usesysid", USER_OID.into()),
        ("usename", request.principal.name.as_str().into()),
        ("state", "active".into()),
        ("backend_type", "client backend".into()),
    ];
    rows(ACTIVITY_COLUMNS, if is_known { vec![own] } else { Vec::new() })
});

const TIME_ZONES_COLUMNS: &str = "name:text abbrev:text utc_offset:text is_dst:bool=f";

pub(super) const TIME_ZONES: Definition = catalog!("pg_timezone_names", TIME_ZONES_COLUMNS, |_| {
    rows(
        TIME_ZONES_COLUMNS,
        vec![vec![("name", "UTC".into()), ("abbrev", "UTC".into()), ("utc_offset", "00:00:00".into())]],
    )
});
