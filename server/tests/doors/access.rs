//! Everybody at every door, asked for everything: who may see a value gets it, nobody else does, in no answer of any kind.
//!
//! Two values tell: `Colcanary` stands in a column that is hidden from some, `Rowcanary` in a row that is hidden from others
//! (and in the same column). For each principal a model says which of them each object shows; each operation at each door must show
//! exactly these.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
    util::pretty::pretty_format_batches,
};
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use mavis_catalog::NewTable;
use mavis_lake::{AppId, End, TableSpec, WriteMode};
use mavis_proto::v1::{self as pb, token_service_client::TokenServiceClient};
use mavis_types::{RunId, SourceId, TableName, Zone};
use serde_json::{Value, json};

use crate::{
    fhir_read::import,
    harness::{TestServer, with},
};

const COLUMN: &str = "Colcanary";
const ROW: &str = "Rowcanary";

/// What an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Object {
    Raw,
    Processed,
    /// Current resources.
    Fhir,
    History,
}

use Object::{Fhir, History, Processed, Raw};

/// Somebody, and what of each object is shown: the values of the column, and those of the hidden row.
struct Who {
    name: &'static str,
    sees: fn(Object) -> (bool, bool),
    token: String,
}

/// Name, role, schemas of the token, whether it reads only what is granted, and what it sees.
type New = (&'static str, pb::Role, &'static [&'static str], bool, fn(Object) -> (bool, bool));

async fn make(test: &TestServer, name: &str, role: pb::Role, schemas: &[&str], granted_only: bool) -> String {
    let request = pb::CreateTokenRequest {
        name: name.to_owned(),
        role: role.into(),
        schemas: schemas.iter().map(|schema| (*schema).to_owned()).collect(),
        granted_only,
        groups: if name == "grouped" { vec!["researchers".to_owned()] } else { Vec::new() },
        ..Default::default()
    };
    let mut tokens = TokenServiceClient::new(test.channel().await);
    tokens.create_token(with(&test.admin_token(), request)).await.unwrap().into_inner().secret
}

async fn everybody(test: &TestServer) -> Vec<Who> {
    use pb::Role::{Analyst, Engineer, Reader};
    let mut all = vec![Who { name: "admin", sees: |_| (true, true), token: test.admin_token() }];
    let others: [New; 9] = [
        ("engineer", Engineer, &[], false, |_| (true, true)),
        ("reader", Reader, &[], false, |_| (true, true)),
        ("fhir_only", Reader, &["fhir.r4", "fhir.r4_history"], false, |object| {
            let is = matches!(object, Fhir | History);
            (is, is)
        }),
        ("nobody", Reader, &[], true, |_| (false, false)),
        ("some_columns", Analyst, &[], true, |_| (false, false)),
        ("some_elements", Analyst, &[], true, |_| (false, false)),
        ("masked", Reader, &[], false, |_| (false, false)),
        ("filtered", Reader, &[], false, |_| (true, false)),
        ("grouped", Analyst, &[], true, |object| (object == Raw, object == Raw)),
    ];
    for (name, role, schemas, granted_only, sees) in others {
        all.push(Who { name, sees, token: make(test, name, role, schemas, granted_only).await });
    }
    let token = make(test, "emergency", Reader, &[], false).await;
    all.push(Who { name: "emergency", sees: |object| (object == Fhir, object == Fhir), token });
    for sql in [
        "GRANT SELECT (id, sex) ON processed.hospital.patients TO USER some_columns",
        "GRANT SELECT (id, sex) ON raw.hospital.patients TO USER some_columns",
        "GRANT SELECT (gender, birthDate) ON fhir.r4.patient TO USER some_elements",
        "GRANT SELECT (status, code) ON fhir.r4.observation TO USER some_elements",
        "GRANT SELECT (gender) ON fhir.r4_history.patient TO USER some_elements",
        "GRANT SELECT ON SCHEMA raw.hospital TO ROLE researchers",
        "CREATE MASK ON raw.hospital.patients (last_name) TO USER masked, USER emergency USING HASH",
        "CREATE MASK ON fhir.r4.patient (name) TO USER masked, USER emergency USING NULL",
        "CREATE POLICY men ON processed.hospital.patients TO USER filtered USING (sex <> 'other')",
        "CREATE POLICY men ON fhir.r4.patient TO USER filtered USING (gender <> 'other')",
        "CREATE POLICY theirs ON fhir.r4.observation TO USER filtered \
         USING (subject.__id IN (SELECT id FROM fhir.r4.patient WHERE gender <> 'other'))",
        "GRANT BREAK GLASS ON SCHEMA fhir.r4 TO USER emergency",
    ] {
        let (status, answer) = sql_as(test, &test.admin_token(), sql).await;
        assert_eq!(status, 200, "{sql}: {answer}");
    }
    let emergency = all.last().unwrap();
    let open = "BREAK GLASS ON fhir.r4 FOR 10 MINUTES REASON 'unconscious patient in the emergency room'";
    assert_eq!(sql_as(test, &emergency.token, open).await.0, 200);
    all
}

async fn sql_as(test: &TestServer, token: &str, sql: &str) -> (u16, String) {
    let client = reqwest::Client::new();
    let request = client.post(test.http("/api/v1/sql")).bearer_auth(token).json(&json!({ "sql": sql }));
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// `<zone>.hospital.patients`, by `id`: one row of each canary.
async fn table(test: &TestServer, zone: Zone) {
    let names = ["id", "last_name", "sex", "born"];
    let schema = Arc::new(Schema::new(names.map(|name| Field::new(name, DataType::Utf8, true)).to_vec()));
    let lake = &test.server.app().lake;
    let spec = TableSpec {
        table: NewTable {
            name: TableName::new(zone, "hospital", "patients"),
            source: None,
            source_schema: None,
            source_table: None,
            key: vec!["id".to_owned()],
            comment: None,
        },
        schema: Arc::clone(&schema),
        columns: Vec::new(),
        change_feed: false,
        statistics: Vec::new(),
        sort: Vec::new(),
    };
    let table = lake.ensure(&spec).await.unwrap();
    let columns: [[&str; 2]; 4] = [["c1", "c9"], [COLUMN, ROW], ["female", "other"], ["1961-03-04", "1970-01-01"]];
    let columns = columns.map(|values| Arc::new(StringArray::from(values.to_vec())) as ArrayRef);
    let batch = RecordBatch::try_new(schema, columns.to_vec()).unwrap();
    let source = SourceId::from_uuid(*table.id.as_uuid());
    let unit = lake.begin(table.id, AppId::ingest(source, table.id), RunId::new()).await.unwrap();
    let mut writer = unit.write(WriteMode::Snapshot, batch.schema()).await.unwrap();
    writer.push(&batch).await.unwrap();
    writer.finish(End { cursor: None, whole: true }).await.unwrap();
}

async fn resources(test: &TestServer) {
    let entry = |resource: Value| {
        let url = format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        json!({ "resource": resource, "request": { "method": "PUT", "url": url } })
    };
    let patient = |id: &str, family: &str, gender: &str| {
        entry(json!({
            "resourceType": "Patient", "id": id, "gender": gender, "birthDate": "1961-03-04",
            "text": { "status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{family}</div>") },
            "name": [{ "family": family, "text": format!("Dr {family}") }],
        }))
    };
    let observation = |id: &str, patient: &str, family: &str| {
        entry(json!({
            "resourceType": "Observation", "id": id, "status": "final", "code": { "text": "weight" },
            "subject": { "reference": format!("Patient/{patient}"), "display": family },
            "performer": [{ "display": family }],
            "contained": [{ "resourceType": "RelatedPerson", "id": "r", "patient": { "display": family } }],
        }))
    };
    let entries = [
        patient("c1", COLUMN, "female"),
        patient("c9", ROW, "other"),
        observation("o1", "c1", COLUMN),
        observation("o9", "c9", ROW),
    ];
    import(test, "all.json", &json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries })).await;
    let view = json!({
        "resourceType": "ViewDefinition", "name": "names", "status": "active", "resource": "Patient",
        "select": [{ "column": [{ "name": "id", "path": "getResourceKey()" }, { "name": "family", "path": "name.first().family" }] }],
    });
    let client = reqwest::Client::new();
    let made = client.post(test.http("/fhir/ViewDefinition")).bearer_auth(test.admin_token());
    let made = made.header("content-type", "application/fhir+json").body(view.to_string()).send().await.unwrap();
    assert_eq!(made.status().as_u16(), 201, "{}", made.text().await.unwrap());
}

/// An operation over HTTP: what it is about, and which of the two values it shows to whoever may see both.
type Asked = (Object, (bool, bool), &'static str, &'static str, Option<Value>);

fn operations() -> Vec<Asked> {
    let both = (true, true);
    let (column, row) = ((true, false), (false, true));
    let mut all: Vec<Asked> = Vec::new();
    let sql = |format: &'static str, text: &str| (format, Some(json!({ "sql": text })));
    for (object, zone) in [(Raw, "raw"), (Processed, "processed")] {
        for text in [
            "SELECT * FROM Z.hospital.patients",
            "SELECT last_name FROM Z.hospital.patients ORDER BY last_name",
            "SELECT string_agg(last_name, ',') FROM Z.hospital.patients",
            "SELECT a.last_name FROM Z.hospital.patients a JOIN Z.hospital.patients b ON a.last_name = b.last_name",
            "SELECT (SELECT array_agg(last_name) FROM Z.hospital.patients)",
            "SELECT min(last_name), max(last_name) FROM Z.hospital.patients",
            "SELECT last_name, count(*) FROM Z.hospital.patients GROUP BY 1 HAVING count(*) > 0",
        ] {
            for format in ["json", "csv", "ndjson"] {
                let (format, body) = sql(format, &text.replace('Z', zone));
                all.push((
                    object,
                    both,
                    Box::leak(format!("/api/v1/sql?format={format}").into_boxed_str()),
                    "POST",
                    body,
                ));
            }
        }
        // Whatever these answer, it has no value in it.
        for text in [
            "EXPLAIN SELECT * FROM Z.hospital.patients WHERE last_name > 'A'",
            "EXPLAIN ANALYZE SELECT * FROM Z.hospital.patients WHERE last_name > 'A'",
            "SELECT CAST(last_name AS INT) FROM Z.hospital.patients",
            "SELECT 1 / (length(last_name) - 9) FROM Z.hospital.patients",
            "SELECT to_timestamp(last_name) FROM Z.hospital.patients",
            "DESCRIBE Z.hospital.patients",
        ] {
            let (_, body) = sql("json", &text.replace('Z', zone));
            all.push((object, (false, false), "/api/v1/sql", "POST", body));
        }
        let rows = |rest: &str| -> &'static str {
            Box::leak(format!("/api/v1/tables/{zone}/hospital/patients/rows{rest}").into_boxed_str())
        };
        all.push((object, column, rows("/c1"), "GET", None));
        all.push((object, row, rows("/c9"), "GET", None));
        all.push((object, column, rows("/c1?columns=last_name"), "GET", None));
        all.push((object, column, rows("/c1?versions=5"), "GET", None));
        all.push((object, row, rows("/c9?versions=5"), "GET", None));
        all.push((object, both, rows(""), "GET", None));
        all.push((object, both, rows("?prefix=c"), "GET", None));
        all.push((object, both, rows(""), "POST", Some(json!({ "keys": ["c1", "c9"] }))));
    }
    for (object, seen, path) in [
        (Fhir, column, "Patient/c1"),
        (Fhir, row, "Patient/c9"),
        (Fhir, both, "Patient"),
        (Fhir, both, "Patient?_summary=true"),
        (Fhir, column, "Patient?name=colcan"),
        (Fhir, row, "Patient?family:contains=wcanar"),
        (Fhir, row, "Patient?gender=other"),
        (Fhir, both, "Patient?_sort=family"),
        (Fhir, both, "Patient?_id=c1,c9"),
        (Fhir, both, "?_type=Patient"),
        (Fhir, column, "Patient/c1/$everything"),
        (Fhir, row, "Patient/c9/$everything"),
        (Fhir, both, "Observation"),
        (Fhir, column, "Observation/o1"),
        (Fhir, row, "Observation/o9"),
        (Fhir, column, "Observation?subject:Patient.name=colcan"),
        (Fhir, both, "Observation?_include=Observation:subject"),
        (Fhir, both, "Patient?_revinclude=Observation:subject"),
        (Fhir, row, "Patient?_has:Observation:subject:_id=o9"),
        (Fhir, column, "Patient/c1/Observation"),
        (History, column, "Patient/c1/_history"),
        (History, row, "Patient/c9/_history"),
        (History, column, "Patient/c1/_history/1"),
        (History, row, "Patient/c9/_history/1"),
        (History, both, "Patient/_history"),
        (History, both, "_history"),
    ] {
        all.push((object, seen, Box::leak(format!("/fhir/{path}").into_boxed_str()), "GET", None));
    }
    for (object, text) in [
        (Fhir, "SELECT * FROM patient"),
        (Fhir, "SELECT resource FROM patient"),
        (Fhir, "SELECT n.family FROM patient LATERAL VIEW explode(name) t AS n"),
        (Fhir, "SELECT subject.display FROM observation"),
        (Fhir, "SELECT * FROM observation"),
        (Fhir, "SELECT * FROM fhir.views.names"),
        (History, "SELECT * FROM r4_history.patient"),
        (History, "SELECT get_json_object(resource, '$.text.div') FROM r4_history.patient"),
    ] {
        all.push((object, both, "/api/v1/sql", "POST", Some(json!({ "sql": text }))));
    }
    all.push((
        Fhir,
        both,
        "/fhir/$sql-run",
        "POST",
        Some(json!({
            "resourceType": "Parameters",
            "parameter": [{ "name": "_format", "valueCode": "json" }, { "name": "viewResource", "resource": {
                "resourceType": "ViewDefinition", "status": "active", "resource": "Patient",
                "select": [{ "column": [{ "name": "f", "path": "name.first().text" }] }],
            }}],
        })),
    ));
    for path in ["/api/v1/tables", "/api/v1/sources", "/api/v1/runs", "/metrics", "/fhir/metadata"] {
        all.push((Raw, (false, false), path, "GET", None));
    }
    for text in [
        "SELECT * FROM system.catalog.tables",
        "SELECT * FROM system.catalog.columns",
        "SELECT * FROM information_schema.columns",
        "SELECT * FROM system.ops.quarantine",
        "SELECT * FROM system.ops.runs",
        "SELECT * FROM system.ops.grants",
    ] {
        all.push((Raw, (false, false), "/api/v1/sql", "POST", Some(json!({ "sql": text }))));
    }
    all
}

async fn http(test: &TestServer, token: &str, asked: &Asked) -> String {
    let (.., path, method, body) = asked;
    let client = reqwest::Client::new();
    let mut request = client.request(method.parse().unwrap(), test.http(path)).bearer_auth(token);
    if let Some(body) = body {
        let kind = if path.starts_with("/fhir") { "application/fhir+json" } else { "application/json" };
        request = request.header("content-type", kind).body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    assert!(status < 500, "{method} {path}: {status}");
    let headers = format!("{:?}", answer.headers());
    format!("{status} {headers} {}", answer.text().await.unwrap())
}

async fn flight(test: &TestServer, token: &str, sql: &str) -> String {
    let mut client = FlightSqlServiceClient::new(test.channel().await);
    client.set_token(token.to_owned());
    let info = match client.execute(sql.to_owned(), None).await {
        Ok(info) => info,
        Err(error) => return error.to_string(),
    };
    let mut told = String::new();
    for endpoint in info.endpoint {
        let Some(ticket) = endpoint.ticket else { continue };
        match client.do_get(ticket).await {
            Ok(stream) => match stream.try_collect::<Vec<RecordBatch>>().await {
                Ok(batches) => told.push_str(&pretty_format_batches(&batches).unwrap().to_string()),
                Err(error) => told.push_str(&error.to_string()),
            },
            Err(error) => told.push_str(&error.to_string()),
        }
    }
    told
}

fn check(who: &Who, what: &str, object: Object, shows: (bool, bool), told: &str, wrong: &mut Vec<String>) {
    let sees = (who.sees)(object);
    for (value, shown, seen) in [(COLUMN, shows.0, sees.0), (ROW, shows.1, sees.1)] {
        // Versions of a row of which something is hidden are not read by key at all.
        let expected = shown && seen && !told.contains("no_versions");
        if told.contains(value) != expected {
            let short: String = told.chars().take(700).collect();
            let verb = if expected { "does not show" } else { "SHOWS" };
            wrong.push(format!("{what} {verb} {value} to {}: {short}", who.name));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_door_shows_everybody_what_is_theirs_and_nothing_else() {
    let test = TestServer::start().await;
    for zone in [Zone::Raw, Zone::Processed] {
        table(&test, zone).await;
    }
    resources(&test).await;
    let everybody = everybody(&test).await;
    let mut wrong = Vec::new();
    // Twice: the second time answers may come from memory, which others filled.
    for round in 0..2 {
        for asked in operations() {
            for who in &everybody {
                let told = http(&test, &who.token, &asked).await;
                let body = asked.4.as_ref().map(|body| body["sql"].to_string()).unwrap_or_default();
                let what = format!("{} {} {body} ({round})", asked.3, asked.2);
                check(who, &what, asked.0, asked.1, &told, &mut wrong);
            }
        }
    }
    for (object, sql) in [
        (Raw, "SELECT * FROM raw.hospital.patients"),
        (Processed, "SELECT last_name FROM processed.hospital.patients"),
        (Fhir, "SELECT id, resource FROM patient"),
        (Fhir, "SELECT family FROM fhir.views.names"),
        (History, "SELECT id, resource FROM r4_history.patient"),
    ] {
        for who in &everybody {
            let told = flight(&test, &who.token, sql).await;
            check(who, &format!("flight {sql}"), object, (true, true), &told, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_that_is_filtered_out_is_as_absent_as_one_that_never_was() {
    let test = TestServer::start().await;
    for zone in [Zone::Raw, Zone::Processed] {
        table(&test, zone).await;
    }
    resources(&test).await;
    let everybody = everybody(&test).await;
    let filtered = everybody.iter().find(|who| who.name == "filtered").unwrap();
    for path in ["Patient/ID", "Patient/ID/_history", "Patient/ID/_history/1", "Patient/ID/$everything"] {
        let mut told = Vec::new();
        for id in ["c9", "cx"] {
            let client = reqwest::Client::new();
            let request =
                client.get(test.http(&format!("/fhir/{}", path.replace("ID", id)))).bearer_auth(&filtered.token);
            let answer = request.send().await.unwrap();
            told.push((answer.status().as_u16(), answer.text().await.unwrap().replace(id, "ID")));
        }
        assert_eq!(told[0].0, 404, "{path}: {told:?}");
        assert_eq!(told[0], told[1], "{path}");
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_granted_shown_and_taken_back_on_the_command_line() {
    let test = TestServer::start().await;
    table(&test, Zone::Raw).await;
    let ana = make(&test, "ana", pb::Role::Analyst, &[], true).await;
    let ask = ["sql", "SELECT sex FROM raw.hospital.patients ORDER BY 1", "--format", "csv"];
    assert!(!test.mavis_as(&ana, &ask).await.status.success());
    let granted =
        test.mavis(&["grant", "SELECT", "(id, sex)", "ON", "raw.hospital.patients", "TO", "USER", "ana"]).await;
    assert!(granted.status.success(), "{}", crate::harness::stderr(&granted));
    let seen = test.mavis_as(&ana, &ask).await;
    assert_eq!(crate::harness::stdout(&seen), "sex\nfemale\nother\n", "{}", crate::harness::stderr(&seen));
    let shown = test.mavis(&["grants", "--to", "USER ana", "--format", "csv"]).await;
    assert!(crate::harness::stdout(&shown).contains("user,ana,select,raw,hospital,patients,sex"), "{shown:?}");
    let refused = test.mavis_as(&ana, &["grant", "SELECT", "ON", "ZONE", "raw", "TO", "USER", "ana"]).await;
    assert!(crate::harness::stderr(&refused).contains("only an administrator"), "{refused:?}");
    let revoked = test.mavis(&["revoke", "SELECT ON raw.hospital.patients FROM USER ana"]).await;
    assert!(revoked.status.success(), "{}", crate::harness::stderr(&revoked));
    assert!(!test.mavis_as(&ana, &ask).await.status.success());
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emergency_ends_with_the_leave_to_declare_it() {
    let test = TestServer::start().await;
    for zone in [Zone::Raw, Zone::Processed] {
        table(&test, zone).await;
    }
    resources(&test).await;
    let everybody = everybody(&test).await;
    let emergency = &everybody.iter().find(|who| who.name == "emergency").unwrap().token;
    let names = "SELECT count(name) FROM fhir.r4.patient";
    let (_, open) = sql_as(&test, emergency, names).await;
    let taken = sql_as(&test, &test.admin_token(), "REVOKE BREAK GLASS ON SCHEMA fhir.r4 FROM USER emergency").await;
    assert_eq!(taken.0, 200, "{}", taken.1);
    let (status, masked) = sql_as(&test, emergency, names).await;
    assert_eq!(status, 200, "{masked}");
    assert_ne!(open, masked, "the mask holds again");
    test.stop().await;
}
