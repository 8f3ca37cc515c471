//! Catalogs of what there is not here. They have their columns, so that a client may ask; a statement that could only give
//! rows of theirs is not even planned (see `postgres::empty`).

use super::{Definition, Lines, catalog};

/// Whether a catalog never has rows.
pub(crate) fn is_empty(table: &str) -> bool {
    TABLES.iter().any(|definition| definition.table == table)
}

fn nothing(_: super::Request) -> Lines {
    Box::pin(futures::stream::empty())
}

macro_rules! empty {
    ($($name:literal $spec:literal,)*) => {
        pub(super) static TABLES: [Definition; [$($name),*].len()] = [$(catalog!($name, $spec, nothing)),*];
    };
}

empty! {
    "pg_aggregate" "aggfnoid:text aggkind:text aggnumdirectargs:int2 aggtransfn:text",
    "pg_attrdef" "oid:oid adrelid:oid adnum:int2 adbin:text",
    "pg_auth_members" "roleid:oid member:oid grantor:oid admin_option:bool",
    "pg_available_extensions" "name:text default_version:text installed_version:text comment:text",
    "pg_cast" "oid:oid castsource:oid casttarget:oid castfunc:oid castcontext:text castmethod:text",
    "pg_collation" "oid:oid collname:text collnamespace:oid collowner:oid collprovider:text collisdeterministic:bool \
        collencoding:int4 collcollate:text collctype:text colliculocale:text colllocale:text collicurules:text collversion:text",
    "pg_conversion" "oid:oid conname:text connamespace:oid conowner:oid conforencoding:int4 contoencoding:int4 conproc:text \
        condefault:bool",
    "pg_cursors" "name:text statement:text is_holdable:bool is_binary:bool is_scrollable:bool creation_time:time",
    "pg_db_role_setting" "setdatabase:oid setrole:oid setconfig:texts",
    "pg_default_acl" "oid:oid defaclrole:oid defaclnamespace:oid defaclobjtype:text defaclacl:texts",
    "pg_depend" "classid:oid objid:oid objsubid:int4 refclassid:oid refobjid:oid refobjsubid:int4 deptype:text",
    "pg_enum" "oid:oid enumtypid:oid enumsortorder:float4 enumlabel:text",
    "pg_event_trigger" "oid:oid evtname:text evtevent:text evtowner:oid evtfoid:oid evtenabled:text evttags:texts",
    "pg_extension" "oid:oid extname:text extowner:oid extnamespace:oid extrelocatable:bool extversion:text extconfig:oids \
        extcondition:texts",
    "pg_foreign_data_wrapper" "oid:oid fdwname:text fdwowner:oid fdwhandler:oid fdwvalidator:oid fdwacl:texts fdwoptions:texts",
    "pg_foreign_server" "oid:oid srvname:text srvowner:oid srvfdw:oid srvtype:text srvversion:text srvacl:texts \
        srvoptions:texts",
    "pg_foreign_table" "ftrelid:oid ftserver:oid ftoptions:texts",
    "pg_inherits" "inhrelid:oid inhparent:oid inhseqno:int4 inhdetachpending:bool",
    "pg_largeobject_metadata" "oid:oid lomowner:oid lomacl:texts",
    "pg_locks" "locktype:text database:oid relation:oid pid:int4 mode:text granted:bool transactionid:oid",
    "pg_matviews" "schemaname:text matviewname:text matviewowner:text tablespace:text hasindexes:bool ispopulated:bool \
        definition:text",
    "pg_opfamily" "oid:oid opfmethod:oid opfname:text opfnamespace:oid opfowner:oid",
    "pg_operator" "oid:oid oprname:text oprnamespace:oid oprowner:oid oprkind:text oprcanmerge:bool oprcanhash:bool \
        oprleft:oid oprright:oid oprresult:oid oprcom:oid oprnegate:oid oprcode:oid oprrest:text oprjoin:text",
    "pg_partitioned_table" "partrelid:oid partstrat:text partnatts:int2 partdefid:oid partattrs:int2s partclass:oids \
        partcollation:oids partexprs:text",
    "pg_policies" "schemaname:text tablename:text policyname:text permissive:text roles:texts cmd:text qual:text with_check:text",
    "pg_policy" "oid:oid polname:text polrelid:oid polcmd:text polpermissive:bool polroles:oids polqual:text polwithcheck:text",
    "pg_prepared_statements" "name:text statement:text prepare_time:time parameter_types:texts from_sql:bool",
    "pg_prepared_xacts" "transaction:oid gid:text prepared:time owner:text database:text",
    "pg_publication" "oid:oid pubname:text pubowner:oid puballtables:bool pubinsert:bool pubupdate:bool pubdelete:bool \
        pubtruncate:bool pubviaroot:bool",
    "pg_publication_namespace" "oid:oid pnpubid:oid pnnspid:oid",
    "pg_publication_rel" "oid:oid prpubid:oid prrelid:oid prqual:text prattrs:int2s",
    "pg_publication_tables" "pubname:text schemaname:text tablename:text",
    "pg_range" "rngtypid:oid rngsubtype:oid rngmultitypid:oid rngcollation:oid rngsubopc:oid rngcanonical:text rngsubdiff:text",
    "pg_replication_slots" "slot_name:text plugin:text slot_type:text datoid:oid database:text temporary:bool active:bool",
    "pg_rules" "schemaname:text tablename:text rulename:text definition:text",
    "pg_seclabel" "objoid:oid classoid:oid objsubid:int4 provider:text label:text",
    "pg_seclabels" "objoid:oid classoid:oid objsubid:int4 objtype:text objnamespace:oid objname:text provider:text label:text",
    "pg_sequence" "seqrelid:oid seqtypid:oid seqstart:int8 seqincrement:int8 seqmax:int8 seqmin:int8 seqcache:int8 seqcycle:bool",
    "pg_sequences" "schemaname:text sequencename:text sequenceowner:text data_type:text start_value:int8 min_value:int8 \
        max_value:int8 increment_by:int8 cycle:bool cache_size:int8 last_value:int8",
    "pg_shdepend" "dbid:oid classid:oid objid:oid objsubid:int4 refclassid:oid refobjid:oid deptype:text",
    "pg_shseclabel" "objoid:oid classoid:oid provider:text label:text",
    "pg_shdescription" "objoid:oid classoid:oid description:text",
    "pg_stat_gssapi" "pid:int4 gss_authenticated:bool principal:text encrypted:bool",
    "pg_stat_replication" "pid:int4 usename:text state:text",
    "pg_stat_subscription" "subid:oid subname:text pid:int4 relid:oid received_lsn:text last_msg_send_time:time \
        last_msg_receipt_time:time latest_end_lsn:text latest_end_time:time",
    "pg_stat_user_functions" "funcid:oid schemaname:text funcname:text calls:int8 total_time:float8 self_time:float8",
    "pg_statio_all_sequences" "relid:oid schemaname:text relname:text blks_read:int8 blks_hit:int8",
    "pg_stat_ssl" "pid:int4 ssl:bool version:text cipher:text bits:int4",
    "pg_statistic_ext" "oid:oid stxrelid:oid stxname:text stxnamespace:oid stxowner:oid stxstattarget:int4 stxkeys:int2s \
        stxkind:texts stxexprs:text",
    "pg_stats" "schemaname:text tablename:text attname:text inherited:bool null_frac:float4 avg_width:int4 n_distinct:float4",
    "pg_subscription" "oid:oid subdbid:oid subname:text subowner:oid subenabled:bool subconninfo:text subslotname:text \
        subsynccommit:text subpublications:texts",
    "pg_transform" "oid:oid trftype:oid trflang:oid trffromsql:text trftosql:text",
    "pg_trigger" "oid:oid tgrelid:oid tgparentid:oid tgname:text tgfoid:oid tgtype:int2 tgenabled:text tgisinternal:bool \
        tgconstrrelid:oid tgconstrindid:oid tgconstraint:oid tgdeferrable:bool tginitdeferred:bool tgnargs:int2 tgattr:int2s \
        tgargs:text tgqual:text tgoldtable:text tgnewtable:text",
    "pg_ts_config" "oid:oid cfgname:text cfgnamespace:oid cfgowner:oid cfgparser:oid",
    "pg_ts_dict" "oid:oid dictname:text dictnamespace:oid dictowner:oid dicttemplate:oid dictinitoption:text",
    "pg_ts_parser" "oid:oid prsname:text prsnamespace:oid",
    "pg_ts_template" "oid:oid tmplname:text tmplnamespace:oid",
    "pg_user_mapping" "oid:oid umuser:oid umserver:oid umoptions:texts",
    "pg_user_mappings" "umid:oid srvid:oid srvname:text umuser:oid usename:text umoptions:texts",
}
